"""Thyroid ultrasound phantoms: machines and numbers of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from semibench_plugins.datasets.thyroid.scene import thyroid
from semibench_plugins.phantoms.spec import Spec
from semibench_plugins.phantoms.ultrasound import Machine
from semibench_plugins.phantoms.ultrasound_phantom import LesionPhantom

_TUS = (
    Machine(10.0, dynamic_range=62, gain=(-7, 0), gamma=1.25, depth=(28, 50), rows=(196, 214), columns=(216, 240)),
    Machine(
        7.5, cycles=2.8, f_number=3.2, dynamic_range=52, gain=(-4, 3), gamma=1.05, smooth=0.9, focus=0.35, noise=-52,
        depth=(30, 54), rows=(180, 200), columns=(190, 214),
    ),
    Machine(
        12.0, looks=3, dynamic_range=72, gain=(-7, -1), gamma=1.5, edge=0.5, smooth=0.75, focus=0.55, depth=(26, 46),
        rows=(204, 224), columns=(226, 252),
    ),
)  # fmt: skip

SPECS: Mapping[str, Spec[Machine]] = {
    "tus": Spec(
        "thyroid", _TUS, ("machine-1", "machine-2", "machine-3"), cases=240, frames=2, several=0.15, shift=0.04
    ),
    "tnscui2020": Spec(
        "thyroid",
        (
            replace(_TUS[0], frequency=9.0, gain=(-3, 4), edge=0.4, columns=(240, 280)),
            replace(_TUS[1], frequency=9.0, looks=2, dynamic_range=60, noise=-66, tgc=0.58),
        ),
        cases=200,
        several=0.15,
    ),
}


class ThyroidPhantom(LesionPhantom):
    """The phantom of a thyroid ultrasound data set."""

    specs = SPECS
    scene = staticmethod(thyroid)
