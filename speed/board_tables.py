"""The tables that docs/ shows of the runs in speed/boards/runs, as Markdown. `speed/results_page.py` puts them into the pages.

Nothing is trained or scored here: the runs of a folder of bundles are imported, and read as `bench leaderboard` reads them.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from semibench.tracking.tables import markdown_table
from semibench_leaderboards.evidence.importing import bundles_in, import_bundle
from semibench_leaderboards.ranking.boards import FEWEST, Board
from semibench_leaderboards.ranking.ranks import Ranking, rank
from semibench_leaderboards.ranking.references import PairedDifference, network_of, paired
from semibench_leaderboards.ranking.rows import Role, Row
from semibench_leaderboards.ranking.score_request import ScoreRequest
from semibench_leaderboards.ranking.selecting import chosen_boards
from semibench_leaderboards.reading.records import RunRecord, read_runs
from semibench_leaderboards.reading.run_filter import RunFilter
from semibench_leaderboards.showing.tables import difference_text, footnotes, grid

BUNDLES = Path(__file__).resolve().parent / "boards" / "runs"
LEFT_OUT = {
    "code",
    "draws×folds×seeds",
    "worst class",
    "empty",
    "undefined",
    "parameters",
    "GFLOPs",
    "memory",
    "per case",
}
"""Columns of a board that the pages don't show."""

SYSTEMS = ("mgcc", "diff-cl", "csc-pa", "semsim", "dtlp-net")
"""The methods of the five papers whose systems the harness holds whole."""

NONE = "–"
GAP = 0.15
"""What all labels must be worth on a phantom, in Dice."""

BOUNDS = {1: 0.75, 2: 0.6}
"""What all labels must reach on a phantom, with one structure and with several."""

CONVERGED = 0.03
"""What ten times the iterations may change."""


@dataclass(frozen=True)
class Laws:
    """What a board must show for a reader to believe it.

    Attributes:
        gap: all labels minus the labels alone; None where one of them is missing.
        apart: whether the 95 % intervals of the two don't overlap.
        spread: standard deviation of the labels alone over the seeds.
        above: methods above the labels alone on their network, with an interval that excludes 0.
        ranked: methods with enough runs to be ranked.
        below: methods below the labels alone, with an interval that excludes 0.
        gains: of Mean Teacher and of the five systems, minus the labels alone; None where it wasn't run.
        hours: training time of all runs of the board.
    """

    gap: PairedDifference | None
    apart: bool
    spread: float | None
    above: tuple[str, ...]
    ranked: int
    below: tuple[str, ...]
    gains: dict[str, PairedDifference | None]
    hours: float

    @classmethod
    def of(cls, board: Board, ranking: Ranking) -> Laws:
        """Reads them off a board."""
        full = _with_role(board, "all labels")
        networks = {network_of(row) for row in full}
        alone = [row for row in _with_role(board, "labels alone") if network_of(row) in networks] or _with_role(
            board, "labels alone"
        )
        few, every = (rows[0] if rows else None for rows in (alone, full))
        methods = [row for row in board.rows if row.identity.role == "" and row.n >= FEWEST]
        gains = {row.identity.method: ranking.attributions[row.name].over_labels_alone for row in methods}
        return cls(
            gap=paired(every, few) if few and every else None,
            apart=bool(few and every and few.statistics.high < every.statistics.low),
            spread=few.statistics.std if few else None,
            above=tuple(name for name, gain in gains.items() if gain and gain.low is not None and gain.low > 0),
            ranked=len(methods),
            below=tuple(name for name, gain in gains.items() if gain and gain.high is not None and gain.high < 0),
            gains={name: gains.get(name) for name in ("mean-teacher", *SYSTEMS)},
            hours=sum(run.training.seconds or 0.0 for row in board.rows for run in row.states.counted) / 3600,
        )


def _with_role(board: Board, role: Role) -> list[Row]:
    return [row for row in board.rows if row.identity.role == role and row.n]


@contextmanager
def imported(*names: str) -> Iterator[Path]:
    """Yields a folder of runs with those of the bundles in some folders."""
    with tempfile.TemporaryDirectory() as folder:
        for bundle in bundles_in([BUNDLES / name for name in names]):
            import_bundle(bundle, Path(folder))
        yield Path(folder)


@cache
def read(name: str) -> tuple[Board, Ranking]:
    """Returns the board of the bundles in a folder; reads them once.

    Raises:
        SystemExit: if they are of several boards.
    """
    with imported(name) as runs:
        found = chosen_boards(runs, RunFilter(), ScoreRequest())
        if len(found) != 1:
            raise SystemExit(f"{BUNDLES / name} holds the runs of {len(found)} boards, expected one")
        return found[0], rank(found[0], "case")


