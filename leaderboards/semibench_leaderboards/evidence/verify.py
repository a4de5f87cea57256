"""`bench verify`: every number of a run computed again from its predictions and the data, and everything it claims checked."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd

from semibench.contracts.errors import SemibenchError
from semibench.contracts.identity import SHORT, sha256
from semibench.registry import registry
from semibench.reporting import Reporter
from semibench.runfolder.format import SPEC_FILE, FolderRecord, RunFolderError, parse_spec
from semibench.runfolder.provenance import plugin_used
from semibench.runfolder.records import Provenance, Result, SplitRecord
from semibench_leaderboards.evidence.containers import Container, ContainerError, Folder
from semibench_leaderboards.evidence.export import MANIFEST, NEEDED, read_manifest
from semibench_leaderboards.evidence.opening import RunInputs, RunInputsError, open_inputs
from semibench_leaderboards.evidence.stored_predictions import StoredPredictions, conventions_by_name, rescore_stored

TOLERANCE = 1e-6
"""Largest difference that counts as agreement: sums in another order, other versions of numpy and scipy."""

R = TypeVar("R", bound=FolderRecord)
Outcome = Literal["ok", "wrong", "unknown"]
KEYS = ["checkpoint", "predictor", "convention", "dataset", "case", "class", "metric"]


@dataclass(frozen=True)
class Check:
    """One claim. outcome "unknown": it can't be checked here, and text says why."""

    name: str
    outcome: Outcome
    text: str


@dataclass
class Verification:
    """What was checked. scores: one record per (checkpoint, predictor, convention, metric) with the values compared, the largest
    difference of a case and of the mean."""

    path: Path
    key: str = ""
    checks: list[Check] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, outcome: Outcome, text: str) -> None:
        self.checks.append(Check(name, outcome, text))

    @property
    def well(self) -> bool:
        """Nothing is wrong, and at least one number was computed again."""
        return bool(self.scores) and all(check.outcome != "wrong" for check in self.checks)


def verify_run(container: Container, data_root: Path | None = None, reporter: Reporter | None = None) -> Verification:
    """Checks a bundle, or a run folder (which has no digests of its files to check). Raises ContainerError for what can't be read
    at all; everything else is a check that fails."""
    found = Verification(container.path)
    if isinstance(container, Folder) and not container.has(MANIFEST):
        found.add("files", "unknown", "a run folder has no digests of its files; a bundle does")
    else:
        _files(container, found)
    missing = [name for name in NEEDED if not container.has(name)]
    if missing:
        raise ContainerError(f"{container.path}: expected {', '.join(NEEDED)}; missing: {', '.join(missing)}")
    try:
        spec = parse_spec(container.read(SPEC_FILE), f"{container.path}: {SPEC_FILE}")
        split, result = _record(container, SplitRecord), _record(container, Result)
        provenance = _record(container, Provenance) if container.has(Provenance.FILE) else Provenance()
    except RunFolderError as error:
        raise ContainerError(str(error)) from error
    found.key = spec.key
    names = {"its result": result.key}
    if container.has(MANIFEST):
        names["its manifest"] = read_manifest(container).get("key")
    odd = [f"{name} says {str(key)[:SHORT]}" for name, key in names.items() if key != spec.key]
    found.add("key", "wrong" if odd else "ok", "; ".join(odd) or f"run {spec.key[:SHORT]}, as its spec says")
    try:
        inputs = open_inputs(spec, data_root)
        _data(inputs, split, found, reporter)
        _code(provenance, found)
        refs = inputs.refs(split.test)
    except SemibenchError as error:
        found.add("data", "wrong" if isinstance(error, RunInputsError) else "unknown", str(error))
        return found
    _scores(container, inputs, refs, result, found, reporter)
    return found


def _files(container: Container, found: Verification) -> None:
    listed = read_manifest(container)["files"]
    present = set(container.names()) - {MANIFEST}
    odd = [f"{name} isn't in the manifest" for name in sorted(present - set(listed))]
    odd += [f"{name} is missing" for name in sorted(set(listed) - present)]
    odd += [
        f"{name} was changed"
        for name in sorted(present & set(listed))
        if sha256(container.read(name)) != listed[name].get("sha256")
    ]
    told = "; ".join(odd[:4]) + (f" and {len(odd) - 4} more" if len(odd) > 4 else "")
    found.add("files", "wrong" if odd else "ok", told or f"{len(present)} files have the digests of the manifest")


def _record(container: Container, record: type[R]) -> R:
    return record.from_bytes(container.read(record.FILE), f"{container.path}: {record.FILE}")


def _data(inputs: RunInputs, split: SplitRecord, found: Verification, reporter: Reporter | None) -> None:
    kind = "phantom" if inputs.spec.track.dataset.options.get("phantom") is not None else "files"
    digest = inputs.digest(reporter)
    same = digest == inputs.spec.track.data
    told = f"the {kind} of {inputs.card.name} at hand have the run's data digest {digest[:SHORT]}"
    if not same:
        theirs = inputs.spec.track.data[:SHORT]
        told = f"the {kind} of {inputs.card.name} at hand have the digest {digest[:SHORT]}, the run {theirs}"
    found.add("data", "ok" if same else "wrong", told)
    odd = split.changes(SplitRecord.of(inputs.split()))
    found.add("split", "wrong" if odd else "ok", "; ".join(odd) or "the split is what the protocol draws")


