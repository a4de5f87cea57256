"""Finds the cases that a CSV or JSON list names, MONAI's Decathlon data list included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from semibench.blocks.datasets.folder_walk import composed
from semibench.blocks.datasets.small_tables import table_rows
from semibench.contracts.errors import LayoutError
from semibench.data.declared.found import (
    ARRAY_ENDINGS,
    KINDS,
    Found,
    FoundCase,
    ending_of,
    plain_id,
    refuse,
    stem_of,
    unique_ids,
)
from semibench.data.json_files import json_document

COLUMNS = {
    "case": ("case", "case_id", "id", "name"),
    "image": ("image", "images", "img", "image_path", "scan"),
    "label": ("label", "labels", "mask", "masks", "seg", "segmentation", "label_path", "mask_path"),
    "group": ("group", "patient", "patient_id", "subject", "subject_id"),
    "domain": ("domain", "site", "centre", "center", "device", "vendor", "modality"),
    "role": ("split", "role", "set", "subset"),
    "fold": ("fold",),
}
"""What a column or key says -> its names, in any case of letters."""

ROLES = {
    "train": "train", "training": "train", "labeled": "labeled", "labelled": "labeled", "unlabeled": "unlabeled",
    "unlabelled": "unlabeled", "val": "validation", "valid": "validation", "validation": "validation", "test": "test",
    "testing": "test",
}  # fmt: skip
"""Word in a list -> role."""

PARTS = {"training": "train", "train": "train", "labeled": "labeled", "unlabeled": "unlabeled", "validation": "validation",
         "val": "validation", "test": "test", "testing": "test"}  # fmt: skip
"""Key of a JSON data list -> role of its cases."""


@dataclass(frozen=True)
class _Row:
    """A case as a list states it. where: for messages."""

    where: str
    values: Mapping[str, Any]
    role: str | None = None


def is_list(file: Path) -> bool:
    """Returns whether a file is a list of cases, judging by its header or its keys."""
    try:
        if file.suffix.lower() == ".csv":
            header = {name.lower() for name in table_rows(file)[0]}
            return bool(header & set(COLUMNS["image"]))
        if file.suffix.lower() == ".json":
            content = json_document(file)
            rows = _json_rows(file, content) if isinstance(content, dict | list) else []
            return bool(rows) and all(_key(row.values, "image") for row in rows)
    except LayoutError:
        return False
    return False


def find_lists(folder: Path) -> list[Path]:
    """Returns the files directly inside a folder that are lists of cases."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".csv", ".json"))
    except OSError:
        return []
    return [file for file in files if file.is_file() and is_list(file)]


def find_listed(folder: Path, file: Path) -> Found:
    """Finds the cases of a list.

    Args:
        folder: the folder of the data set, against which relative paths are resolved.
        file: the list, CSV or JSON.

    Raises:
        LayoutError: for a list that can't be read, a file that isn't there, or a role that is unknown.
    """
    if not file.is_file():
        raise refuse(file, "the list of cases", "no such file", "correct `list` in semibench.yaml")
    rows = _csv_rows(file) if file.suffix.lower() == ".csv" else _json_rows(file, json_document(file))
    if not rows:
        raise refuse(file, "at least one case", "none", "add rows with the columns case, image, label")
    cases, folds = [], {}
    for row in rows:
        case = _case(folder, file, row)
        cases.append(case)
        fold = row.values.get(_key(row.values, "fold") or "")
        if fold not in (None, "") and row.role in (None, "train"):
            folds[case.id] = str(fold)
    unique_ids(file, ((case.id, f"{case.relative} ({row.where})") for case, row in zip(cases, rows, strict=True)))
    notes = [f"cases from {file.name}: {len(cases)}"]
    numbers = sorted(set(folds.values()), key=lambda text: (len(text), text))
    crossed = tuple(
        (
            tuple(name for name, own in folds.items() if own != fold),
            tuple(name for name, own in folds.items() if own == fold),
        )
        for fold in (numbers if len(numbers) > 1 else [])
    )
    if crossed:
        notes.append(f"{len(crossed)} folds from the column fold")
    counts = {len(case.images) for case in cases}
    if len(counts) > 1:
        raise refuse(
            file,
            "as many images (channels) for each case",
            f"{sorted(counts)} of them",
            "complete the rows that have fewer",
        )
    return Found("list", tuple(sorted(cases, key=lambda case: case.id)), folds=crossed, notes=tuple(notes),
                 extra={"list": file.name})  # fmt: skip


