"""The fetal ultrasound phantom: machines and number of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from semibench.blocks import Drawing
from semibench_plugins.datasets.fetal.head_scene import fetal_head
from semibench_plugins.phantoms.spec import Spec
from semibench_plugins.phantoms.spec_phantom import Streams
from semibench_plugins.phantoms.tissue import Extent
from semibench_plugins.phantoms.ultrasound import Machine
from semibench_plugins.phantoms.ultrasound_phantom import UltrasoundPhantom

_HC18 = Machine(
    3.5, f_number=3.2, dynamic_range=58, gain=(-14, -5), gamma=1.3, focus=0.5, focal_range=0.5, depth=(80, 150),
    rows=(180, 180), columns=(266, 266), sector=33.0, radius=50.0,
)  # fmt: skip

SPECS: Mapping[str, Spec[Machine]] = {
    "hc18": Spec(
        "fetal-head", (_HC18, replace(_HC18, frequency=4.5, sector=27.0, gain=(-9, -1))), cases=200, pixel_size=True
    ),
}


class FetalPhantom(UltrasoundPhantom):
    """The phantom of HC18."""

    specs = SPECS

    def draw_frame(
        self, machine: Machine, streams: Streams, extent: Extent, gain: float, group: int, *, image: bool
    ) -> Drawing:
        grey, label = fetal_head(streams.body, streams.view, extent, machine, gain)
        return Drawing(np.rint(grey), label, self.pixel_size(extent))
