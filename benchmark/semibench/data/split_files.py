"""Reads splits of one's own: JSON or CSV files that say which case or group is labeled, unlabeled, validation or test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from semibench.blocks.datasets.folder_walk import composed
from semibench.blocks.datasets.small_tables import table_rows
from semibench.contracts.cases import CaseRef, Split
from semibench.contracts.errors import LayoutError, UsageError
from semibench.data.json_files import json_document

TRAIN = "train"
"""The role of a training case of which the protocol's option `labeled` decides whether its label is used."""

ROLES = {
    "labeled": "labeled", "labelled": "labeled", "unlabeled": "unlabeled", "unlabelled": "unlabeled", "validation": "validation",
    "valid": "validation", "test": "test", "testing": "test", "train": TRAIN, "training": TRAIN,
}  # fmt: skip
"""Word in a file -> role. "val" is the validation, except in nnU-Net's folds, whose validation is the test."""

CASE_COLUMNS = ("case", "case_id", "id", "name")
GROUP_COLUMNS = ("group", "patient", "patient_id", "subject", "subject_id")
ROLE_COLUMNS = ("role", "split", "set", "subset")
FORMATS = (
    'JSON {"labeled": [...], "unlabeled": [...], "validation": [...], "test": [...]}, JSON {case: role}, a CSV with the columns '
    "case (or group) and role, or nnU-Net's splits_final.json"
)
NAMES = {"case": "case", "group": "group", "either": "case or group"}

Names = Literal["case", "group", "either"]


@dataclass(frozen=True)
class _Entry:
    """A name in a file, and its role. kind: what it names."""

    name: str
    role: str
    kind: Names = "either"


@dataclass(frozen=True)
class OwnSplit:
    """A split of one's own, checked against the cases that are there.

    folds: one, or those of a cross-validation: role -> keys of cases ("data set/id"), sorted; "train" for cases whose label may or
    may not be used.
    """

    folds: tuple[dict[str, tuple[str, ...]], ...]

    @property
    def has_folds(self) -> bool:
        """Whether there are several folds, so that --fold chooses one."""
        return len(self.folds) > 1

    @property
    def has_draw(self) -> bool:
        """Whether the protocol still draws whose labels are used."""
        return any(fold.get(TRAIN) for fold in self.folds)

    def record(self) -> dict[str, Any]:
        """Returns the content as JSON; equal for files that say the same in different formats."""
        folds = [{role: list(keys) for role, keys in sorted(fold.items()) if keys} for fold in self.folds]
        return {"folds": folds}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> OwnSplit:
        """Returns what `record` was made of."""
        folds = tuple({role: tuple(keys) for role, keys in fold.items()} for fold in record["folds"])
        return cls(folds)


def read_split(file: Path, main: str, cases: Sequence[CaseRef]) -> OwnSplit:
    """Reads a file and checks it.

    Args:
        file: JSON or CSV.
        main: name of the main data set: names without "data set/" are looked for there.
        cases: all cases that a split may name.

    Raises:
        UsageError: for a file that can't be read, an unknown name, a case with two roles, a group that is torn apart, or a case
            without label where one is needed.
    """
    if not file.is_file():
        raise UsageError(f"--split {file}: expected a file ({FORMATS}), found none; correct the path")
    try:
        if file.suffix.lower() == ".csv":
            folds = [_csv_entries(file)]
        else:
            folds = _json_folds(file, json_document(file))
    except LayoutError as error:
        raise UsageError(f"--split {error}") from error
    if not folds or not all(folds):
        raise UsageError(f"--split {file}: expected roles of cases, found none; write {FORMATS}")
    places = _Places(main, cases)
    return OwnSplit(tuple(_checked(file, entries, places) for entries in folds))


