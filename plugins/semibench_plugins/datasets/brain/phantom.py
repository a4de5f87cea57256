"""Brain phantoms: scanners, grids and numbers of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from semibench_plugins.datasets.brain.glioma_scene import glioma
from semibench_plugins.datasets.brain.hippocampus_scene import hippocampus
from semibench_plugins.phantoms.radiology import Scanner
from semibench_plugins.phantoms.spec import Spec
from semibench_plugins.phantoms.volume_phantom import VolumePhantom

_T1 = Scanner(
    "MR",
    {
        "csf": 0.16, "grey": 0.52, "white": 0.82, "hippocampus": 0.55, "thalamus": 0.7, "amygdala": 0.55, "vessel": 1.1,
    },
    spread=0.035, texture=0.05, noise=0.045, bias=0.14, blur=(0.7, 0.7, 0.7), scale=(90.0, 3000.0),
)  # fmt: skip
_FLAIR = Scanner(
    "MR",
    {
        "outside": 0.0, "csf": 0.12, "grey": 0.52, "white": 0.44, "caps": 0.72, "edema": 0.78, "faint edema": 0.66, "core": 0.66,
        "necrosis": 0.28,
    },
    spread=0.05, texture=0.04, noise=0.04, bias=0.15, blur=(1.6, 1.4, 1.4), scale=(200.0, 1200.0),
)  # fmt: skip

SPECS: Mapping[str, Spec[Scanner]] = {
    "msd-hippocampus": Spec(
        "hippocampus", (_T1,), cases=100, shape=(33, 48, 32), spacing=(1.0, 1.0, 1.0), vary=(6, 7, 8)
    ),
    "brats19": Spec(
        "glioma",
        (_FLAIR, replace(_FLAIR, curve=1.25, noise=0.06)),
        cases=80,
        shape=(44, 58, 48),
        spacing=(3.0, 3.0, 3.0),
        upright=True,
    ),
}


class BrainPhantom(VolumePhantom):
    """The phantom of a brain data set."""

    specs = SPECS
    scenes = {"glioma": glioma, "hippocampus": hippocampus}
