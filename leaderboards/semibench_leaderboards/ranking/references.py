"""What a row's gain can be attributed to: its differences from the references of the board, paired by seed and case.

Three figures of a row, each with the 95 % interval of the bootstrap over cases, clustered by group:

- over the labels alone: the row minus the supervised reference with the same labels;
- what the unlabeled images are worth: the row minus its control, the same method with the labeled images as the unlabeled ones;
- how much of the gap it closes: (row - labels alone) / (all labels - labels alone).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semibench.contracts.identity import Entry, canonical
from semibench_leaderboards.ranking.comparison import ComparisonError, compare_rows, resampled_in
from semibench_leaderboards.ranking.resampling import interval
from semibench_leaderboards.ranking.rows import Role, Row

Replicate = tuple[int | None, int | None, int]

EXPLAINED: Mapping[Role, str] = {
    "all labels": "a reference: trained with all labels",
    "labels alone": "a reference: trained with the labeled images alone",
    "no image": "a reference: looks at no image",
    "no image, all labels": "a reference: looks at no image, and has all labels",
    "control": "a control: its unlabeled images are the labeled ones",
}
"""Why a row with this role isn't ranked. Boards show the roles in this order."""


@dataclass(frozen=True)
class PairedDifference:
    """A row minus another one, over the runs that both have for a draw, fold and seed."""

    against: str
    """Name of the other row."""
    difference: float
    """Mean over cases of the row minus the other."""
    low: float | None
    """Lower end of the 95 % interval."""
    high: float | None
    """Upper end of that interval."""
    p: float
    """Two-sided p of the Wilcoxon signed-rank test over cases, not adjusted."""
    cases: int
    """Cases with a value in both rows."""
    runs: int
    """Pairs of runs."""
    same_network: bool = True
    """Whether both have the same network."""


@dataclass(frozen=True)
class GapShare:
    """The part of the gap between few labels and all labels that a row closes."""

    share: float
    """1: as good as all labels; 0: as good as the labels alone."""
    low: float | None
    """Lower end of its 95 % interval."""
    high: float | None
    """Upper end of that interval."""
    gap: PairedDifference
    """All labels minus the labels alone."""
    same_network: bool = True
    """Whether the row has the network of the two references."""


@dataclass(frozen=True)
class Attribution:
    """The differences of a row from the references; None where the board lacks what they need."""

    over_labels_alone: PairedDifference | None = None
    unlabeled_worth: PairedDifference | None = None
    gap_closed: GapShare | None = None


def attributions(rows: Sequence[Row], higher: bool) -> dict[str, Attribution]:
    """Name of a row -> its attribution, for the competitors and the controls of a board."""
    by_role: dict[Role, list[Row]] = {}
    for row in rows:
        if row.n and row.statistics.mean is not None:
            by_role.setdefault(row.identity.role, []).append(row)
    alone, full = by_role.get("labels alone", []), by_role.get("all labels", [])
    controls = {_without_control(row): row for row in by_role.get("control", [])}
    found = {}
    for row in (*by_role.get("", []), *by_role.get("control", [])):
        control = controls.get(_without_control(row)) if row.identity.role == "" else None
        reference = _reference(row, alone, higher)
        found[row.name] = Attribution(
            over_labels_alone=None if reference is None else paired(row, reference),
            unlabeled_worth=None if control is None or other_code(row, control) else paired(row, control),
            gap_closed=_gap_closed(row, alone, full, higher) if row.identity.role == "" else None,
        )
    return found


def paired(row: Row, other: Row) -> PairedDifference | None:
    """The row minus another one over the draws, folds and seeds that both have; None where there is none, or other cases."""
    shared = _shared(row, other)
    try:
        comparison = compare_rows(limited(row, shared), limited(other, shared)) if shared else None
    except ComparisonError:
        return None
    if comparison is None or comparison.difference != comparison.difference:
        return None
    return PairedDifference(
        other.name, comparison.difference, comparison.low, comparison.high, comparison.p, comparison.n, len(shared),
        network_of(row) == network_of(other),
    )  # fmt: skip


