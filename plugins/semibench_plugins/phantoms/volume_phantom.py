"""The base class for phantoms of MR and CT volumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np

from semibench.blocks import Drawing
from semibench_plugins.phantoms.radiology import Scanner, image_of, session
from semibench_plugins.phantoms.spec import Spec
from semibench_plugins.phantoms.spec_phantom import SpecPhantom, Streams
from semibench_plugins.phantoms.volume_parts import Scene, Shape, Spacing

SceneDrawer = Callable[[np.random.Generator, Shape, Spacing], Scene]
"""Draws one patient on a grid of voxels with a spacing in mm."""


class VolumePhantom(SpecPhantom):
    """Base class for phantoms that an MR or CT scanner images. scenes: the name in the spec -> the function that draws it."""

    version = 2
    spec: Spec[Scanner]
    scenes: ClassVar[Mapping[str, SceneDrawer]]

    def draw_look(self, look: Scanner, streams: Streams, group: int, frame: int, *, image: bool) -> Drawing:
        assert self.spec.shape is not None and self.spec.spacing is not None
        drawn = [
            n + int(streams.layout.integers(0, v + 1)) for n, v in zip(self.spec.shape, self.spec.vary, strict=True)
        ]
        shape = (round(drawn[0] * self.scale), round(drawn[1] * self.scale), round(drawn[2] * self.scale))
        real = [s * n / m for s, n, m in zip(self.spec.spacing, drawn, shape, strict=True)]
        spacing = (real[0], real[1], real[2])
        scene = self.draw_scene(streams, shape, spacing, frame)
        if not image:
            return Drawing(np.zeros(shape), scene.label, spacing)
        settings = session(streams.layout, look)
        return Drawing(image_of(streams.view, settings, scene, spacing), scene.label, spacing)

    def draw_scene(self, streams: Streams, shape: Shape, spacing: Spacing, frame: int) -> Scene:
        """Draws one volume. All frames of a patient are the same unless a subclass overrides this."""
        return self.scenes[self.spec.scene](streams.body, shape, spacing)