def _csv_rows(file: Path) -> list[_Row]:
    header, rows = table_rows(file)
    if not {name.lower() for name in header} & set(COLUMNS["image"]):
        separated = " (a table needs commas between its columns)" if len(header) == 1 and ";" in header[0] else ""
        raise refuse(
            file, "a column image", f"{', '.join(header) or 'no column'}{separated}",
            "name the columns case, image, label, group, domain, split",
        )  # fmt: skip
    return [_Row(f"line {row.line}", {name.lower(): cell for name, cell in row.cells.items()}) for row in rows]


def _json_rows(file: Path, content: Any) -> list[_Row]:
    """Returns the cases of a JSON list: records in a list, or lists of records under training, validation, test."""
    parts: Iterable[tuple[str, Any]]
    if isinstance(content, list):
        parts = [("", content)]
    elif isinstance(content, dict):
        parts = [(key, value) for key, value in content.items() if key.lower() in PARTS and isinstance(value, list)]
    else:
        parts = []
    rows = []
    for key, records in parts:
        for number, record in enumerate(records):
            where = f"{key}[{number}]"
            if isinstance(record, str):
                record = {"image": record}
            if not isinstance(record, dict):
                raise refuse(file, f'{where} as {{"image": ..., "label": ...}}', repr(record)[:60], "correct the list")
            rows.append(
                _Row(where, {str(name).lower(): value for name, value in record.items()}, PARTS.get(key.lower()))
            )
    if not rows:
        raise refuse(
            file, 'a list of {"image": ..., "label": ...}, or such lists under training, validation and test',
            f"a JSON {type(content).__name__} without them", "correct the list",
        )  # fmt: skip
    return rows


def _key(values: Mapping[str, Any], what: str) -> str | None:
    return next((name for name in COLUMNS[what] if name in values), None)


def _value(row: _Row, what: str) -> Any:
    key = _key(row.values, what)
    value = None if key is None else row.values[key]
    return None if value in (None, "", [], "nan") else value


def _case(folder: Path, file: Path, row: _Row) -> FoundCase:
    named = _value(row, "image")
    if named is None:
        raise refuse(file, f"an image in {row.where}", "none", "fill it in, or remove the row")
    texts = _paths(file, row, named)
    images = tuple(_file(folder, file, row, text) for text in texts)
    label = _value(row, "label")
    if label is None and len(images) == 1 and ending_of(images[0].name) in ARRAY_ENDINGS:
        label_file: Path | None = images[0]  # one file holds both, if it has the key
    else:
        label_file = None if label is None else _file(folder, file, row, _paths(file, row, label)[0])
    role = _value(row, "role")
    if role is not None and str(role).lower() not in ROLES:
        raise refuse(
            file,
            f"train, labeled, unlabeled, validation or test in {row.where}",
            repr(role),
            "correct the column split",
        )
    relative = composed(texts[0].replace("\\", "/")).removeprefix("./")
    case = _value(row, "case")
    group, domain = _value(row, "group"), _value(row, "domain")
    return FoundCase(
        plain_id(composed(str(case))) if case is not None else _id_of(relative),
        images, label_file, relative,
        group=None if group is None else composed(str(group)),
        domain=None if domain is None else composed(str(domain)),
        role=ROLES[str(role).lower()] if role is not None else row.role,
    )  # fmt: skip


def _id_of(relative: str) -> str:
    """Returns the id of a case from the path of its image: the name of the file, or its folder where files are named alike."""
    stem = stem_of(relative)
    path = PurePosixPath(stem)
    plain = path.name.lower() in ("image", "img", "data", "imaging", "mri_norm2") and path.parent.name
    return plain_id(path.parent.name if plain else path.name)


def _paths(file: Path, row: _Row, value: Any) -> Sequence[str]:
    values = value if isinstance(value, list) else str(value).split(";")
    if not all(isinstance(item, str) and item.strip() for item in values):
        raise refuse(file, f"names of files in {row.where}", repr(value)[:60], "correct the list")
    return [item.strip() for item in values]


def _file(folder: Path, file: Path, row: _Row, text: str) -> Path:
    if "\0" in text:
        raise refuse(file, f"a path in {row.where}", repr(text)[:60], "correct the list")
    plain = text.replace("\\", "/")
    tried = [folder / plain, file.parent / plain]
    path = next((path for path in tried if path.is_file()), None)
    if path is None:
        raise refuse(
            file, f"the file {text} ({row.where})", "none in " + str(folder), "add the file, or correct the list"
        )
    if not ending_of(path.name):
        raise refuse(file, f"files of these kinds: {KINDS} ({row.where})", text, "convert the file")
    return path
