"""The dermoscopy phantom: dermatoscopes and number of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from semibench.blocks import Drawing
from semibench_plugins.datasets.skin.dermoscopy import Dermatoscope, lesion
from semibench_plugins.phantoms.spec import Spec
from semibench_plugins.phantoms.spec_phantom import SpecPhantom, Streams

_SCOPE = Dermatoscope((150, 176), (200, 224))

SPECS: Mapping[str, Spec[Dermatoscope]] = {
    "isic2018": Spec(
        "skin-lesion",
        (
            _SCOPE,
            replace(_SCOPE, columns=(214, 240), tube=0.8, gain=(0.75, 1.0)),
            replace(_SCOPE, balance=0.1, noise=4.0),
        ),
        cases=240,
    ),
}


class SkinPhantom(SpecPhantom):
    """The phantom of ISIC 2018."""

    specs = SPECS

    def draw_look(self, look: Dermatoscope, streams: Streams, group: int, frame: int, *, image: bool) -> Drawing:
        rows, columns = (
            round(int(streams.layout.integers(low, high + 1)) * self.scale) for low, high in (look.rows, look.columns)
        )
        return Drawing(*lesion(streams.body, streams.view, look, rows, columns), None)
