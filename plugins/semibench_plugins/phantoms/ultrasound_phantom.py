"""Phantoms of ultrasound images."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from semibench.blocks import Drawing
from semibench_plugins.phantoms.spec import Spec
from semibench_plugins.phantoms.spec_phantom import SpecPhantom, Streams
from semibench_plugins.phantoms.tissue import Extent, Label
from semibench_plugins.phantoms.ultrasound import Machine, Tissue, scan


def is_normal(spec: Spec[Machine], group: int) -> bool:
    """Whether a group has no lesion: spread evenly, so that any run of groups has its share of normals."""
    return int((group + 1) * spec.normals) > int(group * spec.normals)


class UltrasoundPhantom(SpecPhantom):
    """Base of phantoms that are seen by an ultrasound machine."""

    spec: Spec[Machine]

    def draw_look(self, look: Machine, streams: Streams, group: int, frame: int, *, image: bool) -> Drawing:
        layout = streams.layout
        rows = round(int(layout.integers(look.rows[0], look.rows[1] + 1)) * self.scale)
        columns = round(int(layout.integers(look.columns[0], look.columns[1] + 1)) * self.scale)
        depth = layout.uniform(*look.depth)
        extent = Extent(depth, depth * columns / rows, rows, columns)
        gain = layout.uniform(*look.gain) + streams.view.normal(0, 0.5)
        return self.draw_frame(look, streams, extent, gain, group, image=image)

    @abstractmethod
    def draw_frame(
        self, machine: Machine, streams: Streams, extent: Extent, gain: float, group: int, *, image: bool
    ) -> Drawing:
        """Draw one frame on `extent`. gain: of the machine, dB. image: False where only the label is needed."""

    def pixel_size(self, extent: Extent) -> tuple[float, float] | None:
        """mm per row and column, where the real data have it."""
        return extent.pixel if self.spec.pixel_size else None


class LesionPhantom(UltrasoundPhantom):
    """Base of phantoms with lesions in a scene."""

    @staticmethod
    @abstractmethod
    def scene(
        body: np.random.Generator, view: np.random.Generator, extent: Extent, lesions: int, shift: float
    ) -> tuple[Tissue, Label]:
        """Draw tissue and label with a number of lesions. body, view: streams of the patient and of the frame. shift: of the
        probe between frames, as a share of the width."""

    def has_group(self, group: int) -> bool:
        """Leaves out groups without a lesion where the options leave out such images."""
        lesions_only = getattr(self.options, "lesions_only", False)
        kinds = getattr(self.options, "include", ("normal",))
        return not ((lesions_only or "normal" not in kinds) and is_normal(self.spec, group))

    def draw_frame(
        self, machine: Machine, streams: Streams, extent: Extent, gain: float, group: int, *, image: bool
    ) -> Drawing:
        lesions = 0 if is_normal(self.spec, group) else 2 if streams.layout.random() < self.spec.several else 1
        tissue, label = self.scene(streams.body, streams.view, extent, lesions, self.spec.shift)
        # The scan takes long, so it is left out where nobody looks at the image.
        grey = scan(tissue, machine, extent.pixel, gain, streams.view) if image else np.zeros(label.shape)
        return Drawing(np.rint(grey), label, self.pixel_size(extent))
