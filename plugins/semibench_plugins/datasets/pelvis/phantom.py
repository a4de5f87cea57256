"""The pelvis phantom: scanners, grid and number of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from semibench_plugins.datasets.pelvis.prostate_scene import prostate
from semibench_plugins.phantoms.radiology import Scanner
from semibench_plugins.phantoms.spec import Spec
from semibench_plugins.phantoms.volume_phantom import VolumePhantom

_T2 = Scanner(
    "MR",
    {
        "fat": 0.68, "muscle": 0.2, "bone": 0.28, "urine": 0.95, "bladder wall": 0.25, "rectum wall": 0.35, "gas": 0.04,
        "peripheral zone": 0.62, "transition zone": 0.38, "nodule": 0.5, "vesicles": 0.66, "veins": 0.7, "stroma": 0.3,
    },
    spread=0.05, texture=0.06, noise=0.05, bias=0.3, blur=(2.2, 0.8, 0.8), scale=(200.0, 1500.0),
)  # fmt: skip

SPECS: Mapping[str, Spec[Scanner]] = {
    "promise12": Spec(
        "prostate",
        (_T2, replace(_T2, bias=0.45, noise=0.07), replace(_T2, curve=1.3, blur=(2.2, 1.2, 1.2))),
        cases=80,
        shape=(18, 64, 64),
        spacing=(3.6, 1.8, 1.8),
        vary=(6, 0, 0),
    ),
}


class PelvisPhantom(VolumePhantom):
    """The phantom of PROMISE12."""

    specs = SPECS
    scenes = {"prostate": prostate}
