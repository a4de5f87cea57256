"""Pairs the files of an image folder with those of a mask folder; each folder may have one of several common names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from semibench.blocks.datasets.official_layout import first_folder, layout_error
from semibench.blocks.datasets.raster_files import image_files
from semibench.contracts.cards import DatasetCard

SUFFIX = re.compile(r"[_-](?:mask|gt|seg|label|segmentation)$", re.IGNORECASE)
MASK_FOLDERS = ("masks", "mask", "label", "labels", "GT", "gt")


def pair_image_folders(
    base: Path, card: DatasetCard, images: Sequence[str], masks: Sequence[str] = MASK_FOLDERS, *, required: bool
) -> dict[str, tuple[Path, Path | None]]:
    """Pairs the images of one folder with the masks of another folder or of the same one.

    Args:
        base: the folder of the data set.
        card: the card of the data set, for error messages.
        images: possible names of the image folder, tried in this order; "" is `base` itself.
        masks: possible names of the mask folder, tried in this order. A mask has the stem of its image, optionally followed
            by _mask, _GT, _seg or _label.
        required: True if every image must have a mask.

    Returns:
        Case id (the stem of the image file) -> (image, mask or None).

    Raises:
        LayoutError: if there are no images, a required mask is missing, a mask has no image, or two files share a stem.

    Examples:
        >>> Image.new("L", (6, 4)).save(folder / "a.png")
        >>> Image.new("L", (6, 4)).save(folder / "a_mask.png")
        >>> image, mask = pair_image_folders(folder, card, [""], required=True)["a"]
        >>> mask.name
        'a_mask.png'
    """
    image_folder = first_folder(base, images)
    mask_folder = first_folder(base, masks)
    if image_folder is None or not image_files(image_folder):
        raise layout_error(base, card, f"no images in {image_folder or base}")
    same = mask_folder is None
    files = image_files(image_folder)
    pictures = _by_stem([p for p in files if not (same and SUFFIX.search(p.stem))], base, card)
    drawn = image_files(mask_folder) if mask_folder is not None else [p for p in files if SUFFIX.search(p.stem)]
    labels = _by_stem(drawn, base, card, strip=pictures)
    orphans = sorted(set(labels) - set(pictures))
    if orphans:
        raise layout_error(base, card, f"{len(orphans)} masks have no image, e.g. {', '.join(orphans[:5])}")
    bare = sorted(set(pictures) - set(labels))
    if required and bare:
        raise layout_error(
            base, card, f"{len(bare)} of {len(pictures)} images have no mask, e.g. {', '.join(bare[:5])}"
        )
    return {stem: (path, labels.get(stem)) for stem, path in pictures.items()}


def _by_stem(
    paths: Sequence[Path], base: Path, card: DatasetCard, strip: dict[str, Path] | None = None
) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in paths:
        stem = path.stem
        if strip is not None and stem not in strip:
            stem = SUFFIX.sub("", stem)
        if stem in named:
            raise layout_error(base, card, f"two files of one case: {named[stem].name} and {path.name}")
        named[stem] = path
    return named
