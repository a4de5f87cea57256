"""`bench verify`: recomputes every number of a run from its predictions and the data, and checks everything it claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd

from semibench.contracts.errors import SemibenchError, UnknownNameError, one_line
from semibench.contracts.identity import SHORT
from semibench.contracts.metric import Convention
from semibench.data.declared.naming import find_dataset
from semibench.discovery.registry import registry
from semibench.reporting import Reporter
from semibench.runfolder.format import SPEC_FILE, FolderRecord, RunFolderError, parse_spec
from semibench.runfolder.provenance import plugin_used
from semibench.runfolder.records import Provenance, Result, SplitRecord
from semibench.runfolder.tables import SCORE_KEY, SCORES_FILE, parse_scores
from semibench_leaderboards.evidence.containers import Container, ContainerError, Folder, first_few
from semibench_leaderboards.evidence.export import MANIFEST, NEEDED, read_manifest
from semibench_leaderboards.evidence.opening import RunInputs, RunInputsError, open_inputs
from semibench_leaderboards.evidence.stored_predictions import (
    StoredPredictions,
    conventions_by_name,
    rescore_stored,
)

TOLERANCE = 1e-6
"""Largest difference that counts as agreement. It allows for the order of sums and for other versions of numpy and scipy."""

R = TypeVar("R", bound=FolderRecord)
Outcome = Literal["ok", "wrong", "unknown"]


@dataclass(frozen=True)
class Check:
    """The outcome of checking one claim."""

    name: str
    outcome: Outcome
    """ "unknown": the claim can't be checked here, and `text` says why."""
    text: str


@dataclass
class Verification:
    """The outcome of all checks."""

    path: Path
    key: str = ""
    checks: list[Check] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    """A record for each (checkpoint, predictor, convention, metric): the number of compared values, and the largest differences of
    a case and of the mean."""

    unverified: list[str] = field(default_factory=list)
    """Claimed scores that can't be computed again."""

    def add(self, name: str, outcome: Outcome, text: str) -> None:
        self.checks.append(Check(name, outcome, text))

    @property
    def well(self) -> bool:
        """Whether nothing is wrong and every number was recomputed."""
        return bool(self.scores) and not self.unverified and all(check.outcome != "wrong" for check in self.checks)


def verify_run(container: Container, data_root: Path | None = None, reporter: Reporter | None = None) -> Verification:
    """Checks a bundle, or a run folder, which has no digests of its files.

    Raises ContainerError for something that can't be read at all; everything else is a failed check.
    """
    verification = Verification(container.path)
    if isinstance(container, Folder) and not container.has(MANIFEST):
        verification.add("files", "unknown", "a run folder has no digests of its files; a bundle does")
    else:
        _files(container, verification)
    missing = [name for name in NEEDED if not container.has(name)]
    if missing:
        raise ContainerError(f"{container.path}: expected {', '.join(NEEDED)}; missing: {', '.join(missing)}")
    try:
        spec = parse_spec(container.read(SPEC_FILE), f"{container.path}: {SPEC_FILE}")
    except RunFolderError as error:
        raise ContainerError(str(error)) from error
    verification.key = spec.key
    try:
        split, result = _record(container, SplitRecord), _record(container, Result)
        provenance = _record(container, Provenance) if container.has(Provenance.FILE) else Provenance()
    except RunFolderError as error:
        verification.add("records", "wrong", str(error))
        return verification
    names = {"its result": result.key}
    if container.has(MANIFEST):
        names["its manifest"] = read_manifest(container).get("key")
    odd = [f"{name} says {str(key)[:SHORT]}" for name, key in names.items() if key != spec.key]
    verification.add("key", "wrong" if odd else "ok", "; ".join(odd) or f"run {spec.key[:SHORT]}, as its spec says")
    try:
        inputs = open_inputs(spec, data_root)
        _data(inputs, split, verification, reporter)
        _code(provenance, verification)
        refs = inputs.refs(split.test)
    except SemibenchError as error:
        verification.add("data", "wrong" if isinstance(error, RunInputsError) else "unknown", str(error))
        return verification
    except Exception as error:  # a plug-in met options in the spec that it didn't expect
        verification.add(
            "data", "wrong", f"can't be opened as {SPEC_FILE} says ({type(error).__name__}: {one_line(error)})"
        )
        return verification
    _scores(container, inputs, refs, result, verification, reporter)
    return verification