def board_table(name: str) -> str:
    """A board as Markdown, with what its columns mean."""
    board, ranking = read(name)
    heads, rows = grid(board, ranking)
    kept = [i for i, head in enumerate(heads) if head not in LEFT_OUT]
    table = markdown_table([heads[i] for i in kept], [[row[i] for i in kept] for row in rows])
    notes = [
        note
        for note in footnotes(board, ranking)
        if note.startswith(("unlabeled worth", "gap closed", "over labels", "*", "rows that"))
    ]
    return table + "\n\n" + "\n".join(f"- {note}" for note in notes) + "\n"


def laws_table(names: Sequence[str]) -> str:
    """What boards must show, a line for each law, a column for each board."""
    columns = [_texts(Laws.of(*read(name))) for name in names]
    lines = [[law, *(column[law] for column in columns)] for law in columns[0]] if columns else []
    return markdown_table(["", *(_title(name) for name in names)], lines) + "\n"


def _title(name: str) -> str:
    """The name of a board with that of its data set as the harness writes it: "real bus-bra" of `real_bus_bra`."""
    dataset = read(name)[0].rows[0].states.runs[0].spec.track.dataset.short
    return name.replace(dataset.replace("-", "_"), dataset).replace("_", " ")


def _texts(laws: Laws) -> dict[str, str]:
    return {
        "all labels − labels alone": difference_text(laws.gap),
        "their intervals are apart": "yes" if laws.apart else "no",
        "spread of the labels alone": NONE if laws.spread is None else f"{laws.spread:.4f}",
        "methods above the labels alone": f"{len(laws.above)} of {laws.ranked}",
        "methods below": ", ".join(laws.below) or "none",
        **{f"`{name}` − labels alone": difference_text(gain) for name, gain in laws.gains.items()},
        "training of all runs": f"{laws.hours:.1f} h",
    }


def method_table(method: str, names: Sequence[str]) -> str:
    """One method on several boards, with the labels alone on its network and all labels.

    Raises:
        SystemExit: if a board has no row of the method.
    """
    lines = []
    for name in names:
        board, ranking = read(name)
        mine = [row for row in board.rows if row.identity.method == method and row.identity.role == ""]
        if not mine:
            raise SystemExit(f"{BUNDLES / name} holds no run of {method}")
        network = network_of(mine[0])
        alone = [row for row in _with_role(board, "labels alone") if network_of(row) == network]
        for row in [*mine, *alone, *_with_role(board, "all labels")]:
            attribution = ranking.attributions.get(row.name)
            lines.append(
                [
                    _title(name),
                    f"{method}, {row.identity.predictor}" if row in mine else _reference_name(row),
                    _mean(row),
                    difference_text(attribution.over_labels_alone if attribution else None),
                    difference_text(attribution.unlabeled_worth if attribution else None),
                ]
            )
    return markdown_table(["board", "row", "mean ± std", "over labels alone", "unlabeled worth"], lines) + "\n"


def parts_table(method: str, parts: str, name: str) -> str:
    """One method with parts of it switched off, or with another budget, beside the method as it is on a board.

    Args:
        method: its name.
        parts: the folder of the bundles of these runs.
        name: the folder of the bundles of the board.
    """
    lines = []
    (plain,) = [row for row in read(name)[0].rows if row.identity.method == method and row.identity.role == ""]
    with imported(parts, name) as runs:
        for board in chosen_boards(runs, RunFilter(), ScoreRequest()):
            ranking = rank(board, "case")
            mine = [row for row in board.rows if row.identity.method == method and row.identity.role == ""]
            networks = {network_of(row) for row in mine}
            alone = [row for row in _with_role(board, "labels alone") if network_of(row) in networks]
            for row in [*mine, *alone]:
                attribution = ranking.attributions.get(row.name)
                lines.append(
                    [
                        f"{row.states.runs[0].spec.recipe.options['iterations']:,}",
                        _changes(row, plain) or method if row in mine else _reference_name(row),
                        str(row.n),
                        _mean(row),
                        difference_text(attribution.over_labels_alone if attribution else None),
                    ]
                )
    return markdown_table(["iterations", "row", "seeds", "mean ± std", "over labels alone"], lines) + "\n"


def _changes(row: Row, plain: Row) -> str:
    """The options and weights in which a row differs from another one of its method."""
    mine, other = (found.states.runs[0].spec.entry for found in (row, plain))
    options = [f"{key}={value}" for key, value in mine.method.options.items() if value != other.method.options[key]]
    weights = [f"term.{key}={term['weight']:g}" for key, term in mine.terms.items() if term != other.terms[key]]
    return ", ".join(options + weights)


def _reference_name(row: Row) -> str:
    words = "labels alone" if row.identity.role == "labels alone" else "all labels"
    return f"{words}, {row.states.runs[0].spec.entry.backbone.short}"


def _mean(row: Row) -> str:
    spread = "" if row.statistics.std is None or row.n < 2 else f" ± {row.statistics.std:.4f}"
    return f"{row.statistics.mean:.4f}{spread}"


