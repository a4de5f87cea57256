"""Base classes for ultrasound phantoms."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from semibench.blocks import Drawing
from semibench_plugins.phantoms.spec import Spec
from semibench_plugins.phantoms.spec_phantom import SpecPhantom, Streams
from semibench_plugins.phantoms.tissue import Extent, Label
from semibench_plugins.phantoms.ultrasound import Machine, Tissue, scan


def is_normal(spec: Spec[Machine], group: int) -> bool:
    """Returns whether a group has no lesion. Normal groups are spread evenly, so that any range of groups has its share."""
    return int((group + 1) * spec.normals) > int(group * spec.normals)


class UltrasoundPhantom(SpecPhantom):
    """Base class for phantoms that an ultrasound machine images."""

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
        """Draws one frame on `extent`. gain: the gain of the machine, in dB. image: False if only the label is needed."""

    def pixel_size(self, extent: Extent) -> tuple[float, float] | None:
        """Returns mm per row and column, or None if the real data don't have a pixel size."""
        return extent.pixel if self.spec.pixel_size else None


class LesionPhantom(UltrasoundPhantom):
    """Base class for phantoms whose scene contains lesions."""

    @staticmethod
    @abstractmethod
    def scene(
        body: np.random.Generator, view: np.random.Generator, extent: Extent, lesions: int, shift: float
    ) -> tuple[Tissue, Label]:
        """Draws the tissue and the label of a frame.

        Args:
            body: the random stream of the patient.
            view: the random stream of the frame.
            extent: the displayed field.
            lesions: the number of lesions.
            shift: the movement of the probe between frames, as a share of the width.
        """

    def has_group(self, group: int) -> bool:
        """Excludes groups without a lesion if the options exclude such images."""
        lesions_only = getattr(self.options, "lesions_only", False)
        kinds = getattr(self.options, "include", ("normal",))
        return not ((lesions_only or "normal" not in kinds) and is_normal(self.spec, group))

    def draw_frame(
        self, machine: Machine, streams: Streams, extent: Extent, gain: float, group: int, *, image: bool
    ) -> Drawing:
        lesions = 0 if is_normal(self.spec, group) else 2 if streams.layout.random() < self.spec.several else 1
        tissue, label = self.scene(streams.body, streams.view, extent, lesions, self.spec.shift)
        # The scan is slow, so it is skipped if only the label is needed.
        grey = scan(tissue, machine, extent.pixel, gain, streams.view) if image else np.zeros(label.shape)
        return Drawing(np.rint(grey), label, self.pixel_size(extent))