def _files(container: Container, verification: Verification) -> None:
    problems = file_problems(container)
    text = first_few(problems) or f"{len(container.names()) - 1} files have the digests of the manifest"
    verification.add("files", "wrong" if problems else "ok", text)


def file_problems(container: Container) -> list[str]:
    """Which files of a bundle are missing, superfluous or not those of its manifest.

    Raises ContainerError where it has no readable manifest."""
    listed = read_manifest(container)["files"]
    if not all(isinstance(facts, dict) for facts in listed.values()):
        raise ContainerError(f'{container.path}: {MANIFEST}: expected the digest of each file under "files"')
    present = set(container.names()) - {MANIFEST}
    problems = [f"{name} isn't in the manifest" for name in sorted(present - set(listed))]
    problems += [f"{name} is missing" for name in sorted(set(listed) - present)]
    problems += [
        f"{name} was changed"
        for name in sorted(present & set(listed))
        if container.digest(name) != listed[name].get("sha256")
    ]
    return problems


def _record(container: Container, record: type[R]) -> R:
    return record.from_bytes(container.read(record.FILE), f"{container.path}: {record.FILE}")


def _data(inputs: RunInputs, split: SplitRecord, verification: Verification, reporter: Reporter | None) -> None:
    kind = "phantom" if inputs.spec.track.dataset.options.get("phantom") is not None else "files"
    digest = inputs.digest(reporter)
    same = digest == inputs.spec.track.data
    text = f"the local {kind} of {inputs.card.name} have the run's data digest {digest[:SHORT]}"
    if not same:
        theirs = inputs.spec.track.data[:SHORT]
        text = f"the local {kind} of {inputs.card.name} have the digest {digest[:SHORT]}, those of the run {theirs}"
    verification.add("data", "ok" if same else "wrong", text)
    odd = split.changes(SplitRecord.of(inputs.split()))
    verification.add("split", "wrong" if odd else "ok", "; ".join(odd) or "the split is what the protocol draws")


def _code(provenance: Provenance, verification: Verification) -> None:
    """Whether the code of data set and protocol is the run's. Other code isn't wrong, but it explains other differences."""
    changed = []
    for role, used in provenance.plugins.items():
        if role in ("dataset", "protocol") or role.startswith("dataset:"):
            plugins = registry()
            item = plugins.get("protocols", used.name) if role == "protocol" else find_dataset(plugins, used.name)
            if plugin_used(item).source != used.source:
                changed.append(f"{role} {used.name}")
    if changed:
        verification.add("code", "unknown", f"the code of {', '.join(changed)} has changed since the run")


