"""`bench score`: predictions made elsewhere become a run; the harness draws the split and computes the numbers."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from semibench.contracts.cases import CaseRef
from semibench.contracts.errors import CaseError, IdentityError, UsageError
from semibench.contracts.identity import SHORT, Entry, Part, RunSpec, canonical, sha256
from semibench.evaluation.run_scores import conventions_for, prediction_name
from semibench.files import write_atomically
from semibench.registry import registry
from semibench.reporting import Reporter
from semibench.run.assembly import unique
from semibench.run.prepare import draw_split
from semibench.run.request import Request
from semibench.run.resolve import Resolved, resolve
from semibench.runfolder.provenance import provenance
from semibench.runfolder.writing import Status, read_json, write_json, write_table
from semibench_leaderboards.evidence.containers import ENDINGS, Container, read_labels
from semibench_leaderboards.evidence.opening import Setting
from semibench_leaderboards.evidence.stored_predictions import checked_labels, score_labels

OWNER = "submitted"
"""Stands for the distribution in the name of what was made elsewhere, and for the recipe of its track."""

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,60}$")
MENTIONED = 5


@dataclass(frozen=True)
class Submission:
    """What is scored. name: of the entry, as its author calls it. ranked: on the board of the recipe's own runs, in place
    of a track of its own. about: free text (a paper, a repository), kept with the run."""

    name: str
    protocol: str
    dataset: str
    recipe: str = "quick"
    draw: int = 0
    fold: int | None = None
    seed: int = 0
    settings: tuple[str, ...] = ()
    conventions: tuple[str, ...] = ()
    data_root: Path | None = None
    phantom: Any = "auto"
    ranked: bool = False
    about: str = ""


def resolve_submission(submission: Submission, reporter: Reporter | None = None) -> tuple[Resolved, RunSpec]:
    """Protocol, data and split as for a run with this recipe (its protocol options count, its training doesn't), and the spec:
    method "submitted:NAME (submitted)", recipe "submitted" unless it is to be ranked. Raises UsageError for a name that
    isn't plain, and the errors of `resolve`."""
    if not NAME.match(submission.name):
        raise UsageError(
            f'--name {submission.name!r}: letters, digits, spaces and . _ + -, at most 60, e.g. "nnU-Net v2"'
        )
    request = Request(
        protocol=submission.protocol, dataset=submission.dataset, method=_any_method(), recipe=submission.recipe,
        draw=submission.draw, fold=submission.fold, seed=submission.seed, settings=submission.settings,
        data_root=submission.data_root, phantom=submission.phantom,
    )  # fmt: skip
    resolved = resolve(request, reporter)
    track = resolved.spec.track
    if not submission.ranked:
        track = track.model_copy(update={"recipe": Part(name=OWNER, options={"name": OWNER})})
    who = Part(name=f"{OWNER}:{submission.name} ({OWNER})")
    entry = Entry(method=who, backbone=Part(name=f"{OWNER}:unknown"))
    return resolved, RunSpec(track=track, entry=entry, replicate=resolved.spec.replicate)


def _any_method() -> str:
    """A method that does any task: `resolve` wants one, and nothing of it enters the spec."""
    for item in registry().cards("methods"):
        if not item.card.uses_unlabeled and not item.card.protocols and {2, 3} <= set(item.card.dims):
            return item.full_name
    raise UsageError("no supervised method is installed; `bench score` needs one to resolve protocol and data")


def files_by_case(container: Container, refs: Sequence[CaseRef]) -> dict[str, str]:
    """Case key -> file. A file is called by the case's id (or the name that a run gives it) and may lie in a sub-folder.

    Raises UsageError for cases without a file, files for no test case, and several files for one."""
    wanted: dict[str, str] = {}
    for ref in refs:
        for stem in {ref.id, prediction_name(ref), ref.key, ref.id.replace("/", "_")}:
            wanted.setdefault(stem, ref.key)
    found: dict[str, list[str]] = {}
    strange = []
    for name in container.names():
        ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)
        if ending is None:
            continue
        stem = name[: -len(ending)]
        parts = stem.split("/")
        key = next((wanted[tail] for i in range(len(parts)) if (tail := "/".join(parts[i:])) in wanted), None)
        if key is None:
            strange.append(name)
        else:
            found.setdefault(key, []).append(name)
    missing = [ref.key for ref in refs if ref.key not in found]
    twice = {key: names for key, names in found.items() if len(names) > 1}
    problems = []
    if missing:
        problems.append(f"{len(missing)} of {len(refs)} test cases have no prediction: {_listed(missing)}")
    if strange:
        problems.append(f"{len(strange)} files are for no test case of this split: {_listed(strange)}")
    if twice:
        problems.append(f"{len(twice)} cases have several files: {_listed([' and '.join(n) for n in twice.values()])}")
    if problems:
        raise UsageError(
            f"{container.path}: {'; '.join(problems)}. A file is called CASE_ID{{{','.join(ENDINGS)}}}; "
            "`bench score --list` prints the ids"
        )
    return {key: names[0] for key, names in found.items()}


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - MENTIONED} more" if len(items) > MENTIONED else ""
    return ", ".join(items[:MENTIONED]) + more


