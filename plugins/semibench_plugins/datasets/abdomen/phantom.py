"""Abdominal phantoms: scanners, grids and numbers of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from semibench_plugins.datasets.abdomen.scenes import ORGANS_OF, organs
from semibench_plugins.phantoms.radiology import Scanner
from semibench_plugins.phantoms.spec import Spec
from semibench_plugins.phantoms.volume_phantom import VolumePhantom

_PORTAL_CT = Scanner(
    "CT",
    {
        "spleen": 125, "right kidney": 175, "left kidney": 175, "gallbladder": 8, "esophagus": 45, "liver": 108, "stomach": 28,
        "aorta": 155, "inferior vena cava": 135, "portal and splenic vein": 165, "pancreas": 88, "right adrenal gland": 72,
        "left adrenal gland": 72, "duodenum": 42, "bladder": 6, "prostate or uterus": 60, "air": -1000, "lung": -820,
        "fat": -100, "muscle": 58, "bone": 320, "bowel": 34, "gas": -700,
        "fluid": 8, "mass": 62,
    },
    plain={
        "spleen": 50, "right kidney": 34, "left kidney": 34, "esophagus": 36, "liver": 56, "aorta": 42, "inferior vena cava": 40,
        "portal and splenic vein": 40, "pancreas": 42, "right adrenal gland": 34, "left adrenal gland": 34, "duodenum": 28,
        "prostate or uterus": 42, "mass": 36,
    },
    agent=(0.5, 1.3),
    spread=9.0, texture=9.0, noise=16.0, blur=(2.0, 1.6, 1.6), streaks=8.0,
)  # fmt: skip
_ABDOMEN_MR = Scanner(
    "MR",
    {
        "spleen": 0.5, "right kidney": 0.6, "left kidney": 0.6, "gallbladder": 0.25, "esophagus": 0.4, "liver": 0.62,
        "stomach": 0.3, "aorta": 0.85, "inferior vena cava": 0.8, "portal and splenic vein": 0.9, "pancreas": 0.55,
        "right adrenal gland": 0.45, "left adrenal gland": 0.45, "duodenum": 0.38, "bladder": 0.2, "prostate or uterus": 0.45,
        "air": 0.0, "lung": 0.06, "fat": 0.22, "muscle": 0.4, "bone": 0.3, "bowel": 0.33, "gas": 0.04,
        "fluid": 0.18, "mass": 0.47,
    },
    spread=0.04, texture=0.04, noise=0.05, bias=0.2, blur=(2.2, 1.8, 1.8), scale=(150.0, 400.0),
)  # fmt: skip

SPECS: Mapping[str, Spec[Scanner]] = {
    "pancreas": Spec(
        "pancreas",
        (replace(_PORTAL_CT, spread=7.0, blur=(1.6, 1.6, 1.6)),),
        cases=64,
        shape=(60, 56, 44),
        spacing=(2.6, 2.6, 2.6),
        vary=(6, 6, 8),
    ),
    "synapse": Spec(
        "abdomen", (_PORTAL_CT,), cases=48, shape=(40, 48, 64), spacing=(5.2, 5.2, 5.2), vary=(6, 0, 0), upright=True
    ),
    "amos22": Spec(
        "abdomen-and-pelvis",
        (_PORTAL_CT, _ABDOMEN_MR),
        ("ct", "mr"),
        cases=72,
        shape=(54, 48, 64),
        spacing=(6.0, 5.2, 5.2),
        vary=(4, 0, 0),
        upright=True,
    ),
}


class AbdomenPhantom(VolumePhantom):
    """The phantom of an abdominal data set."""

    specs = SPECS
    scenes = {name: partial(organs, scene=name) for name in ORGANS_OF}
