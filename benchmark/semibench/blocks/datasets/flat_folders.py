"""Image folders beside mask folders, with or without masks, under any of several usual names."""

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
    """Pair the images of one folder with the masks of another (or of the same) folder.

    Args:
        base: the folder of the data set.
        card: the data set, for errors.
        images: names of the image folder, in the order in which they are tried; "" is `base` itself.
        masks: names of the mask folder, likewise. A mask has the image's stem, or that with _mask, _GT, _seg or _label
            behind it.
        required: whether every image must have a mask.

    Returns:
        Case id (file stem) -> (image, mask or None).

    Raises:
        LayoutError: there are no images, a required mask is missing, a mask has no image, or two files share a stem.
    """
    image_folder = first_folder(base, images)
    mask_folder = first_folder(base, masks)
    if image_folder is None or not image_files(image_folder):
        raise layout_error(base, card, f"no images in {image_folder or base}")
    same = mask_folder is None
    found = image_files(image_folder)
    pictures = _by_stem([p for p in found if not (same and SUFFIX.search(p.stem))], base, card)
    drawn = image_files(mask_folder) if mask_folder is not None else [p for p in found if SUFFIX.search(p.stem)]
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
