"""Where labeled samples hold foreground, for streams that ask for crops with some."""

from __future__ import annotations

import torch
from torch import Tensor

from semibench.data.pool import Pool

POINTS = 2000
"""Voxels remembered per sample and class, evenly spaced in raster order."""


class Foreground:
    """Foreground of the labeled samples of a pool, looked up when first asked for."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._points: dict[int, list[Tensor]] = {}

    def has(self, row: int) -> bool:
        """Whether the sample holds any foreground voxel."""
        return bool(self.points(row))

    def points(self, row: int) -> list[Tensor]:
        """For each foreground class present: int64 (n, dims), up to POINTS of its voxels."""
        if row not in self._points:
            label = self._pool.label(row).cpu()
            found = []
            for value in label.unique().tolist():
                if value:
                    voxels = (label == value).nonzero()
                    step = -(-len(voxels) // POINTS)
                    found.append(voxels[::step].clone())
            self._points[row] = found
        return self._points[row]

    def voxels(self, rows: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
        """int64 (B, dims): for the wanted samples a voxel of a class drawn evenly among those present, else -1."""
        draws = torch.rand((len(rows), 2), generator=generator, dtype=torch.float64).tolist()
        result = torch.full((len(rows), self._pool.sizes.shape[1]), -1, dtype=torch.int64)
        for place, (row, want, (which, point)) in enumerate(zip(rows.tolist(), wanted.tolist(), draws, strict=True)):
            classes = self.points(row) if want else []
            if classes:
                voxels = classes[min(int(which * len(classes)), len(classes) - 1)]
                result[place] = voxels[min(int(point * len(voxels)), len(voxels) - 1)]
        return result
