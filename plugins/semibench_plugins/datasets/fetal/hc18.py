"""HC18: each annotation is a thin elliptical outline, which is filled in. Pixel sizes come from the table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from semibench import CaseError
from semibench.blocks import (
    FilePattern,
    ImageDataset,
    ImageEntry,
    find_data_folder,
    image_files,
    layout_error,
    read_mask,
    read_table,
)
from semibench_plugins.datasets.fetal import cards
from semibench_plugins.datasets.fetal.phantom import FetalPhantom

TABLE = "training_set_pixel_size_and_HC.csv"
NAME = re.compile(r"^(?P<fetus>\d+)_\d*HC$")
FILLED = 0.9
"""A filled head covers at least this share of the outline's convex hull (an ellipse covers all of it)."""
GAP = 3
"""Gaps in an outline are bridged if they are up to twice this many pixels long."""

PATTERNS = (
    FilePattern("image", r"training_set/(?P<case>\d+_\d*HC)\.png", "{case}", "training_set/{case}.png"),
    FilePattern(
        "outline", r"training_set/(?P<case>\d+_\d*HC)_Annotation\.png", "{case}", "training_set/{case}_Annotation.png"
    ),
)


class HC18(ImageDataset):
    """Case id: e.g. "010_2HC". Group: the leading number, which the images of one fetus share. One domain.

    The spacing (row, column) is the pixel size in mm.
    """

    card = cards.HC18
    phantom_class = FetalPhantom

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return PATTERNS

    def locate(self) -> Mapping[str, ImageEntry]:
        base = find_data_folder(self.root, self.card, lambda folder: (folder / "training_set").is_dir())
        rows = read_table(base / TABLE, self.card, ("filename", "pixel size(mm)"))
        sizes = {Path(row["filename"]).stem: float(row["pixel size(mm)"]) for row in rows}
        paths = {path.stem: path for path in image_files(base / "training_set")}
        entries = {}
        for name, path in paths.items():
            match = NAME.match(name)
            if not match:
                continue
            outline = paths.get(f"{name}_Annotation")
            if name not in sizes or outline is None:
                lacking = f"no row in {TABLE}" if name not in sizes else f"no {name}_Annotation.png"
                raise layout_error(base, self.card, f"{path.name} has {lacking}")
            spacing = (sizes[name], sizes[name])
            entries[name] = ImageEntry(path, (outline,), match["fetus"], self.card.domains[0], spacing)
        if not entries:
            raise layout_error(base, self.card, f"no NNN_HC.png in {base / 'training_set'}")
        return entries

    def mask(self, entry: ImageEntry, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        return fill_outline(read_mask(entry.masks[0], shape), entry.masks[0])


def fill_outline(outline: NDArray[np.bool_], path: Path) -> NDArray[np.bool_]:
    """Fills an elliptical outline.

    Small gaps are bridged. If the ellipse leaves the image, the image border between its two ends closes it.

    Args:
        outline: True on the outline, (H, W).
        path: the annotation file, for error messages.

    Returns:
        The outline and its inside, (H, W).

    Raises:
        CaseError: if the outline still doesn't close.
    """
    points = np.argwhere(outline)
    try:
        hull = float(ConvexHull(points).volume)
    except (QhullError, ValueError) as error:
        raise CaseError(f"{path}: the annotation contains no outline ({len(points)} pixels)") from error
    for closed in (outline, _border_closed(outline)):
        for filled in (ndimage.binary_fill_holes(closed), _bridged(closed)):
            if filled.sum() >= FILLED * hull:
                return np.asarray(filled, dtype=bool)
    raise CaseError(
        f"{path}: the outline doesn't close; filling it covers {int(filled.sum())} of about {hull:.0f} pixels; "
        "draw the missing part or leave the case out"
    )


def _border_closed(outline: NDArray[np.bool_]) -> NDArray[np.bool_]:
    closed = outline.copy()
    for edge in (closed[0], closed[-1], closed[:, 0], closed[:, -1]):
        touched = np.flatnonzero(edge)
        if len(touched) > 1:
            edge[touched[0] : touched[-1] + 1] = True
    return closed


def _bridged(outline: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fills an outline after thickening it by GAP pixels, and thins the result again."""
    square = np.ones((3, 3), dtype=bool)
    filled = ndimage.binary_fill_holes(ndimage.binary_dilation(outline, square, iterations=GAP))
    return np.asarray(ndimage.binary_erosion(filled, square, iterations=GAP, border_value=1) | outline, dtype=bool)
