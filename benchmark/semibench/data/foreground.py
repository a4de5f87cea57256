"""Find foreground in labeled samples, for streams that ask for crops with foreground."""

from __future__ import annotations

import torch
from torch import Tensor

from semibench.contracts.method import IGNORE
from semibench.data.pool import Pool

POINTS = 2000
"""Voxels stored for each sample and class, evenly spaced in raster order."""


class Foreground:
    """The foreground of a pool's labeled samples; each is searched on first use.

    What is found is kept as places in raster order, int32, a sixth of what the coordinates of volumes would take.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._places: dict[int, list[Tensor]] = {}

    def has(self, row: int) -> bool:
        """Return whether the sample contains any foreground voxel. Nothing is kept, as this is asked of all samples."""
        label = self._pool.label(row)
        return bool(((label != 0) & (label != IGNORE)).any())

    def points(self, row: int) -> list[Tensor]:
        """Return up to POINTS voxels, int64 (n, dims), for each foreground class present."""
        return [self._coordinates(row, places) for places in self._found(row)]

    def _found(self, row: int) -> list[Tensor]:
        """Return the places of up to POINTS voxels, int32 (n,), for each foreground class present."""
        if row not in self._places:
            label = self._pool.label(row).cpu().flatten()
            classes = []
            for value in label.unique().tolist():
                if value not in (0, IGNORE):
                    places = (label == value).nonzero()[:, 0]
                    step = -(-len(places) // POINTS)
                    classes.append(places[::step].int())
            self._places[row] = classes
        return self._places[row]

    def _coordinates(self, row: int, places: Tensor) -> Tensor:
        """Return the voxels at places in raster order, int64 (n, dims)."""
        return torch.stack(torch.unravel_index(places.long(), self._pool.label(row).shape), dim=1)

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
            classes = self._found(row) if need else []
            if classes:
                places = classes[min(int(which * len(classes)), len(classes) - 1)]
                chosen = min(int(point * len(places)), len(places) - 1)
                result[position] = self._coordinates(row, places[chosen : chosen + 1])[0]
        return result