def split_of(own: OwnSplit, cases: Sequence[CaseRef], fold: int, labeled: Iterable[CaseRef] = ()) -> Split:
    """Returns one fold as a split.

    Args:
        own: the checked file.
        cases: all cases, in order.
        fold: which fold, from 0.
        labeled: the cases among those of the role "train" whose label is used.

    Raises:
        UsageError: for a fold that isn't in the file, or a case that isn't there.
    """
    if not 0 <= fold < len(own.folds):
        raise UsageError(
            f"--fold {fold}: expected one of the {len(own.folds)} folds of the split file, 0 to {len(own.folds) - 1}"
        )
    roles = own.folds[fold]
    known = {ref.key: ref for ref in cases}
    lost = [key for keys in roles.values() for key in keys if key not in known]
    if lost:
        raise UsageError(
            f"the split of one's own names {len(lost)} cases that aren't there, e.g. {lost[0]}; add their files"
        )
    chosen = set(labeled)
    of_role = {role: [known[key] for key in keys] for role, keys in roles.items()}
    training = of_role.get(TRAIN, [])
    named = {key for keys in roles.values() for key in keys}
    return Split(
        labeled=tuple(sorted([*of_role.get("labeled", []), *(ref for ref in training if ref in chosen)])),
        unlabeled=tuple(sorted([*of_role.get("unlabeled", []), *(ref for ref in training if ref not in chosen)])),
        validation=tuple(of_role.get("validation", [])),
        test=tuple(of_role.get("test", [])),
        validation_from="official" if of_role.get("validation") else "none",
        excluded={ref.key: "not in the split file" for ref in cases if ref.key not in named},
    )


# ---- formats -----------------------------------------------------------------------------------------------------------


def _role(file: Path, word: object, where: str) -> str:
    text = str(word).strip().lower()
    if text == "val":
        return "validation"
    if text not in ROLES:
        raise UsageError(
            f"--split {file}: expected labeled, unlabeled, validation, test or train {where}, found {str(word)[:60]!r}; correct it"
        )
    return ROLES[text]


def _csv_entries(file: Path) -> list[_Entry]:
    header, rows = table_rows(file)
    low = {name.lower(): name for name in header}
    role = next((low[name] for name in ROLE_COLUMNS if name in low), None)
    case = next((low[name] for name in CASE_COLUMNS if name in low), None)
    group = next((low[name] for name in GROUP_COLUMNS if name in low), None)
    column = case or group
    if role is None or column is None:
        found = ", ".join(header) or "none"
        raise UsageError(f"--split {file}: expected the columns case (or group) and role, found {found}; rename them")
    kind: Names = "case" if case is not None else "group"
    dataset = low.get("dataset")
    entries = []
    for row in rows:
        name = row.cells.get(column, "")
        if not name:
            raise UsageError(
                f"--split {file}: line {row.line}: expected a name in the column {column}, found none; fill it in"
            )
        lead = f"{row.cells[dataset]}/" if dataset is not None and row.cells.get(dataset) else ""
        entries.append(_Entry(lead + name, _role(file, row.cells.get(role, ""), f"in line {row.line}"), kind))
    return entries


def _json_folds(file: Path, content: Any) -> list[list[_Entry]]:
    if isinstance(content, list):
        if not content or not all(isinstance(fold, dict) for fold in content):
            raise UsageError(f"--split {file}: expected a list of folds, found another list; write {FORMATS}")
        nnunet = all(set(fold) == {"train", "val"} for fold in content)
        return [_by_role(file, fold, nnunet=nnunet) for fold in content]
    if not isinstance(content, dict):
        raise UsageError(
            f"--split {file}: expected an object or a list, found {type(content).__name__}; write {FORMATS}"
        )
    if isinstance(content.get("roles"), dict):
        return [_by_role(file, content["roles"])]
    if content and all(isinstance(value, list) for value in content.values()):
        return [_by_role(file, content)]
    if content and all(isinstance(value, str) for value in content.values()):
        return [[_Entry(composed(name), _role(file, role, f"for {name!r}")) for name, role in content.items()]]
    raise UsageError(
        f"--split {file}: expected lists of names by role, or a role by name, found neither; write {FORMATS}"
    )