def _code(provenance: Provenance, found: Verification) -> None:
    """Whether data set and protocol are the code that the run had (other code is no fault, but says where to look)."""
    changed = []
    for role, used in provenance.plugins.items():
        if role in ("dataset", "protocol") or role.startswith("dataset:"):
            kind = "protocols" if role == "protocol" else "datasets"
            if plugin_used(registry().get(kind, used.name)).source != used.source:
                changed.append(f"{role} {used.name}")
    if changed:
        found.add("code", "unknown", f"the code of {', '.join(changed)} has changed since the run")


def _scores(
    container: Container, inputs: RunInputs, refs: Sequence[Any], result: Result, found: Verification,
    reporter: Reporter | None,
) -> None:  # fmt: skip
    claimed = _table(container)
    stored = StoredPredictions(container)
    means = {(s.checkpoint, s.predictor, s.convention, s.metric): s.mean for s in result.scores}
    listed = {
        tuple(key)
        for key in claimed[["checkpoint", "predictor", "convention", "metric"]].drop_duplicates().to_numpy().tolist()
    }
    for stem in sorted(set(means) - listed):
        found.add("/".join(map(str, stem)), "wrong", "result.json has a mean, scores.parquet no case")
    for (checkpoint, predictor), part in claimed.groupby(["checkpoint", "predictor"], sort=False):
        names = list(dict.fromkeys(part["convention"]))
        try:
            again = rescore_stored(
                stored, inputs, refs, str(checkpoint), str(predictor), conventions_by_name(names), reporter
            )
        except SemibenchError as error:
            found.add(f"{checkpoint}/{predictor}", "wrong", str(error))
            continue
        for name, why in again.skipped.items():
            found.add(f"{checkpoint}/{predictor}/{name}", "unknown", f"not computed again: {why}")
        if again.table is None:
            continue
        fresh = {(r.convention, r.metric): r.mean for r in again.records}
        for (convention, metric), mine in again.table.groupby(["convention", "metric"], sort=False):
            theirs = part[(part["convention"] == convention) & (part["metric"] == metric)]
            score = (str(checkpoint), str(predictor), str(convention), str(metric))
            _compare(score, theirs, mine, means.get(score), fresh[score[2], score[3]], found)


def _table(container: Container) -> pd.DataFrame:
    try:
        table = pd.read_parquet(io.BytesIO(container.read("scores.parquet")), engine="pyarrow")
    except (ValueError, OSError) as error:
        raise ContainerError(f"{container.path}: scores.parquet can't be read: {error}") from error
    lacking = [name for name in (*KEYS, "value") if name not in table.columns]
    if lacking:
        raise ContainerError(f"{container.path}: scores.parquet lacks the columns {', '.join(lacking)}")
    return table


def _compare(
    stem: tuple[str, ...], theirs: pd.DataFrame, mine: pd.DataFrame, claimed: float | None, fresh: float | None,
    found: Verification,
) -> None:  # fmt: skip
    both = theirs.merge(mine, on=KEYS, how="outer", suffixes=("_claimed", "_computed"), indicator=True)
    unpaired = int((both["_merge"] != "both").sum())
    there, here = (both[f"value_{name}"].to_numpy(dtype=float) for name in ("claimed", "computed"))
    undefined = np.isnan(there) != np.isnan(here)
    apart = np.abs(np.where(np.isnan(there) | np.isnan(here), 0.0, there - here))
    scale = max(1.0, float(np.nanmax(np.abs(here)))) if len(here) and not np.isnan(here).all() else 1.0
    worst = float(apart.max()) if len(apart) else 0.0
    told_mean, new_mean = (float("nan") if mean is None else mean for mean in (claimed, fresh))
    mean_apart = 0.0 if np.isnan(told_mean) and np.isnan(new_mean) else abs(told_mean - new_mean)
    wrong = unpaired or undefined.any() or worst > TOLERANCE * scale or not mean_apart <= TOLERANCE * scale
    found.scores.append(
        {
            "checkpoint": stem[0], "predictor": stem[1], "convention": stem[2], "metric": stem[3], "values": len(both),
            "claimed": claimed, "computed": fresh,
            "largest_difference": worst, "mean_difference": float(mean_apart), "agrees": not wrong,
        }
    )  # fmt: skip
    if wrong:
        where = both.iloc[int(apart.argmax())]
        why = [f"{unpaired} values without a counterpart"] if unpaired else []
        why += [f"{int(undefined.sum())} values undefined on one side only"] if undefined.any() else []
        why += (
            [
                f"case {where['case']}, {where['class']}: {where['value_claimed']} claimed, {where['value_computed']} computed"
            ]
            if worst
            else []
        )
        why += [f"mean {told_mean} claimed, {new_mean} computed"] if not mean_apart <= TOLERANCE * scale else []
        found.add("/".join(stem), "wrong", "; ".join(why))
