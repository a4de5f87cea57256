"""Finds the cases of a folder in whichever layout it has, and puts groups and domains to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from semibench.contracts.errors import LayoutError, UsageError
from semibench.data.declared.array_files import find_arrays, holds_arrays
from semibench.data.declared.arrays import array_keys
from semibench.data.declared.case_lists import find_listed, find_lists
from semibench.data.declared.decathlon_folders import find_decathlon, is_decathlon
from semibench.data.declared.declaration import Declaration
from semibench.data.declared.found import ARRAY_ENDINGS, Found, FoundCase, contents, ending_of, refuse
from semibench.data.declared.paired_folders import find_paired, folders_of

DEFAULT_DOMAIN = "default"


def find_cases(folder: Path, declaration: Declaration) -> Found:
    """Finds the cases of a folder, with a group and a domain each.

    The first layout that fits is used: what the declaration says, imagesTr/, images/, one list, h5 or npz files, one folder with
    marked masks.

    Raises:
        LayoutError: if no layout fits, or the files contradict each other; one line with what was expected and found.
        UsageError: if the declaration contradicts the files.
    """
    if not folder.is_dir():
        raise LayoutError(f"{folder}: expected a folder with images and labels, found {'a file' if folder.exists() else 'none'}; "
                          "correct the path")  # fmt: skip
    found = _layout(folder, declaration)
    if not found.cases:
        raise refuse(folder, "cases", contents(folder), "add images")
    found = replace(found, cases=tuple(_with_label_key(case, declaration) for case in found.cases))
    found = _without_bare_tests(found, declaration)
    return _with_domains(_with_groups(found, declaration), declaration)


def _layout(folder: Path, declaration: Declaration) -> Found:
    kind = declaration.layout
    if kind == "list" or (kind is None and declaration.list is not None):
        return find_listed(folder, folder / declaration.list if declaration.list else _only_list(folder))
    if kind == "nnunet" or (kind is None and is_decathlon(folder)):
        return find_decathlon(folder, declaration)
    if kind == "arrays":
        return find_arrays(folder, declaration)
    if kind == "folders" or folders_of(folder, declaration) is not None:
        pair = folders_of(folder, declaration)
        if kind is None and pair is not None and pair[1] is None and holds_arrays(pair[0]):
            return find_arrays(folder, declaration)
        return find_paired(folder, declaration)
    lists = find_lists(folder)
    if lists:
        return find_listed(folder, _only_list(folder))
    if holds_arrays(folder):
        return find_arrays(folder, declaration)
    return find_paired(folder, declaration)


def _only_list(folder: Path) -> Path:
    lists = find_lists(folder)
    if len(lists) != 1:
        names = ", ".join(file.name for file in lists) or "none"
        raise refuse(
            folder, "one CSV or JSON list of cases", names, "say which one: list in semibench.yaml, or -d FOLDER/LIST"
        )
    return lists[0]


def _with_label_key(case: FoundCase, declaration: Declaration) -> FoundCase:
    """Takes the label away from a case whose one array file lacks the key of the label."""
    if case.label is None or case.label != case.images[0] or ending_of(case.label.name) not in ARRAY_ENDINGS:
        return case
    return case if declaration.label_key in array_keys(case.label) else replace(case, label=None)


def _without_bare_tests(found: Found, declaration: Declaration) -> Found:
    """Leaves out the cases that a list tests and that have no label, or makes them unlabeled if the declaration says so."""
    bare = {case.id for case in found.cases if case.role in ("test", "validation") and case.label is None}
    if not bare:
        return found
    if declaration.test_images == "unlabeled":
        cases = [replace(case, role="unlabeled") if case.id in bare else case for case in found.cases]
        return replace(found, cases=tuple(cases))
    note = (
        f"{len(bare)} test or validation cases have no label: left out (test_images: unlabeled in semibench.yaml adds them to the "
        "unlabeled ones)"
    )
    kept = tuple(case for case in found.cases if case.id not in bare)
    return replace(found, cases=kept, notes=(*found.notes, note))


def _with_groups(found: Found, declaration: Declaration) -> Found:
    """Gives each case its group: of the list, of the expression, of its sub-folder, else its own."""
    notes = list(found.notes)
    if declaration.groups is not None:
        part = _part(declaration.groups, "groups")
        cases = [replace(case, group=part(case)) for case in found.cases]
        notes.append(f"groups by the expression {declaration.groups!r}")
    elif any(case.group is not None for case in found.cases):
        cases = [replace(case, group=case.group or case.id) for case in found.cases]
        notes.append("groups as the list states them")
    elif all("/" in case.relative for case in found.cases) and found.kind != "list":
        cases = [replace(case, group=case.relative.split("/")[0]) for case in found.cases]
        notes.append("groups: the sub-folders of the images (groups in semibench.yaml says otherwise)")
    else:
        cases = [replace(case, group=case.id) for case in found.cases]
        notes.append("groups: each case is its own (if a patient has several images, say so: groups in semibench.yaml)")
    return replace(found, cases=tuple(cases), notes=tuple(notes))


def _with_domains(found: Found, declaration: Declaration) -> Found:
    if declaration.domains is not None:
        part = _part(declaration.domains, "domains")
        cases = [replace(case, domain=part(case)) for case in found.cases]
    else:
        cases = [replace(case, domain=case.domain or DEFAULT_DOMAIN) for case in found.cases]
    return replace(found, cases=tuple(cases))


def _part(expression: str, name: str) -> Callable[[FoundCase], str]:
    """Returns what finds the part of a path that an expression names.

    Raises (when called):
        UsageError: for a path in which it finds none.
    """
    pattern = re.compile(expression)

    def part(case: FoundCase) -> str:
        match = pattern.search(case.relative)
        text = "" if match is None else "".join(piece or "" for piece in match.groups())
        if not text:
            raise UsageError(
                f"{name} in semibench.yaml: expected {expression!r} to find a name in each path, found none in {case.relative!r}; "
                "correct the expression"
            )
        return text

    return part


def domains_of(cases: Sequence[FoundCase]) -> tuple[str, ...]:
    """Returns the domains of cases, sorted."""
    return tuple(sorted({case.domain or DEFAULT_DOMAIN for case in cases}))