def _by_role(file: Path, roles: Mapping[str, Any], *, nnunet: bool = False) -> list[_Entry]:
    """Returns the entries of one fold. A name may be [data set, id, ...], as `bench split --json` writes it."""
    entries = []
    for word, names in roles.items():
        role = "test" if nnunet and word == "val" else _role(file, word, "as a key")
        if not isinstance(names, list):
            raise UsageError(
                f"--split {file}: expected a list of names under {word!r}, found {str(names)[:60]!r}; correct it"
            )
        for name in names:
            if isinstance(name, list) and len(name) >= 2 and all(isinstance(part, str) for part in name[:2]):
                entries.append(_Entry(f"{composed(name[0])}/{composed(name[1])}", role, "case"))
            elif isinstance(name, str | int) and not isinstance(name, bool):
                entries.append(_Entry(composed(str(name)), role))
            else:
                raise UsageError(
                    f"--split {file}: expected a name under {word!r}, found {str(name)[:60]!r}; correct it"
                )
    return entries


# ---- checks ------------------------------------------------------------------------------------------------------------


class _Places:
    """The cases that names may mean."""

    def __init__(self, main: str, cases: Sequence[CaseRef]) -> None:
        self.main = main
        self.by_id: dict[str, list[CaseRef]] = {}
        self.by_group: dict[str, list[CaseRef]] = {}
        for ref in cases:
            for lead in (f"{ref.dataset}/", "") if ref.dataset == main else (f"{ref.dataset}/",):
                self.by_id.setdefault(lead + ref.id, []).append(ref)
                self.by_group.setdefault(lead + ref.group, []).append(ref)

    def find(self, file: Path, entry: _Entry) -> tuple[list[CaseRef], bool]:
        """Returns the cases that a name means, and whether it names a group."""
        case = self.by_id.get(entry.name, []) if entry.kind != "group" else []
        group = self.by_group.get(entry.name, []) if entry.kind != "case" else []
        if case and group and set(case) != set(group):
            raise UsageError(
                f"--split {file}: {entry.name!r} is a case and also a group of {len(group)} cases; say which in a CSV with the "
                "column case or group"
            )
        if not case and not group:
            example = next(iter(self.by_id if entry.kind != "group" else self.by_group), "none")
            raise UsageError(
                f"--split {file}: expected the name of a {NAMES[entry.kind]} of data set {self.main!r} (like {example!r}), found "
                f"{entry.name!r}; correct the name, or add its files"
            )
        return (case, False) if case else (group, True)


def _checked(file: Path, entries: Sequence[_Entry], places: _Places) -> dict[str, tuple[str, ...]]:
    """Returns role -> keys of cases. A named group brings all its cases: those without label can only be unlabeled."""
    role_of: dict[CaseRef, str] = {}
    for entry in entries:
        refs, as_group = places.find(file, entry)
        for ref in refs:
            role = entry.role
            if not ref.has_label and role not in ("unlabeled", TRAIN):
                if not as_group:
                    raise UsageError(
                        f"--split {file}: expected a label for each {role} case, found none for {ref.id!r}; make it unlabeled"
                    )
                if role != "labeled":
                    continue
                role = "unlabeled"
            before = role_of.setdefault(ref, role)
            if before != role:
                raise UsageError(
                    f"--split {file}: expected one role for {ref.id!r}, found {before} and {role}; keep one"
                )
    _whole_groups(file, role_of)
    if not any(role in ("labeled", TRAIN) for role in role_of.values()):
        raise UsageError(f"--split {file}: expected labeled (or train) cases, found none; add them")
    if "test" not in role_of.values():
        raise UsageError(f"--split {file}: expected test cases, found none; add them")
    return {
        role: tuple(sorted(ref.key for ref, own in role_of.items() if own == role))
        for role in ("labeled", "unlabeled", "validation", "test", TRAIN)
    }


def _whole_groups(file: Path, role_of: Mapping[CaseRef, str]) -> None:
    """Refuses a group with cases in two roles. A case without label may be unlabeled beside labeled ones of its group."""
    training = {"labeled", "unlabeled", TRAIN}
    first: dict[tuple[str, str], CaseRef] = {}
    for ref, role in sorted(role_of.items(), key=lambda pair: (not pair[0].has_label, pair[0])):
        before = first.setdefault((ref.dataset, ref.group), ref)
        beside = not ref.has_label and {role_of[before], role} <= training
        if role_of[before] != role and not beside:
            raise UsageError(
                f"--split {file}: expected whole groups, found group {ref.group!r} in {role_of[before]} ({before.id}) and in "
                f"{role} ({ref.id}); give all its cases one role"
            )