def limited(row: Row, replicates: set[Replicate]) -> Row:
    """The row with those of its counted runs that have one of these draws, folds and seeds. Its statistics are the whole row's."""
    kept = [i for i, record in enumerate(row.states.counted) if record.replicate in replicates]
    if len(kept) == row.n:
        return row
    counted = tuple(row.states.counted[i] for i in kept)
    scores = tuple(row.scores[i] for i in kept)
    return replace(row, states=replace(row.states, counted=counted), scores=scores, resampled=None)


def with_shared_runs(one: Row, other: Row) -> tuple[Row, Row]:
    """Two rows, each with the runs for which the other has one of the same draw, fold and seed.

    Raises ComparisonError where there are none.
    """
    shared = _shared(one, other)
    if not shared:
        raise ComparisonError(f"rows {one.name!r} and {other.name!r} have no run with the same draw, fold and seed")
    return limited(one, shared), limited(other, shared)


def control_of(rows: Sequence[Row], row: Row) -> Row | None:
    """The control of a row among the rows of its board."""
    mine = _without_control(row)
    return next((other for other in rows if other.identity.role == "control" and _without_control(other) == mine), None)


def other_code(row: Row, control: Row) -> bool:
    """Whether a control was made with other code than its method, so that their difference could be the code's."""
    return row.identity.code != control.identity.code


def network_of(row: Row) -> str:
    """What two rows with the same network share: backbone, options, start weights."""
    entry = _entry(row)
    return canonical([entry.backbone.model_dump(mode="json"), entry.init])


def _entry(row: Row) -> Entry:
    return row.states.runs[0].spec.entry


def _without_control(row: Row) -> tuple[str, str]:
    return _entry(row).model_copy(update={"unlabeled_from": None}).digest(), row.identity.predictor


def _shared(*rows: Row) -> set[Replicate]:
    return set.intersection(*({record.replicate for record in row.states.counted} for row in rows))


def _reference(row: Row, candidates: Sequence[Row], higher: bool) -> Row | None:
    """The best reference with the row's network, or else the best with any."""
    same = [other for other in candidates if network_of(other) == network_of(row)]
    return _best(same or candidates, higher)


def _best(rows: Sequence[Row], higher: bool) -> Row | None:
    return (max if higher else min)(rows, key=lambda row: row.statistics.mean or 0.0, default=None)


def _gap_closed(row: Row, alone: Sequence[Row], full: Sequence[Row], higher: bool) -> GapShare | None:
    """The share of the gap; None unless the gap is in favour of all labels and larger than its own 95 % interval is wide."""
    networks = {network_of(other) for other in full}
    lower = _reference(row, [other for other in alone if network_of(other) in networks], higher)
    if lower is None:
        return None
    upper = _best([other for other in full if network_of(other) == network_of(lower)], higher)
    assert upper is not None
    shared = _shared(row, lower, upper)
    if not shared:
        return None
    mine, few, every = (limited(item, shared) for item in (row, lower, upper))
    gap = paired(every, few)
    if gap is None or gap.low is None or gap.high is None or (gap.difference > 0) != higher:
        return None
    if abs(gap.difference) <= gap.high - gap.low:
        return None
    try:
        gain = compare_rows(mine, few)
    except ComparisonError:
        return None
    span = interval(_ratios(mine, few, every))
    return GapShare(
        gain.difference / gap.difference, span[0] if span else None, span[1] if span else None, gap,
        network_of(row) == network_of(lower),
    )  # fmt: skip


def _ratios(mine: Row, few: Row, every: Row) -> NDArray[np.float64]:
    """The share of the gap in each resample of the groups, which is the same for the three rows."""
    draw_folds = sorted(mine.draw_folds, key=str)
    own, low, high = (resampled_in(row, draw_folds) for row in (mine, few, every))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((own - low) / (high - low))
