"""Find foreground in labeled samples, for streams that ask for crops with foreground."""

from __future__ import annotations

import torch
from torch import Tensor

from semibench.contracts.method import IGNORE
from semibench.data.pool import Pool

POINTS = 2000
"""Voxels stored for each sample and class, evenly spaced in raster order."""


class Foreground:
    """The foreground of a pool's labeled samples; each is searched on first use."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._points: dict[int, list[Tensor]] = {}

    def has(self, row: int) -> bool:
        """Return whether the sample contains any foreground voxel."""
        return bool(self.points(row))

    def points(self, row: int) -> list[Tensor]:
        """Return up to POINTS voxels, int64 (n, dims), for each foreground class present."""
        if row not in self._points:
            label = self._pool.label(row).cpu()
            classes = []
            for value in label.unique().tolist():
                if value not in (0, IGNORE):
                    voxels = (label == value).nonzero()
                    step = -(-len(voxels) // POINTS)
                    classes.append(voxels[::step].clone())
            self._points[row] = classes
        return self._points[row]

    def voxels(self, rows: Tensor, needed: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a foreground voxel for each sample that needs one: first a class, evenly among those present, then a voxel.

        Args:
            rows: samples of the pool, (B,).
            needed: bool (B,), whether the sample needs a voxel.
            generator: source of random numbers.

        Returns:
            int64 (B, dims); -1 for other samples and samples without foreground.
        """
        draws = torch.rand((len(rows), 2), generator=generator, dtype=torch.float64).tolist()
        result = torch.full((len(rows), self._pool.sizes.shape[1]), -1, dtype=torch.int64)
        for position, (row, need, (which, point)) in enumerate(zip(rows.tolist(), needed.tolist(), draws, strict=True)):
            classes = self.points(row) if need else []
            if classes:
                voxels = classes[min(int(which * len(classes)), len(classes) - 1)]
                result[position] = voxels[min(int(point * len(voxels)), len(voxels) - 1)]
        return result
