"""HC18: each annotation is a thin elliptical outline, which is filled in. Pixel sizes come from the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from semibench import CaseError, LayoutProblem
from semibench.blocks import (
    FilePattern,
    ImageDataset,
    ImageEntry,
    layout_error,
    read_mask,
    read_table,
    unused_rows,
    without_image_ending,
)
from semibench_plugins.datasets.fetal import cards
from semibench_plugins.datasets.fetal.phantom import FetalPhantom

TABLE = "training_set_pixel_size_and_HC.csv"
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
        base, cases = self.found_cases(complete=True)
        sizes = self._sizes(base)
        entries = {}
        for name, files in cases.items():
            image = files.files["image"][0]
            if name not in sizes:
                raise layout_error(base, self.card, f"{image.name} has no row in {TABLE}")
            spacing = (sizes[name], sizes[name])
            fetus = name.partition("_")[0]
            entries[name] = ImageEntry(image, (files.files["outline"][0],), fetus, self.card.domains[0], spacing)
        return entries

    def inspect_files(self) -> list[LayoutProblem]:
        problems = super().inspect_files()
        if self.case_files is None or not (self.case_files[0] / TABLE).is_file():
            return problems
        base, cases = self.case_files
        return problems + unused_rows(base / TABLE, self._sizes(base), cases)

    def _sizes(self, base: Path) -> dict[str, float]:
        """Returns image name -> mm per pixel."""
        columns = ("filename", "pixel size(mm)")
        sizes = {}
        for row in read_table(base / TABLE, self.card, columns, key="filename", filled=columns):
            try:
                size = float(row["pixel size(mm)"])
            except ValueError:
                size = 0.0
            if not 0 < size < float("inf"):
                raise layout_error(
                    base, self.card, f"{TABLE}: expected the pixel size of {row['filename']} in mm, found "
                    f"{row['pixel size(mm)']!r}"
                )  # fmt: skip
            sizes[without_image_ending(row["filename"])] = size
        return sizes

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
