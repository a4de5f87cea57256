"""`bench data verify`: is what lies in the user's folder the data set that its card describes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from semibench.contracts.cases import CaseRef, Dataset, Split
from semibench.contracts.errors import LayoutError, SemibenchError
from semibench.data.cache import check_case
from semibench.data.catalog import check_index
from semibench.data.hashes import HashMemory
from semibench.reporting import Reporter


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed. check: "layout", "index", "count", "files", "hash", "case", "truth", "labels",
    "splits"; case: its id, or None for the whole data set."""

    level: Literal["error", "warning", "note"]
    check: str
    case: str | None
    message: str


def verify(
    dataset: Dataset,
    *,
    decode: bool = True,
    reread: bool = True,
    memory: HashMemory | None = None,
    reporter: Reporter | None = None,
) -> list[Finding]:
    """Check layout, index, number of cases, files, hashes, every decoded case (sizes, label values, spacing, reference
    on the native grid) and the published splits. Nothing is raised for bad data: all is found and returned.

    decode: read every case (slow, thorough). reread: hash every file again and compare with what was remembered.
    """
    reporter = Reporter() if reporter is None else reporter
    problems = dataset.inspect()
    found = [Finding("error", "layout", None, problem.message) for problem in problems]
    try:
        refs = dataset.index()
    except LayoutError as error:
        return found or [Finding("error", "layout", None, error.brief)]
    except SemibenchError as error:
        return [*found, Finding("error", "index", None, _line(error))]
    try:
        check_index(dataset, refs, refs[0].dataset if refs else None)
    except SemibenchError as error:
        found.append(Finding("error", "index", None, _line(error)))
    expected = dataset.card.cases
    if dataset.fingerprint is None and expected is not None and len(refs) != expected:
        found.append(
            Finding("warning", "count", None, f"the official data set has {expected} cases, found {len(refs)}")
        )
    told = {path for problem in problems for path in problem.files}
    sound = [ref for ref in refs if told.isdisjoint(dataset.files(ref))] if told else refs
    readable = [ref for ref in sound if _files(dataset, ref, found)]
    if reread and dataset.fingerprint is None:
        _hashes(dataset, readable, HashMemory() if memory is None else memory, reporter, found)
    if decode:
        reporter.phase("verify", len(readable))
        present: set[int] = set()
        empty = 0
        for done, ref in enumerate(readable, 1):
            values = _case(dataset, ref, found)
            if values is not None:
                present |= values
                empty += not (values - {0})
            reporter.advance(done)
        reporter.end()
        absent = [name for value, name in enumerate(dataset.card.classes) if value not in present]
        if absent and any(ref.has_label for ref in readable):
            found.append(Finding("warning", "labels", None, f"no case holds the class {', '.join(absent)}"))
        if empty:
            found.append(Finding("note", "labels", None, f"{empty} labeled cases hold no foreground"))
    found += _splits(dataset, refs)
    return _once(found)


def _line(error: SemibenchError) -> str:
    """The message in one line."""
    return " ".join(str(error).split())


def _once(found: Sequence[Finding]) -> list[Finding]:
    """Of errors in reading that have the same words (two cases of one broken file) the first."""
    first: dict[tuple[str, str, str, str | None], Finding] = {}
    for finding in found:
        case = None if finding.check == "case" else finding.case
        first.setdefault((finding.level, finding.check, finding.message, case), finding)
    return list(first.values())


def _files(dataset: Dataset, ref: CaseRef, found: list[Finding]) -> bool:
    if dataset.fingerprint is not None:
        return True
    files = dataset.files(ref)
    problems = [
        f"{path}: expected a file, found none; unpack the archive again" for path in files if not path.is_file()
    ]
    problems += [
        f"{path}: expected content, found an empty file; unpack the archive again"
        for path in files
        if path.is_file() and path.stat().st_size == 0
    ]
    if not files:
        problems = ["files() names no file"]
    found += [Finding("error", "files", ref.id, problem) for problem in problems]
    return not problems


def _hashes(
    dataset: Dataset, refs: Sequence[CaseRef], memory: HashMemory, reporter: Reporter, found: list[Finding]
) -> None:
    """Read every file again; a change that left size and time alone would otherwise go unseen."""
    owner = {path: ref.id for ref in refs for path in dataset.files(ref)}
    before = {path: memory.known(path) for path in owner}
    after = memory.many(owner, reread=True, reporter=reporter)
    for path, case in owner.items():
        if before[path] is not None and before[path] != after[path]:
            message = f"the bytes of {path} changed while its size and time stayed; runs before this used other data"
            found.append(Finding("error", "hash", case, message))


def _case(dataset: Dataset, ref: CaseRef, found: list[Finding]) -> set[int] | None:
    """Label values of a case; None where it has no label or can't be read."""
    try:
        case = dataset.read(ref)
        check_case(case, ref, dataset)
        truth = dataset.truth(ref)
    except SemibenchError as error:
        found.append(Finding("error", "case", ref.id, _line(error)))
        return None
    if float(case.image.min()) == float(case.image.max()):
        found.append(Finding("warning", "case", ref.id, "the image holds one value only"))
    if (truth is not None) != ref.has_label:
        found.append(Finding("error", "truth", ref.id, f"has_label={ref.has_label}, truth() is {truth}"))
    if truth is not None:
        if tuple(truth.label.shape) != tuple(case.frame.shape):
            sizes = f"{tuple(truth.label.shape)}, the image's native grid is {tuple(case.frame.shape)}"
            found.append(Finding("error", "truth", ref.id, f"the label's native grid is {sizes}"))
        if truth.label.numel() and int(truth.label.max()) >= len(dataset.card.classes):
            found.append(Finding("error", "truth", ref.id, f"label value {int(truth.label.max())} has no class"))
    return None if case.label is None else set(torch.unique(case.label).tolist())


def _splits(dataset: Dataset, refs: Sequence[CaseRef]) -> list[Finding]:
    try:
        splits: Mapping[str, Split] = dataset.splits()
    except SemibenchError as error:
        return [Finding("error", "splits", None, _line(error))]
    found = []
    known = {ref.key for ref in refs}
    for name, split in splits.items():
        strange = [ref.key for part in split.roles().values() for ref in part if ref.key not in known]
        if strange:
            found.append(Finding("error", "splits", None, f"{name!r} names unknown cases: {', '.join(strange[:5])}"))
        learned = {ref.group for ref in (*split.labeled, *split.unlabeled)}
        shared = sorted(learned & {ref.group for ref in split.test})
        if shared:
            message = f"{name!r}: {len(shared)} groups stand in training and test: {', '.join(shared[:5])}"
            found.append(Finding("warning", "splits", None, message))
    return found
