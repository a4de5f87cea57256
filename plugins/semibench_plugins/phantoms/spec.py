"""How a phantom is drawn: scene, machines, number of cases, size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

Look = TypeVar("Look")
"""A machine, scanner or dermatoscope."""


@dataclass(frozen=True)
class Spec(Generic[Look]):
    """How the phantom of a data set is drawn. Its text form enters the run key of phantom data.

    Attributes:
        scene: what is drawn; the phantom's class knows it.
        looks: machines, scanners or dermatoscopes. Where the card names as many domains, they are these domains, in
            order; else they are mixed in one domain. Groups (patients) take them in turn.
        names: of the domains.
        cases: default number.
        frames: cases of one group.
        normals: share of groups without a lesion.
        several: share of groups with two lesions.
        shift: probe movement between frames, as a share of the width.
        shape: of volumes, in voxels.
        spacing: of volumes, mm.
        vary: range of voxels added to each axis of a volume.
        pixel_size: whether images have a spacing, as the real ones have.
        upright: whether volumes have the axes (z, y, x) and nearly cubic voxels; contact sheets then show z upwards.
    """

    scene: str
    looks: tuple[Look, ...]
    names: tuple[str, ...] = ("default",)
    cases: int = 200
    frames: int = 1
    normals: float = 0.0
    several: float = 0.0
    shift: float = 0.02
    shape: tuple[int, int, int] | None = None
    spacing: tuple[float, float, float] | None = None
    vary: tuple[int, int, int] = (0, 0, 0)
    pixel_size: bool = False
    upright: bool = field(default=False, repr=False)
