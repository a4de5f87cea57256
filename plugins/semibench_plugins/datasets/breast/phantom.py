"""Breast ultrasound phantoms: machines and numbers of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from semibench_plugins.datasets.breast.scene import breast
from semibench_plugins.phantoms.spec import Spec
from semibench_plugins.phantoms.ultrasound import Machine
from semibench_plugins.phantoms.ultrasound_phantom import LesionPhantom

# These settings weren't measured on the named devices; they are chosen so that the machines differ as such devices do.
_LOGIQ_7 = Machine(
    11.0, f_number=2.6, dynamic_range=66, gain=(-13, -6), gamma=1.35, smooth=0.65, tgc=0.56, depth=(26, 46), rows=(220, 240),
    columns=(172, 190),
)  # fmt: skip
_LOGIQ_5 = Machine(
    10.0, cycles=2.2, f_number=2.4, dynamic_range=54, gain=(-1, 6), gamma=1.1, edge=0.25, smooth=0.6, tgc=0.55, depth=(28, 50),
    rows=(214, 232), columns=(160, 176),
)  # fmt: skip
_APLIO = Machine(
    12.5, looks=3, dynamic_range=64, gain=(-8, -2), gamma=1.4, smooth=0.7, tgc=0.54, depth=(24, 46), rows=(190, 210),
    columns=(196, 226),
)  # fmt: skip
_U_SYSTEMS = Machine(
    11.5, cycles=1.8, focus=0.3, focal_range=0.2, dynamic_range=60, gain=(-13, -8), gamma=1.4, tgc=0.5, noise=-60, depth=(34, 54),
    rows=(186, 204), columns=(214, 236),
)  # fmt: skip
_IU22 = Machine(
    9.0,
    looks=2,
    dynamic_range=62,
    gain=(-5, 1),
    gamma=1.2,
    edge=0.35,
    depth=(28, 55),
    rows=(184, 220),
    columns=(220, 260),
)
_HITACHI = Machine(
    8.0, cycles=2.8, f_number=2.8, dynamic_range=56, gain=(-7, 0), gamma=1.2, focus=0.35, depth=(28, 52), rows=(196, 226),
    columns=(210, 240),
)  # fmt: skip
_SEQUOIA = Machine(
    8.5, cycles=2.4, f_number=3.2, dynamic_range=64, gain=(-10, -3), gamma=1.25, smooth=0.9, focus=0.5, depth=(32, 56),
    rows=(186, 202), columns=(238, 262),
)  # fmt: skip

SPECS: Mapping[str, Spec[Machine]] = {
    "busi": Spec(
        "breast", (_IU22, replace(_LOGIQ_7, gain=(-6, 1), tgc=0.6), _HITACHI), cases=320, normals=0.17, several=0.05
    ),
    "busis": Spec("breast", (_LOGIQ_7, _HITACHI, _IU22, _SEQUOIA, _LOGIQ_5), cases=200),
    "udiat": Spec("breast", (_SEQUOIA,), cases=160),
    "bus-bra": Spec(
        "breast",
        (_LOGIQ_7, _LOGIQ_5, _APLIO, _U_SYSTEMS),
        ("ge-logiq-7", "ge-logiq-5", "toshiba-aplio-300", "u-systems"),
        cases=240,
        frames=2,
    ),
}


class BreastPhantom(LesionPhantom):
    """The phantom of a breast ultrasound data set."""

    specs = SPECS
    scene = staticmethod(breast)
