"""`bench data verify`: check that the user's folder contains the data set that its card describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from semibench.contracts.cases import CaseRef, Dataset, Split
from semibench.contracts.errors import LayoutError, SemibenchError, one_line
from semibench.contracts.method import IGNORE
from semibench.data.cache import check_case, highest_class
from semibench.data.catalog import check_index
from semibench.data.hashes import HashMemory
from semibench.data.png_checksums import check_pngs
from semibench.data.workers import free_cores, over_all
from semibench.discovery.guard import calling
from semibench.reporting import Reporter

CASES_AT_ONCE = 4
"""Cases that a process reads in one go."""


@dataclass(frozen=True)
class Finding:
    """One problem or remark."""

    level: Literal["error", "warning", "note"]
    """How serious it is."""
    check: str
    """The check that reports it: "layout", "index", "count", "files", "hash", "case", "truth", "labels", "splits"."""
    case: str | None
    """Id of the case; None: it concerns the whole data set."""
    message: str
    """One line."""


def verify(
    dataset: Dataset,
    *,
    decode: bool = True,
    reread: bool = True,
    memory: HashMemory | None = None,
    reporter: Reporter | None = None,
) -> list[Finding]:
    """Check layout, index, number of cases, files, hashes, every decoded case and the published splits.

    A decoded case is checked for sizes, label values, spacing and its reference on the native grid. Bad data never raise:
    all problems are returned.

    Args:
        dataset: the data set.
        decode: read every case; slow but thorough.
        reread: hash every file again and compare with the remembered hash.
        memory: remembered hashes; the cache's by default.
        reporter: receives progress.

    Cases are read by as many processes as there are free cores.
    """
    reporter = Reporter() if reporter is None else reporter
    with calling(dataset, "inspect"):
        problems = dataset.inspect()
    findings = [Finding(problem.level, "layout", None, problem.message) for problem in problems]
    try:
        with calling(dataset, "index"):
            refs = dataset.index()
    except LayoutError as error:
        named = [finding for finding in findings if finding.level == "error"]
        return findings if named else [*findings, Finding("error", "layout", None, error.brief)]
    except SemibenchError as error:
        return [*findings, Finding("error", "index", None, one_line(error))]
    try:
        check_index(dataset, refs, refs[0].dataset if refs else None)
    except SemibenchError as error:
        findings.append(Finding("error", "index", None, one_line(error)))
    expected = dataset.card.cases
    if dataset.fingerprint is None and expected is not None and len(refs) != expected:
        findings.append(
            Finding("warning", "count", None, f"the official data set has {expected} cases, found {len(refs)}")
        )
    reported = {path for problem in problems if problem.level == "error" for path in problem.files}
    sound = [ref for ref in refs if reported.isdisjoint(dataset.files(ref))] if reported else refs
    readable = [ref for ref in sound if _files(dataset, ref, findings)]
    if reread and dataset.fingerprint is None:
        _hashes(dataset, readable, HashMemory() if memory is None else memory, reporter, findings)
    if decode:
        reporter.phase("verify", len(readable))
        present: set[int] = set()
        empty = 0
        checks = over_all(partial(_case, dataset), readable, workers=free_cores(), batch=CASES_AT_ONCE)
        for done, (values, found) in enumerate(checks, 1):
            findings += found
            if values is not None:
                present |= values
                empty += not (values - {0, IGNORE})
            reporter.advance(done)
        reporter.end()
        absent = [name for value, name in enumerate(dataset.card.classes) if value not in present]
        if absent and any(ref.has_label for ref in readable):
            findings.append(Finding("warning", "labels", None, f"no case contains the class {', '.join(absent)}"))
        if empty:
            findings.append(Finding("note", "labels", None, f"{empty} labeled cases contain no foreground"))
    findings += _splits(dataset, refs)
    return _once(findings)


def _once(found: Sequence[Finding]) -> list[Finding]:
    """Drop repeated errors with the same message, such as two cases of one broken file."""
    first: dict[tuple[str, str, str, str | None], Finding] = {}
    for finding in found:
        case = None if finding.check == "case" else finding.case
        first.setdefault((finding.level, finding.check, finding.message, case), finding)
    return list(first.values())


def _instead(path: Path) -> str:
    """Returns what is where a file should be."""
    if path.is_dir():
        return "a folder"
    return "a link to nothing" if path.is_symlink() else "none"


def _files(dataset: Dataset, ref: CaseRef, findings: list[Finding]) -> bool:
    if dataset.fingerprint is not None:
        return True
    with calling(dataset, "files"):
        files = dataset.files(ref)
    problems = [
        f"{path}: expected a file, found {_instead(path)}; unpack the archive again"
        for path in files
        if not path.is_file()
    ]
    problems += [
        f"{path}: expected content, found an empty file; unpack the archive again"
        for path in files
        if path.is_file() and path.stat().st_size == 0
    ]
    if not files:
        problems = ["files() lists no file"]
    findings += [Finding("error", "files", ref.id, problem) for problem in problems]
    return not problems


def _hashes(
    dataset: Dataset, refs: Sequence[CaseRef], memory: HashMemory, reporter: Reporter, findings: list[Finding]
) -> None:
    """Read every file again: a change that keeps size and time would otherwise go unnoticed."""
    owner = {path: ref.id for ref in refs for path in dataset.files(ref)}
    before = {path: memory.known(path) for path in owner}
    try:
        after = memory.many(owner, reread=True, reporter=reporter)
    except OSError as error:
        findings.append(
            Finding(
                "error",
                "hash",
                None,
                f"{error.filename or 'a file'}: can't be read ({error.strerror}); make it readable",
            )
        )
        return
    for path, case in owner.items():
        if before[path] is not None and before[path] != after[path]:
            message = f"the bytes of {path} changed, but not its size and time; earlier runs used other data"
            findings.append(Finding("error", "hash", case, message))


def _case(dataset: Dataset, ref: CaseRef) -> tuple[set[int] | None, list[Finding]]:
    """Return the label values of a case (None if it has no label or cannot be read), and what is wrong with it."""
    findings: list[Finding] = []
    try:
        check_pngs(dataset, ref)
        with calling(dataset, "read"):
            case = dataset.read(ref)
        check_case(case, ref, dataset)
        with calling(dataset, "truth"):
            truth = dataset.truth(ref)
        with calling(dataset, "remarks"):
            findings += [Finding(remark.level, "case", ref.id, remark.message) for remark in dataset.remarks(ref)]
    except SemibenchError as error:
        return None, [*findings, Finding("error", "case", ref.id, one_line(error))]
    if float(case.image.min()) == float(case.image.max()):
        findings.append(Finding("warning", "case", ref.id, "the image has only one value"))
    if (truth is not None) != ref.has_label:
        findings.append(Finding("error", "truth", ref.id, f"has_label={ref.has_label}, but truth() is {truth}"))
    if truth is not None:
        if tuple(truth.label.shape) != tuple(case.frame.shape):
            sizes = f"{tuple(truth.label.shape)}, but the image's native grid is {tuple(case.frame.shape)}"
            findings.append(Finding("error", "truth", ref.id, f"the label's native grid is {sizes}"))
        if truth.label.numel() and (highest := highest_class(truth.label, dataset)) >= len(dataset.card.classes):
            findings.append(Finding("error", "truth", ref.id, f"label value {highest} is not a class"))
    return None if case.label is None else set(torch.unique(case.label).tolist()), findings


def _splits(dataset: Dataset, refs: Sequence[CaseRef]) -> list[Finding]:
    try:
        splits: Mapping[str, Split] = dataset.splits()
    except SemibenchError as error:
        return [Finding("error", "splits", None, one_line(error))]
    findings = []
    known = {ref.key for ref in refs}
    for name, split in splits.items():
        unknown = [ref.key for part in split.roles().values() for ref in part if ref.key not in known]
        if unknown:
            findings.append(Finding("error", "splits", None, f"{name!r} lists unknown cases: {', '.join(unknown[:5])}"))
        training = {ref.group for ref in (*split.labeled, *split.unlabeled)}
        shared = sorted(training & {ref.group for ref in split.test})
        if shared:
            message = f"{name!r}: {len(shared)} groups are in both training and test: {', '.join(shared[:5])}"
            findings.append(Finding("warning", "splits", None, message))
    return findings