def areas_table(names: Sequence[str]) -> str:
    """How large the foreground is that each row of some boards predicts, and how much of it is right: sums over all test cases,
    mean over seeds. For data sets of one structure."""
    lines = []
    with imported(*names) as runs:
        for board in chosen_boards(runs, RunFilter(), ScoreRequest()):
            for row in board.rows:
                areas = [_areas(run, row.identity.predictor) for run in row.states.counted]
                mean = [sum(part) / len(areas) for part in zip(*areas, strict=True)]
                if mean[0]:
                    iterations = row.states.runs[0].spec.recipe.options["iterations"]
                    lines.append(
                        [
                            f"{iterations:,}",
                            row.name,
                            str(row.n),
                            f"{row.statistics.mean:.4f}",
                            *(f"{x:.2f}" for x in mean),
                        ]
                    )
    heads = ["iterations", "row", "seeds", "Dice", "predicted area / true area", "recall", "precision"]
    return markdown_table(heads, lines) + "\n"


def _areas(run: RunRecord, predictor: str) -> tuple[float, float, float]:
    """Predicted area over true area, recall and precision of the last weights, over all pixels of the test cases."""
    table = pd.read_parquet(run.folder / "scores.parquet")
    asked = (table.checkpoint == "last") & (table.convention == "semibench-1") & (table.predictor == predictor)
    counts = table[asked].drop_duplicates("case")[["truth_voxels", "prediction_voxels", "common_voxels"]].sum()
    truth, predicted, common = (float(counts[name]) for name in counts.index)
    return predicted / truth, common / truth, common / max(predicted, 1.0)


def phantom_table(name: str) -> str:
    """What labels are worth to `supervised` on each phantom, and what ten times the iterations change.

    The bundles hold, for each phantom, a run with few labels, one with all of them, and one with all of them and ten times the
    iterations; any of them may be missing.
    """
    with imported(name) as runs:
        records = [record for record in read_runs(runs) if record.counts]
    of_phantom: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for record in records:
        of_phantom[record.of_track.dataset.short, record.of_track.protocol.short].append(record)
    lines = []
    for (dataset, protocol), members in sorted(of_phantom.items()):
        every = _one([run for run in members if _all_labels(run) and run.recipe == "quick"])
        longer = _one([run for run in members if _all_labels(run) and run.recipe == "standard"])
        structures = len(_dice(every)[1]) if every else 1
        bound = BOUNDS[min(structures, 2)]
        few = [run for run in members if not _all_labels(run)]
        for run in sorted(few, key=lambda run: _labeled(run)[1]):
            gap = None if every is None else _dice(every)[0] - _dice(run)[0]
            change = None if every is None or longer is None else _dice(longer)[0] - _dice(every)[0]
            best = max((_dice(found)[0] for found in (every, longer) if found is not None), default=0.0)
            lines.append(
                [
                    dataset,
                    f"{protocol}, {run.spec.recipe.options['dims']}D",
                    str(structures),
                    _labeled(run)[0],
                    f"{_dice(run)[0]:.3f}",
                    NONE if every is None else f"{_dice(every)[0]:.3f}",
                    NONE if gap is None else f"{gap:+.3f}",
                    NONE if gap is None else _yes(gap >= GAP),
                    NONE if every is None else _yes(best >= bound),
                    NONE if longer is None else f"{_dice(longer)[0]:.3f}",
                    NONE if change is None else _yes(abs(change) < CONVERGED),
                ]
            )
    heads = ["phantom", "protocol", "structures", "few", "Dice", "all", "gap", "wide", "high", "all, 10 x", "converged"]
    return markdown_table(heads, lines) + "\n"


def _yes(kept: bool) -> str:
    return "yes" if kept else "no"


def _one(runs: Sequence[RunRecord]) -> RunRecord | None:
    return runs[0] if runs else None


def _all_labels(run: RunRecord) -> bool:
    options = run.of_track.protocol.options
    return (options.get("labeled") == 1.0 and isinstance(options["labeled"], float)) or options.get(
        "labels"
    ) == "target"


def _labeled(run: RunRecord) -> tuple[str, float]:
    """How many labels a run has: in words, and a number to sort by."""
    share = run.of_track.protocol.options.get("labeled")
    if share is None:
        return "source only", 0.0
    return (f"{100 * share:g} %" if isinstance(share, float) else f"{share} patient"), float(share)


def _dice(run: RunRecord) -> tuple[float, dict[str, float | None]]:
    """Dice of the last weights and its classes, by the harness's own convention."""
    for score in run.scores:
        if (score.checkpoint, score.convention, score.metric) == ("last", "semibench-1", "dice"):
            return score.mean or 0.0, score.per_class
    raise SystemExit(f"run {run.key[:12]} has no Dice of its last weights")
