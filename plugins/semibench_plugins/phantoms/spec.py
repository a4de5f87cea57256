"""Specifies a phantom: scene, machines, number of cases and size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

Look = TypeVar("Look")
"""A machine, scanner or dermatoscope."""


@dataclass(frozen=True)
class Spec(Generic[Look]):
    """Specifies the phantom of a data set. Its `repr` is part of the run key of phantom data.

    Attributes:
        scene: the name of the scene, which the phantom's class draws.
        looks: machines, scanners or dermatoscopes. If the card names as many domains, each look is one of them, in
            order; otherwise the looks share one domain. Groups (patients) take them in turn.
        names: the names of the domains.
        cases: the default number of cases.
        frames: the number of cases in a group.
        normals: the share of groups without a lesion.
        several: the share of groups with two lesions.
        shift: the movement of the probe between frames, as a share of the width.
        shape: the shape of volumes, in voxels.
        spacing: the spacing of volumes, in mm.
        vary: the largest number of voxels added to each axis of a volume.
        pixel_size: True if images have a spacing, as the real ones do.
        upright: True if volumes have the axes (z, y, x) and nearly cubic voxels; contact sheets then show z upwards.
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