def _scores(
    container: Container, inputs: RunInputs, refs: Sequence[Any], result: Result, verification: Verification,
    reporter: Reporter | None,
) -> None:  # fmt: skip
    claimed = _table(container)
    repeated = int(claimed.duplicated([*SCORE_KEY]).sum())
    if repeated:
        verification.add(SCORES_FILE, "wrong", f"{repeated} rows repeat another one")
        claimed = claimed.drop_duplicates([*SCORE_KEY])
    stored = StoredPredictions(container)
    means = {(s.checkpoint, s.predictor, s.convention, s.metric): s.mean for s in result.scores}
    listed = {
        tuple(key)
        for key in claimed[["checkpoint", "predictor", "convention", "metric"]].drop_duplicates().to_numpy().tolist()
    }
    for stem in sorted(set(means) - listed):
        verification.add("/".join(map(str, stem)), "wrong", f"{Result.FILE} has a mean, but {SCORES_FILE} has no case")
    for (checkpoint, predictor), part in claimed.groupby(["checkpoint", "predictor"], sort=False):
        conventions: dict[str, Convention] = {}
        for name in dict.fromkeys(map(str, part["convention"])):
            try:
                conventions |= conventions_by_name([name])
            except UnknownNameError as error:
                verification.add(f"{checkpoint}/{predictor}/{name}", "unknown", f"not recomputed: {error}")
                verification.unverified.append(f"{checkpoint}/{predictor}/{name}")
        try:
            again = rescore_stored(stored, inputs, refs, str(checkpoint), str(predictor), conventions, reporter)
        except SemibenchError as error:
            verification.add(f"{checkpoint}/{predictor}", "wrong", str(error))
            continue
        for name, why in again.skipped.items():
            verification.add(f"{checkpoint}/{predictor}/{name}", "unknown", f"not recomputed: {why}")
            verification.unverified.append(f"{checkpoint}/{predictor}/{name}")
        if again.table is None:
            continue
        fresh = {(r.convention, r.metric): r.mean for r in again.records}
        for (convention, metric), mine in again.table.groupby(["convention", "metric"], sort=False):
            theirs = part[(part["convention"] == convention) & (part["metric"] == metric)]
            score = (str(checkpoint), str(predictor), str(convention), str(metric))
            _compare(score, theirs, mine, means.get(score), fresh[score[2], score[3]], verification)


def _table(container: Container) -> pd.DataFrame:
    try:
        return parse_scores(container.read(SCORES_FILE), f"{container.path}: {SCORES_FILE}")
    except RunFolderError as error:
        raise ContainerError(str(error)) from error


def _compare(
    stem: tuple[str, ...], theirs: pd.DataFrame, mine: pd.DataFrame, claimed: float | None, fresh: float | None,
    verification: Verification,
) -> None:  # fmt: skip
    both = theirs.merge(mine, on=[*SCORE_KEY], how="outer", suffixes=("_claimed", "_computed"), indicator=True)
    unpaired = int((both["_merge"] != "both").sum())
    claimed_values, computed_values = (both[f"value_{name}"].to_numpy(dtype=float) for name in ("claimed", "computed"))
    undefined = np.isnan(claimed_values) != np.isnan(computed_values)
    differences = np.abs(np.nan_to_num(claimed_values - computed_values, nan=0.0))
    defined = np.abs(computed_values[~np.isnan(computed_values)])
    scale = max(1.0, float(defined.max())) if len(defined) else 1.0
    worst = float(differences.max()) if len(differences) else 0.0
    claimed_mean, computed_mean = (float("nan") if mean is None else mean for mean in (claimed, fresh))
    mean_difference = 0.0 if np.isnan(claimed_mean) and np.isnan(computed_mean) else abs(claimed_mean - computed_mean)
    wrong = unpaired or undefined.any() or worst > TOLERANCE * scale or not mean_difference <= TOLERANCE * scale
    verification.scores.append(
        {
            "checkpoint": stem[0], "predictor": stem[1], "convention": stem[2], "metric": stem[3], "values": len(both),
            "claimed": claimed, "computed": fresh,
            "largest_difference": worst, "mean_difference": float(mean_difference), "agrees": not wrong,
        }
    )  # fmt: skip
    if wrong:
        where = both.iloc[int(differences.argmax())]
        why = [f"{unpaired} values without a counterpart"] if unpaired else []
        why += [f"{int(undefined.sum())} values undefined on one side only"] if undefined.any() else []
        why += (
            [
                f"case {where['case']}, {where['class']}: {where['value_claimed']} claimed, {where['value_computed']} computed"
            ]
            if worst
            else []
        )
        why += (
            [f"mean {claimed_mean} claimed, {computed_mean} computed"]
            if not mean_difference <= TOLERANCE * scale
            else []
        )
        verification.add("/".join(stem), "wrong", "; ".join(why))
