"""`bench score`: turns predictions made elsewhere into a run. The harness draws the split and computes the numbers."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from semibench.blocks.datasets.folder_walk import composed
from semibench.contracts.cases import CaseRef, Split
from semibench.contracts.errors import CaseError, IdentityError, UsageError
from semibench.contracts.identity import SHORT, Entry, Part, RunSpec, canonical, sha256
from semibench.discovery.registry import registry
from semibench.evaluation.run_scores import conventions_for, prediction_name
from semibench.files import write_atomically
from semibench.reporting import Reporter
from semibench.run.assembly import unique
from semibench.run.prepare import draw_split
from semibench.run.resolve import Resolved, resolve
from semibench.runfolder.format import PREDICTIONS, write_spec
from semibench.runfolder.provenance import provenance
from semibench.runfolder.records import (
    GivenPredictions,
    Machine,
    PluginUsed,
    Provenance,
    Result,
    ScoreSummary,
    SplitRecord,
)
from semibench.runfolder.tables import SCORES_FILE
from semibench.runfolder.writing import StatusFile, write_table
from semibench_leaderboards.evidence.containers import ENDINGS, Container, first_few, read_labels
from semibench_leaderboards.evidence.opening import RunInputs
from semibench_leaderboards.evidence.requests import Submission
from semibench_leaderboards.evidence.stored_predictions import checked_labels, score_labels

OWNER = "submitted"
"""Replaces the distribution in the names of entries made elsewhere, and the recipe of their track."""

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,60}$")


def resolve_submission(submission: Submission, reporter: Reporter | None = None) -> tuple[Resolved, RunSpec]:
    """Resolves protocol and data as for a run with this recipe, of which only the protocol options matter, and makes the spec.

    The method is "submitted:NAME (submitted)" and the recipe "submitted", unless the submission is ranked.

    Raises UsageError for a name with other characters, and the errors of `resolve`.
    """
    if not NAME.match(submission.name or "unnamed"):
        raise UsageError(
            f'--name {submission.name!r}: expected at most 61 letters, digits, spaces and . _ + -, e.g. "nnU-Net v2"'
        )
    resolved = resolve(submission.cell.request(method=_any_method()), reporter)
    track = resolved.spec.track
    if not submission.ranked:
        track = track.model_copy(update={"recipe": Part(name=OWNER, options={"name": OWNER})})
    method = Part(name=f"{OWNER}:{submission.name or 'unnamed'} ({OWNER})")
    entry = Entry(method=method, backbone=Part(name=f"{OWNER}:unknown"))
    return resolved, RunSpec(track=track, entry=entry, replicate=resolved.spec.replicate)


def _any_method() -> str:
    """A method for any task. `resolve` needs one, but nothing of it enters the spec."""
    for item in registry().cards("methods"):
        if not item.card.uses_unlabeled and not item.card.protocols and {2, 3} <= set(item.card.dims):
            return item.full_name
    raise UsageError("no supervised method is installed; `bench score` needs one to resolve protocol and data")


def files_by_case(container: Container, refs: Sequence[CaseRef]) -> dict[str, str]:
    """Case key -> file. A file is named after the case's id (or as a run names it) and may be in a sub-folder.

    Raises UsageError for cases without a file, files without a case, and several files for one case.
    """
    case_of_stem: dict[str, str] = {}
    for ref in refs:
        for stem in {ref.id, prediction_name(ref), ref.key, ref.id.replace("/", "_")}:
            case_of_stem.setdefault(composed(stem), ref.key)
    files: dict[str, list[str]] = {}
    unknown = []
    for name in container.names():
        ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)
        if ending is None:
            continue
        stem = composed(name[: -len(ending)])
        parts = stem.split("/")
        key = next(
            (case_of_stem[tail] for i in range(len(parts)) if (tail := "/".join(parts[i:])) in case_of_stem), None
        )
        if key is None:
            unknown.append(name)
        else:
            files.setdefault(key, []).append(name)
    missing = [ref.key for ref in refs if ref.key not in files]
    repeated = {key: names for key, names in files.items() if len(names) > 1}
    problems = []
    if missing:
        problems.append(f"{len(missing)} of {len(refs)} test cases have no prediction: {first_few(missing, ', ')}")
    if unknown:
        problems.append(f"{len(unknown)} files don't belong to a test case of this split: {first_few(unknown, ', ')}")
    if repeated:
        listed = first_few([" and ".join(names) for names in repeated.values()], ", ")
        problems.append(f"{len(repeated)} cases have several files: {listed}")
    if problems:
        raise UsageError(
            f"{container.path}: {'; '.join(problems)}. Files are named CASE_ID{{{','.join(ENDINGS)}}}; "
            "`bench score --list` prints the ids"
        )
    return {key: names[0] for key, names in files.items()}


def score_submission(
    submission: Submission, container: Container, runs: Path, *, force: bool = False, reporter: Reporter | None = None
) -> tuple[Path, Result]:
    """Scores predictions and writes them as a run folder; returns the folder and its result.

    Raises:
        UsageError: files are missing, or there are others.
        CaseError: a prediction has a wrong shape or label.
        IdentityError: the folder has other predictions with the same name, draw, fold and seed, and `force` doesn't replace them.
    """
    reporter = reporter or Reporter()
    resolved, spec = resolve_submission(submission, reporter)
    split, warnings = draw_split(resolved)
    for text in warnings:
        reporter.warn(text)
    refs = list(unique(split.test))
    files = files_by_case(container, refs)
    inputs = RunInputs(
        spec,
        resolved.names.card,
        resolved.data.catalog,
        resolved.options.protocol,
        resolved.data.protocol_options,
        resolved.names.card.dims,
    )
    labels = _all_labels(container, files, refs, inputs)
    digest = sha256(canonical(sorted([key, sha256(array.tobytes())] for key, array in labels.items())))
    folder = runs / spec.key[:SHORT]
    known = None if force else Provenance.from_disk(folder)
    if known is not None and known.predictions is not None and known.predictions.digest != digest:
        raise IdentityError(
            f"{folder} has other predictions of {submission.name!r} for this split; use another --seed or --name, or --force"
        )
    chosen, _ = conventions_for(
        registry(),
        submission.cell.conventions,
        dims=resolved.names.card.dims,
        case_dims=resolved.names.card.dims,
        dataset=resolved.names.card.name,
    )
    scored = score_labels(lambda ref: labels[ref.key], inputs, refs, "last", "main", chosen, reporter)
    if scored.table is None:
        raise UsageError("; ".join(f"convention {name}: {why}" for name, why in scored.skipped.items()))
    for name, why in scored.skipped.items():
        (reporter.warn if submission.cell.conventions else reporter.note)(f"convention {name} is left out: {why}")
    _write(folder, spec, resolved, split, labels, refs, digest, list(chosen), submission)
    write_table(folder / SCORES_FILE, scored.table)
    result = _result(spec, split, scored.records, resolved.data.phantom)
    status = StatusFile(folder)
    result.to_disk(folder)
    status.write("done")
    return folder, result


def _all_labels(
    container: Container, files: Mapping[str, str], refs: Sequence[CaseRef], inputs: RunInputs
) -> dict[str, np.ndarray]:  # fmt: skip
    labels = {}
    for ref in refs:
        truth = inputs.datasets[ref.dataset].truth(ref)
        if truth is None:
            raise CaseError(f"{ref.key} has no reference; it can't be scored")
        array = read_labels(container.read(files[ref.key]), files[ref.key])
        labels[ref.key] = checked_labels(array, tuple(truth.label.shape), len(inputs.card.classes), ref)
    return labels


def _write(
    folder: Path, spec: RunSpec, resolved: Resolved, split: Split, labels: Mapping[str, np.ndarray],
    refs: Sequence[CaseRef], digest: str, conventions: Sequence[str], submission: Submission,
) -> None:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    StatusFile(folder).write("running")
    write_spec(folder, spec)
    parts = {
        role: item
        for role, item in resolved.plugins.items()
        if role in ("dataset", "protocol") or role.startswith("dataset:")
    }
    here = provenance(parts, "cpu")
    method = PluginUsed(name=spec.entry.method.name, distribution=OWNER, source=OWNER)
    Provenance(
        plugins={**here.plugins, "method": method}, versions=here.versions, git=here.git,
        machine=Machine(device="unknown", device_name="made elsewhere"),
        predictions=GivenPredictions(digest=digest, about=submission.about, scored_under=submission.cell.recipe),
    ).to_disk(folder)  # fmt: skip
    SplitRecord.of(split).to_disk(folder)
    target = folder / PREDICTIONS / "last" / "main"
    names = {prediction_name(ref) for ref in refs}
    for file in target.glob("*.npz"):
        if file.stem not in names:
            file.unlink()
    for ref in refs:
        stream = io.BytesIO()
        np.savez_compressed(stream, label=labels[ref.key], conventions=np.array(sorted(conventions)))
        write_atomically(target / f"{prediction_name(ref)}.npz", partial(_put, stream.getvalue()))


def _put(data: bytes, draft: Path) -> None:
    draft.write_bytes(data)


def _result(spec: RunSpec, split: Split, scores: Sequence[ScoreSummary], phantom: bool) -> Result:
    return Result(
        key=spec.key, row=spec.row, track=spec.track.digest(), split=SplitRecord.of(split).digest, submitted=True,
        scores=tuple(scores), label_budget=len(split.labeled) + len(split.validation), phantom=phantom,
    )  # fmt: skip
