"""Finds the cases of a folder of images and a folder of masks, or of one folder with both."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from semibench.blocks.datasets.folder_walk import FoundFile, composed
from semibench.blocks.datasets.official_layout import first_folder
from semibench.data.declared.declaration import Declaration
from semibench.data.declared.found import (
    ARRAY_ENDINGS,
    KINDS,
    Found,
    FoundCase,
    contents,
    ending_of,
    plain_id,
    readable_files,
    refuse,
    stem_of,
    unique_ids,
)

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "scans", "volumes", "data")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "segmentations", "segmentation", "segs", "seg", "gt", "groundtruth",
                "ground_truth", "annotations")  # fmt: skip
IMAGE_WORDS = "image|img|im|scan|volume|vol"
MASK_WORDS = "mask|masks|label|labels|lab|seg|segmentation|gt|groundtruth|annotation|anno"
RULE = (
    "a mask is named like its image; image, img, scan, vol ... or mask, label, seg, gt, annotation ... before or after the name, "
    "set apart by _ or -, don't count"
)

Name = Callable[[str], str | None]
"""Stem of a file -> the name of its case, or None for a file of another role."""


def folders_of(folder: Path, declaration: Declaration) -> tuple[Path, Path | None] | None:
    """Returns the image folder and the mask folder; the mask folder is None if there is none. None: there is no image folder."""
    images = first_folder(folder, (declaration.images,) if declaration.images is not None else IMAGE_FOLDERS)
    if images is None:
        return None
    return images, first_folder(folder, (declaration.masks,) if declaration.masks is not None else MASK_FOLDERS)


def find_paired(folder: Path, declaration: Declaration) -> Found:
    """Finds images and masks.

    Raises:
        LayoutError: if there are none, masks have no image, or names can't be told apart.
    """
    pair = folders_of(folder, declaration)
    if pair is None:
        return _one_folder(folder, declaration)
    image_folder, mask_folder = pair
    images = readable_files(image_folder)
    if not images:
        raise refuse(image_folder, f"images ({KINDS})", contents(image_folder), "put the images there")
    masks = [] if mask_folder is None or mask_folder == image_folder else readable_files(mask_folder)
    if mask_folder is not None and mask_folder != image_folder and not masks:
        raise refuse(
            mask_folder, f"masks ({KINDS})", contents(mask_folder), "put the masks there, or remove the folder"
        )
    notes = [f"images in {image_folder.name}/" + (f", masks in {mask_folder.name}/" if masks and mask_folder else "")]
    image_name, mask_name, rule = _naming(declaration, images, masks)
    notes.append(rule)
    return _paired(folder, images, masks, image_name, mask_name, notes)


def _one_folder(folder: Path, declaration: Declaration) -> Found:
    """Finds images and masks that lie together, each mask with a word that marks it."""
    files = [file for file in readable_files(folder) if ending_of(file.relative) not in ARRAY_ENDINGS]
    if not files:
        raise refuse(
            folder,
            "images/ and masks/, imagesTr/ and labelsTr/, h5 or npz files, or a CSV or JSON list",
            contents(folder),
            "arrange the files so, or say where they are in semibench.yaml (bench data new writes it)",
        )
    image_name, mask_name = _expression(declaration.image_name), _expression(declaration.mask_name)
    marked = _marked(MASK_WORDS)
    masks = [file for file in files if (mask_name or marked)(stem_of(file.relative)) is not None]
    if not masks:
        raise refuse(
            folder,
            "images/ and masks/, imagesTr/ and labelsTr/, a list, or masks beside their images (a.png, a_mask.png)",
            contents(folder),
            "arrange the files so, or say where they are in semibench.yaml",
        )
    kept = {file.path for file in masks}
    images = [file for file in files if file.path not in kept]
    if not images:
        raise refuse(folder, "images beside the masks", f"{len(masks)} masks alone", "add the images")
    notes = ["images and masks in one folder", RULE]
    stripped = _stripped(IMAGE_WORDS)
    return _paired(folder, images, masks, image_name or stripped, mask_name or marked, notes)


def _naming(
    declaration: Declaration, images: Sequence[FoundFile], masks: Sequence[FoundFile]
) -> tuple[Name, Name, str]:
    """Returns how names of cases are read from names of images and masks, and the rule in words."""
    image_name, mask_name = _expression(declaration.image_name), _expression(declaration.mask_name)
    if image_name is not None or mask_name is not None:
        plain: Name = lambda stem: stem  # noqa: E731
        return image_name or plain, mask_name or plain, "names matched by the expressions in semibench.yaml"
    same: Name = lambda stem: stem  # noqa: E731
    image_stems = {stem_of(file.relative) for file in images}
    mask_stems = {stem_of(file.relative) for file in masks}
    if mask_stems <= image_stems:
        return same, same, "a mask has the name of its image"
    words = _stripped(IMAGE_WORDS), _stripped(MASK_WORDS)
    for image_rule, mask_rule in ((same, words[1]), words):
        if _fits(image_rule, mask_rule, image_stems, mask_stems):
            return image_rule, mask_rule, RULE
    affixed = _affixed(image_stems, mask_stems)
    if affixed is not None:
        return affixed
    return words[0], words[1], RULE


def _fits(image_rule: Name, mask_rule: Name, images: set[str], masks: set[str]) -> bool:
    """Returns whether the rules give each image a name of its own, and each mask that of an image."""
    names = [image_rule(stem) for stem in images]
    return len(set(names)) == len(names) and {mask_rule(stem) for stem in masks} <= set(names)


def _affixed(images: set[str], masks: set[str]) -> tuple[Name, Name, str] | None:
    """Finds what all images have before or after the name of the case, and all masks, so that the names agree."""
    lead_i, lead_m = _lead(images), _lead(masks)
    tail_i, tail_m = _lead({stem[::-1] for stem in images})[::-1], _lead({stem[::-1] for stem in masks})[::-1]
    image_rule: Name = lambda stem: stem.removeprefix(lead_i).removesuffix(tail_i)  # noqa: E731
    mask_rule: Name = lambda stem: stem.removeprefix(lead_m).removesuffix(tail_m)  # noqa: E731
    if not _fits(image_rule, mask_rule, images, masks):
        return None
    return image_rule, mask_rule, f"images are named {lead_i}CASE{tail_i}, masks {lead_m}CASE{tail_m}"


def _lead(stems: set[str]) -> str:
    """Returns what all names begin with, up to the last sign that separates words."""
    first, last = min(stems), max(stems)
    agree = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    common = first[:agree]
    cut = max(common.rfind(sign) for sign in "_-. ")
    return common[: cut + 1]


def _expression(text: str | None) -> Name | None:
    if text is None:
        return None
    pattern = re.compile(text)

    def name(stem: str) -> str | None:
        match = pattern.search(PurePosixPath(stem).name)
        return None if match is None else "".join(part or "" for part in match.groups()) or None

    return name


def _stripped(words: str) -> Name:
    """Returns the rule that takes a word for the role away from a name."""
    before = re.compile(rf"(^|/)(?:{words})[_-]", re.IGNORECASE)
    after = re.compile(rf"[_-](?:{words})$", re.IGNORECASE)
    return lambda stem: after.sub("", before.sub(r"\1", stem, count=1), count=1)


def _marked(words: str) -> Name:
    """Returns the rule that takes names with a word for the role only."""
    stripped = _stripped(words)
    return lambda stem: None if stripped(stem) == stem else stripped(stem)


def _paired(
    folder: Path, images: Sequence[FoundFile], masks: Sequence[FoundFile], image_name: Name, mask_name: Name,
    notes: Sequence[str],
) -> Found:  # fmt: skip
    """Pairs the files by the names of their cases."""
    named = _by_name(folder, images, image_name, "image")
    of_mask = _by_name(folder, masks, mask_name, "mask")
    orphans = [name for name in of_mask if name not in named]
    if orphans:
        advice = "rename them like their images, add the images, or give image_name and mask_name in semibench.yaml"
        shown = of_mask[orphans[0]].path.name
        raise refuse(
            folder, "an image for each mask", f"none for {len(orphans)} of {len(masks)} masks, e.g. {shown}", advice
        )
    cases = [
        FoundCase(
            plain_id(name), (file.path,), None if name not in of_mask else of_mask[name].path, composed(file.relative)
        )
        for name, file in named.items()
    ]
    unique_ids(folder, ((case.id, case.relative) for case in cases))
    return Found("folders", tuple(sorted(cases, key=lambda case: case.id)), notes=tuple(notes))


def _by_name(folder: Path, files: Sequence[FoundFile], rule: Name, role: str) -> Mapping[str, FoundFile]:
    found: dict[str, FoundFile] = {}
    for file in files:
        name = rule(stem_of(file.relative))
        if name is None or not name:
            raise refuse(
                folder,
                f"a name that {role}_name in semibench.yaml matches",
                file.relative,
                "correct the expression, or move the file away",
            )
        before = found.setdefault(name, file)
        if before is not file:
            raise refuse(
                folder,
                f"one {role} for each case",
                f"two for {name!r}: {before.relative} and {file.relative}",
                f"remove or rename one, or give {role}_name in semibench.yaml",
            )
    return found