def score_submission(
    submission: Submission, container: Container, runs: Path, *, force: bool = False, reporter: Reporter | None = None
) -> tuple[Path, dict[str, Any]]:
    """Scores predictions and writes them as a run folder; returns it and its result.

    Raises UsageError for missing or extra files, CaseError for a wrong shape or label, IdentityError where the folder holds other
    predictions under the same name, draw, fold and seed (`force` replaces them)."""
    reporter = reporter or Reporter()
    resolved, spec = resolve_submission(submission, reporter)
    split, warnings = draw_split(resolved)
    for text in warnings:
        reporter.warn(text)
    refs = list(unique(split.test))
    files = files_by_case(container, refs)
    setting = Setting(
        spec,
        resolved.names.card,
        resolved.data.catalog,
        resolved.options.protocol,
        resolved.data.protocol_options,
        resolved.names.card.dims,
    )
    labels = _all_labels(container, files, refs, setting)
    digest = sha256(canonical(sorted([key, sha256(array.tobytes())] for key, array in labels.items())))
    folder = runs / spec.key[:SHORT]
    known = read_json(folder / "provenance.json").get("predictions", {}).get("digest")
    if known is not None and known != digest and not force:
        raise IdentityError(
            f"{folder} holds other predictions of {submission.name!r} for this split; give another --seed or --name, or --force"
        )
    chosen, _ = conventions_for(
        registry(),
        submission.conventions,
        dims=resolved.names.card.dims,
        case_dims=resolved.names.card.dims,
        dataset=resolved.names.card.name,
    )
    found = score_labels(lambda ref: labels[ref.key], setting, refs, "last", "main", chosen, reporter)
    if found.table is None:
        raise UsageError("; ".join(f"convention {name}: {why}" for name, why in found.skipped.items()))
    for name, why in found.skipped.items():
        (reporter.warn if submission.conventions else reporter.note)(f"convention {name} is left out: {why}")
    _write(folder, spec, resolved, split.roles(), labels, refs, digest, found.records, list(chosen), submission)
    write_table(folder / "scores.parquet", found.table)
    result = _result(spec, found.records, len(split.labeled) + len(split.validation), resolved.data.phantom)
    status = Status(folder)
    write_json(folder / "result.json", result)
    status.write("done")
    return folder, read_json(folder / "result.json")


def _all_labels(
    container: Container, files: Mapping[str, str], refs: Sequence[CaseRef], setting: Setting
) -> dict[str, np.ndarray]:  # fmt: skip
    found = {}
    for ref in refs:
        truth = setting.datasets[ref.dataset].truth(ref)
        if truth is None:
            raise CaseError(f"{ref.key} has no reference; it can't be scored")
        array = read_labels(container.read(files[ref.key]), files[ref.key])
        found[ref.key] = checked_labels(array, tuple(truth.label.shape), len(setting.card.classes), ref)
    return found


def _write(
    folder: Path, spec: RunSpec, resolved: Resolved, roles: Mapping[str, Sequence[CaseRef]], labels: Mapping[str, np.ndarray],
    refs: Sequence[CaseRef], digest: str, records: Sequence[Mapping[str, Any]], conventions: Sequence[str],
    submission: Submission,
) -> None:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    Status(folder).write("running")
    write_json(folder / "spec.json", spec.model_dump(mode="json"))
    parts = {
        role: item
        for role, item in resolved.plugins.items()
        if role in ("dataset", "protocol") or role.startswith("dataset:")
    }
    record = provenance(parts, "cpu")
    record["plugins"]["method"] = {
        "name": spec.entry.method.name, "distribution": OWNER, "version": "", "source": OWNER,
    }  # fmt: skip
    record["machine"] = {"device": "unknown", "device_name": "made elsewhere"}
    record["predictions"] = {"digest": digest, "about": submission.about, "scored_under": submission.recipe}
    write_json(folder / "provenance.json", record)
    rows = {role: [[ref.dataset, ref.id, ref.group, ref.domain] for ref in members] for role, members in roles.items()}
    write_json(folder / "split.json", {**rows, "validation_from": "none", "excluded": {}})
    place = folder / "predictions" / "last" / "main"
    kept = {prediction_name(ref) for ref in refs}
    for stray in place.glob("*.npz"):
        if stray.stem not in kept:
            stray.unlink()
    for ref in refs:
        stream = io.BytesIO()
        np.savez_compressed(stream, label=labels[ref.key], conventions=np.array(sorted(conventions)))
        write_atomically(place / f"{prediction_name(ref)}.npz", partial(_put, stream.getvalue()))


def _put(data: bytes, draft: Path) -> None:
    draft.write_bytes(data)


def _result(spec: RunSpec, records: Sequence[Mapping[str, Any]], budget: int, phantom: bool) -> dict[str, Any]:
    return {
        "key": spec.key, "row": spec.row, "track": spec.track.digest(), "submitted": True, "scores": list(records), "training": {},
        "model": {}, "inference": {}, "label_budget": budget, "synthetic": None, "tuning": None, "pictures": [], "phantom": phantom,
    }  # fmt: skip
