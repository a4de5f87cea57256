"""Pairs the files of an image folder with those of a mask folder; each folder may have one of several common names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semibench.blocks.datasets.file_patterns import clashes, find_case_files, image_and_mask_patterns
from semibench.blocks.datasets.official_layout import layout_error
from semibench.contracts.cards import DatasetCard

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
    patterns = image_and_mask_patterns(base, images, masks, required=required)
    cases = find_case_files(base, patterns)
    pairs = {case: (files.one("image"), files.one("mask")) for case, files in cases.items()}
    if not any(image for image, _ in pairs.values()):
        raise layout_error(base, card, f"no images in {base / patterns[0].path.rpartition('/')[0]}")
    for problem in clashes(cases, patterns):
        raise layout_error(base, card, problem.message)
    orphans = [case for case, (image, _) in pairs.items() if image is None]
    if orphans:
        raise layout_error(base, card, f"{len(orphans)} masks have no image, e.g. {', '.join(orphans[:5])}")
    bare = [case for case, (_, mask) in pairs.items() if mask is None]
    if required and bare:
        raise layout_error(base, card, f"{len(bare)} of {len(pairs)} images have no mask, e.g. {', '.join(bare[:5])}")
    return {case: (image, mask) for case, (image, mask) in pairs.items() if image is not None}
