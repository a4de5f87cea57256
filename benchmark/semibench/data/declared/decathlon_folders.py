"""Finds the cases of the layout of nnU-Net (v1, v2) and of the Medical Segmentation Decathlon: imagesTr, labelsTr, dataset.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semibench.blocks.datasets.folder_walk import FoundFile
from semibench.blocks.datasets.official_layout import first_folder
from semibench.data.declared.declaration import Declaration
from semibench.data.declared.found import (
    KINDS,
    Found,
    FoundCase,
    contents,
    plain_id,
    readable_files,
    refuse,
    stem_of,
    unique_ids,
    with_channels,
)
from semibench.data.json_files import json_document

DESCRIPTION = "dataset.json"
FOLDS = "splits_final.json"
CHANNEL = re.compile(r"(.+)_(\d{4})")


def is_decathlon(folder: Path) -> bool:
    """Returns whether a folder has the sub-folder imagesTr."""
    return first_folder(folder, ("imagesTr",)) is not None


def find_decathlon(folder: Path, declaration: Declaration) -> Found:
    """Finds the cases of imagesTr; imagesTs without labels are left out, or unlabeled if the declaration says so.

    Raises:
        LayoutError: for files that contradict each other.
    """
    images = first_folder(folder, ("imagesTr",))
    if images is None:
        raise refuse(
            folder, "the folder imagesTr/", contents(folder), "add it, or give another layout in semibench.yaml"
        )
    notes = ["images in imagesTr/, labels in labelsTr/"]
    warnings: list[str] = []
    training = _images(images)
    labels = _labels(first_folder(folder, ("labelsTr",)))
    orphans = [case for case in labels if case not in training]
    if orphans:
        raise refuse(
            folder,
            "an image in imagesTr/ for each label in labelsTr/",
            f"none for {len(orphans)} of {len(labels)} labels, e.g. {labels[orphans[0]].path.name}",
            "add the images, or move the labels away",
        )
    cases = [_case(case, files, labels.get(case)) for case, files in training.items()]
    cases += _test_cases(folder, declaration, set(training), notes)
    unique_ids(folder, ((case.id, case.relative) for case in cases))
    facts = _facts(folder, warnings, len(training), len(labels))
    described = facts.get("channels")
    found_channels = {len(case.images) for case in cases}
    if len(found_channels) > 1:
        raise refuse(
            folder, "as many channels in imagesTs/ as in imagesTr/", f"{sorted(found_channels)} of them",
            "add the missing files, or move imagesTs/ away",
        )  # fmt: skip
    count = found_channels.pop()
    if described is not None and count > 1 and len(described) != count:
        raise refuse(
            folder / DESCRIPTION, f"{count} channels, as many as there are files _0000, _0001 ... for each case",
            f"{len(described)}: {', '.join(described)}", "correct channel_names",
        )  # fmt: skip
    names = described or (tuple(f"channel {number}" for number in range(count)) if count > 1 else None)
    folds = _folds(folder, {case.id for case in cases})
    if folds:
        notes.append(f"{len(folds)} folds from {FOLDS}")
    return Found(
        "nnunet", tuple(sorted(cases, key=lambda case: case.id)), channels=names, classes=facts.get("classes"),
        ignore=facts.get("ignore", ()), modality=facts.get("modality", ""), title=facts.get("title", ""), folds=folds,
        notes=tuple(notes), warnings=tuple(warnings),
    )  # fmt: skip


def _images(folder: Path) -> dict[str, list[FoundFile]]:
    """Returns case -> files, one for each channel where the names end in _0000."""
    files = readable_files(folder)
    if not files:
        raise refuse(folder, f"images ({KINDS})", contents(folder), "put the images there")
    if any(CHANNEL.fullmatch(stem_of(file.relative)) for file in files):
        return with_channels(folder, files, CHANNEL)
    unique_ids(folder, ((stem_of(file.relative), file.relative) for file in files))
    return {stem_of(file.relative): [file] for file in files}


def _labels(folder: Path | None) -> dict[str, FoundFile]:
    files = [] if folder is None else readable_files(folder)
    if folder is not None:
        unique_ids(folder, ((stem_of(file.relative), file.relative) for file in files))
    return {stem_of(file.relative): file for file in files}


def _case(case: str, files: list[FoundFile], label: FoundFile | None, role: str | None = None) -> FoundCase:
    return FoundCase(
        plain_id(case), tuple(file.path for file in files), None if label is None else label.path, files[0].relative,
        role=role,
    )  # fmt: skip


def _test_cases(folder: Path, declaration: Declaration, training: set[str], notes: list[str]) -> list[FoundCase]:
    """Returns the cases of imagesTs that are used: those with a label in labelsTs are the test of a published split."""
    images = first_folder(folder, ("imagesTs",))
    if images is None or not readable_files(images):
        return []
    labels = _labels(first_folder(folder, ("labelsTs",)))
    cases = []
    left_out = 0
    for case, files in _images(images).items():
        if case in training:
            raise refuse(
                folder,
                "cases of imagesTs/ that aren't in imagesTr/",
                f"{files[0].relative} in both",
                "remove one of them",
            )
        if case in labels:
            cases.append(_case(case, files, labels[case], "test"))
        elif declaration.test_images == "unlabeled":
            cases.append(_case(case, files, None))
        else:
            left_out += 1
    if left_out:
        notes.append(
            f"{left_out} images of imagesTs/ have no label: left out, never test cases (test_images: unlabeled in "
            "semibench.yaml adds them to the unlabeled ones)"
        )
    return cases


def _facts(folder: Path, warnings: list[str], found: int, labeled: int) -> dict[str, Any]:
    """Reads channels, classes and modality from dataset.json; {} if there is none."""
    file = folder / DESCRIPTION
    if not file.is_file():
        return {}
    content = json_document(file)
    if not isinstance(content, dict):
        raise refuse(file, "an object with labels and channel_names", type(content).__name__, "restore the file")
    facts: dict[str, Any] = {}
    channels = content.get("channel_names", content.get("modality"))
    if isinstance(channels, dict) and channels:
        facts["channels"] = tuple(str(channels[key]) for key in sorted(channels, key=str))
        facts["modality"] = ", ".join(dict.fromkeys(facts["channels"]))
    classes, ignore, regions = _classes(file, content.get("labels"))
    if regions:
        warnings.append(
            f"{file}: the labels {', '.join(regions)} are regions of several values, which overlap; the values are classes of "
            "their own: merge them in semibench.yaml (classes: give values the same name)"
        )
    if classes:
        facts |= {"classes": classes, "ignore": ignore}
    if isinstance(content.get("name"), str) and content["name"].strip():
        facts["title"] = content["name"].strip()[:200]
    promised = content.get("numTraining")
    if isinstance(promised, int) and promised not in (found, labeled):
        warnings.append(
            f"{file}: numTraining is {promised}, imagesTr/ has {found} cases, {labeled} with label: add the files, or correct it"
        )
    return facts


def _classes(file: Path, labels: Any) -> tuple[dict[int, str], tuple[int, ...], list[str]]:
    """Returns value -> name from the `labels` of dataset.json, in either form; ignored values; names of regions."""
    if not isinstance(labels, Mapping) or not labels:
        return {}, (), []
    classes: dict[int, str] = {}
    ignore: list[int] = []
    regions: list[str] = []
    for key, value in labels.items():
        name, number = (str(value), key) if isinstance(value, str) else (str(key), value)
        if isinstance(number, list):
            regions.append(name)
            for part in number:
                classes.setdefault(_value(file, part), f"value {part}")
        elif name.lower() == "ignore":
            ignore.append(_value(file, number))
        else:
            classes[_value(file, number)] = name or f"value {number}"
    classes.setdefault(0, "background")
    return dict(sorted(classes.items())), tuple(ignore), regions


def _value(file: Path, number: Any) -> int:
    try:
        return int(number)
    except (TypeError, ValueError):
        raise refuse(file, "labels with whole numbers", repr(number), "correct the labels") from None


def _folds(folder: Path, cases: set[str]) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Reads splits_final.json: a list of folds with the ids for training and for validation, which are the test here."""
    file = folder / FOLDS
    if not file.is_file():
        return ()
    content = json_document(file)
    expected = 'a list of folds {"train": [cases], "val": [cases]}'
    if not isinstance(content, list) or not all(
        isinstance(fold, dict) and all(isinstance(fold.get(part), list) for part in ("train", "val"))
        for fold in content
    ):
        raise refuse(file, expected, f"another content ({type(content).__name__})", "restore the file, or remove it")
    folds = tuple((tuple(map(str, fold["train"])), tuple(map(str, fold["val"]))) for fold in content)
    for number, (train, test) in enumerate(folds):
        both = sorted(set(train) & set(test))
        unknown = sorted({*train, *test} - cases)
        if both or unknown:
            found = f"{both[0]} in both parts of fold {number}" if both else f"{unknown[0]}, which has no image"
            raise refuse(
                file, "cases of imagesTr/, each in one part of a fold", found, "correct the file, or remove it"
            )
    return folds
