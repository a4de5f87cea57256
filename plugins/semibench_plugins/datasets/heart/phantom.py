"""Heart phantoms: scanners, grids and numbers of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from semibench_plugins.datasets.heart.scenes import left_atrium, whole_heart
from semibench_plugins.datasets.heart.short_axis_scene import short_axis
from semibench_plugins.phantoms.radiology import Scanner
from semibench_plugins.phantoms.spec import Spec
from semibench_plugins.phantoms.spec_phantom import Streams
from semibench_plugins.phantoms.volume_parts import Scene, Shape, Spacing
from semibench_plugins.phantoms.volume_phantom import VolumePhantom

# MR: relative signals of bSSFP and late enhancement in their usual order; CT: Hounsfield units.
_LGE = Scanner(
    "MR",
    {
        "air": 0.0, "lung": 0.1, "fat": 0.5, "muscle": 0.36, "left blood": 0.72, "right blood": 0.68, "myocardium": 0.33,
        "wall": 0.48, "bone": 0.35, "liver": 0.5, "vessel": 0.6, "fluid": 0.22,
    },
    spread=0.06, texture=0.04, noise=0.055, bias=0.2, blur=(1.4, 1.4, 1.6),
)  # fmt: skip
_HEART_MR = Scanner(
    "MR",
    {
        "air": 0.0, "lung": 0.08, "fat": 0.72, "muscle": 0.33, "left blood": 0.85, "right blood": 0.8, "myocardium": 0.42,
        "wall": 0.46, "bone": 0.42, "liver": 0.45, "vessel": 0.6, "fluid": 0.95,
    },
    spread=0.06, texture=0.05, noise=0.06, bias=0.28, blur=(1.6, 1.6, 1.6),
)  # fmt: skip
_HEART_CT = Scanner(
    "CT",
    {
        "air": -1000, "lung": -820, "fat": -90, "muscle": 50, "left blood": 360, "right blood": 260, "myocardium": 115,
        "wall": 70, "bone": 420, "liver": 105, "vessel": 90, "fluid": 8,
    },
    plain={"left blood": 42, "right blood": 40, "myocardium": 46, "wall": 45, "liver": 58, "vessel": 20},
    agent=(0.35, 1.25), spread=18.0, texture=16.0, noise=38.0, blur=(1.0, 1.0, 1.0), streaks=30.0,
)  # fmt: skip
_CINE = Scanner(
    "MR",
    {
        "air": 0.0, "lung": 0.08, "fat": 0.8, "muscle": 0.3, "blood": 0.8, "myocardium": 0.33, "liver": 0.36,
        "trabeculae": 0.45, "fluid": 0.95,
    },
    spread=0.04, texture=0.04, noise=0.05, bias=0.2, blur=(2.5, 1.3, 1.3),
)  # fmt: skip
_CINE_ACDC = replace(_CINE, blur=(2.5, 1.4, 1.4), scale=(200.0, 700.0))

SPECS: Mapping[str, Spec[Scanner]] = {
    "la": Spec("left-atrium", (_LGE,), cases=64, shape=(64, 64, 48), spacing=(1.8, 1.8, 1.8), vary=(8, 8, 0)),
    "mmwhs": Spec(
        "whole-heart",
        (_HEART_MR, _HEART_CT),
        ("mr", "ct"),
        cases=64,
        shape=(56, 56, 56),
        spacing=(2.4, 2.4, 2.4),
        vary=(8, 8, 8),
    ),
    "mnms": Spec(
        "short-axis",
        (
            _CINE,
            replace(_CINE, curve=1.4, noise=0.035, bias=0.32, blur=(2.5, 1.0, 1.0), scale=(150, 300)),
            replace(_CINE, curve=0.7, noise=0.09, bias=0.15, blur=(2.5, 1.9, 1.9), scale=(1200, 2500)),
            replace(
                _CINE,
                values={**_CINE.values, "blood": 0.62, "myocardium": 0.4, "fat": 0.9, "liver": 0.5, "trabeculae": 0.48},
                noise=0.06,
                bias=0.25,
                scale=(2000, 5000),
            ),
        ),
        ("A", "B", "C", "D"),
        cases=96,
        frames=2,
        shape=(12, 64, 64),
        spacing=(9.0, 2.0, 2.0),
        vary=(5, 0, 0),
    ),
    "acdc": Spec(
        "short-axis-right-first",
        (_CINE_ACDC, replace(_CINE_ACDC, curve=1.2, noise=0.07, bias=0.3)),
        cases=100,
        frames=2,
        shape=(8, 64, 64),
        spacing=(10.0, 2.0, 2.0),
        vary=(3, 6, 0),
    ),
}


RIGHT_FIRST = np.array([0, 3, 2, 1], np.uint8)
"""Maps the classes of M&Ms (left ventricle, myocardium, right ventricle) to those of ACDC, which begin with the right."""


class HeartPhantom(VolumePhantom):
    """The phantom of a heart data set."""

    specs = SPECS
    scenes = {"left-atrium": left_atrium, "whole-heart": whole_heart}

    def draw_scene(self, streams: Streams, shape: Shape, spacing: Spacing, frame: int) -> Scene:
        if self.spec.scene in self.scenes:
            return super().draw_scene(streams, shape, spacing, frame)
        scene = short_axis(streams.body, streams.view, shape, spacing, phase=frame)
        if self.spec.scene == "short-axis-right-first":
            scene.label = RIGHT_FIRST[scene.label]
        return scene
