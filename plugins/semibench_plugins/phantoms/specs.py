"""One table: which phantom stands in for which data set, on which machines, how many cases and how large."""

from __future__ import annotations

from dataclasses import dataclass, replace

from semibench_plugins.phantoms.radiology import Scanner
from semibench_plugins.phantoms.skin import Dermatoscope
from semibench_plugins.phantoms.ultrasound import Machine


@dataclass(frozen=True)
class Spec:
    """A phantom. scene: breast, thyroid, fetal-head, left-atrium, whole-heart, short-axis, short-axis-right-first (other
    order of classes), hippocampus, prostate, glioma, skin-lesion, abdomen, abdomen-and-pelvis or pancreas.

    looks: machines, scanners or dermatoscopes; where the card names as many domains they are these domains, in order, else they are
    mixed in one domain. Groups (patients) take them in turn. names: for the domains where no card is at hand. cases:
    default number. frames: cases of one group. normals: share of groups without a lesion. several: share of groups with
    two lesions. shift: probe movement between frames, of the width. shape, spacing (mm): of volumes, axis by axis;
    vary: range of voxels added to each axis of a volume.
    """

    scene: str
    looks: tuple[Machine, ...] | tuple[Scanner, ...] | tuple[Dermatoscope, ...]
    names: tuple[str, ...] = ("default",)
    cases: int = 200
    frames: int = 1
    normals: float = 0.0
    several: float = 0.0
    shift: float = 0.02
    shape: tuple[int, int, int] | None = None
    spacing: tuple[float, float, float] | None = None
    vary: tuple[int, int, int] = (0, 0, 0)
    pixel_size: bool = False


# Ultrasound machines: not measured from the devices named, but set so that they differ as such devices do.
_LOGIQ_7 = Machine(
    11.0, f_number=2.6, dynamic_range=66, gain=(-13, -6), gamma=1.35, smooth=0.65, tgc=0.56, depth=(30, 42), rows=(220, 240),
    columns=(172, 190),
)  # fmt: skip
_LOGIQ_5 = Machine(
    10.0, cycles=2.2, f_number=2.4, dynamic_range=54, gain=(-3, 4), gamma=1.1, edge=0.25, smooth=0.6, tgc=0.55, depth=(32, 45),
    rows=(214, 232), columns=(160, 176),
)  # fmt: skip
_APLIO = Machine(
    12.5, looks=3, dynamic_range=64, gain=(-12, -5), gamma=1.4, smooth=0.7, tgc=0.54, depth=(28, 40), rows=(190, 210),
    columns=(196, 226),
)  # fmt: skip
_U_SYSTEMS = Machine(
    11.5, cycles=1.8, focus=0.3, focal_range=0.2, dynamic_range=60, gain=(-16, -11), gamma=1.4, tgc=0.5, noise=-60, depth=(40, 50),
    rows=(186, 204), columns=(214, 236),
)  # fmt: skip
_IU22 = Machine(
    9.0,
    looks=2,
    dynamic_range=62,
    gain=(-5, 1),
    gamma=1.2,
    edge=0.35,
    depth=(35, 50),
    rows=(184, 220),
    columns=(220, 260),
)
_HITACHI = Machine(
    8.0, cycles=2.8, f_number=2.8, dynamic_range=56, gain=(-7, 0), gamma=1.2, focus=0.35, depth=(35, 48), rows=(196, 226),
    columns=(210, 240),
)  # fmt: skip
_SEQUOIA = Machine(
    8.5, cycles=2.4, f_number=3.2, dynamic_range=64, gain=(-10, -3), gamma=1.25, smooth=0.9, focus=0.5, depth=(38, 52),
    rows=(186, 202), columns=(238, 262),
)  # fmt: skip

_TUS = (
    Machine(10.0, dynamic_range=62, gain=(-7, 0), gamma=1.25, depth=(34, 44), rows=(196, 214), columns=(216, 240)),
    Machine(
        7.5, cycles=2.8, f_number=3.2, dynamic_range=52, gain=(-4, 3), gamma=1.05, smooth=0.9, focus=0.35, noise=-52,
        depth=(36, 48), rows=(180, 200), columns=(190, 214),
    ),
    Machine(
        12.0, looks=3, dynamic_range=72, gain=(-7, -1), gamma=1.5, edge=0.5, smooth=0.75, focus=0.55, depth=(30, 40),
        rows=(204, 224), columns=(226, 252),
    ),
)  # fmt: skip

_HC18 = Machine(
    3.5, f_number=3.2, dynamic_range=58, gain=(-14, -5), gamma=1.3, focus=0.5, focal_range=0.5, depth=(80, 130),
    rows=(180, 180), columns=(266, 266), sector=33.0, radius=50.0,
)  # fmt: skip

# MR and CT: relative signals of bSSFP, late enhancement and T1 in their usual order; Hounsfield units.
_LGE = Scanner(
    "MR",
    {
        "air": 0.0, "lung": 0.1, "fat": 0.62, "muscle": 0.36, "left blood": 0.72, "right blood": 0.68, "myocardium": 0.33,
        "wall": 0.48, "bone": 0.35, "liver": 0.5, "vessel": 0.6,
    },
    spread=0.05, texture=0.05, noise=0.07, bias=0.22, blur=(1.4, 1.4, 1.6),
)  # fmt: skip
_HEART_MR = Scanner(
    "MR",
    {
        "air": 0.0, "lung": 0.08, "fat": 0.72, "muscle": 0.33, "left blood": 0.85, "right blood": 0.8, "myocardium": 0.42,
        "wall": 0.46, "bone": 0.42, "liver": 0.45, "vessel": 0.6,
    },
    spread=0.06, texture=0.05, noise=0.06, bias=0.28, blur=(1.6, 1.6, 1.6),
)  # fmt: skip
_HEART_CT = Scanner(
    "CT",
    {
        "air": -1000, "lung": -820, "fat": -90, "muscle": 50, "left blood": 360, "right blood": 260, "myocardium": 115,
        "wall": 70, "bone": 420, "liver": 105, "vessel": 90,
    },
    spread=30.0, texture=16.0, noise=38.0, blur=(1.0, 1.0, 1.0), streaks=30.0,
)  # fmt: skip
_CINE = Scanner(
    "MR",
    {
        "air": 0.0, "lung": 0.08, "fat": 0.8, "muscle": 0.3, "blood": 0.8, "myocardium": 0.33, "liver": 0.36,
        "trabeculae": 0.45,
    },
    spread=0.04, texture=0.04, noise=0.05, bias=0.2, blur=(2.5, 1.3, 1.3),
)  # fmt: skip
_T1 = Scanner(
    "MR",
    {
        "csf": 0.16, "grey": 0.52, "white": 0.82, "hippocampus": 0.55, "thalamus": 0.7, "amygdala": 0.55, "vessel": 1.1,
    },
    spread=0.035, texture=0.05, noise=0.045, bias=0.14, blur=(0.7, 0.7, 0.7), scale=(90.0, 3000.0),
)  # fmt: skip

_T2 = Scanner(
    "MR",
    {
        "fat": 0.68, "muscle": 0.2, "bone": 0.28, "urine": 0.95, "bladder wall": 0.25, "rectum wall": 0.35, "gas": 0.04,
        "peripheral zone": 0.62, "transition zone": 0.38, "nodule": 0.5, "vesicles": 0.66, "veins": 0.7, "stroma": 0.3,
    },
    spread=0.05, texture=0.06, noise=0.05, bias=0.3, blur=(2.2, 0.8, 0.8), scale=(200.0, 1500.0),
)  # fmt: skip
_FLAIR = Scanner(
    "MR",
    {
        "outside": 0.0, "csf": 0.12, "grey": 0.55, "white": 0.44, "caps": 0.72, "edema": 0.78, "core": 0.66, "necrosis": 0.3,
    },
    spread=0.05, texture=0.04, noise=0.04, bias=0.15, blur=(1.6, 1.4, 1.4), scale=(200.0, 1200.0),
)  # fmt: skip
_PORTAL_CT = Scanner(
    "CT",
    {
        "spleen": 125, "right kidney": 175, "left kidney": 175, "gallbladder": 8, "esophagus": 45, "liver": 108, "stomach": 28,
        "aorta": 155, "inferior vena cava": 135, "portal and splenic vein": 165, "pancreas": 88, "right adrenal gland": 72,
        "left adrenal gland": 72, "duodenum": 42, "bladder": 6, "prostate or uterus": 60, "air": -1000, "lung": -820,
        "fat": -100, "muscle": 58, "bone": 320, "bowel": 34, "gas": -700,
    },
    spread=9.0, texture=9.0, noise=16.0, blur=(2.0, 1.6, 1.6), streaks=8.0,
)  # fmt: skip
_ABDOMEN_MR = Scanner(
    "MR",
    {
        "spleen": 0.5, "right kidney": 0.6, "left kidney": 0.6, "gallbladder": 0.25, "esophagus": 0.4, "liver": 0.62,
        "stomach": 0.3, "aorta": 0.85, "inferior vena cava": 0.8, "portal and splenic vein": 0.9, "pancreas": 0.55,
        "right adrenal gland": 0.45, "left adrenal gland": 0.45, "duodenum": 0.38, "bladder": 0.2, "prostate or uterus": 0.45,
        "air": 0.0, "lung": 0.06, "fat": 0.22, "muscle": 0.4, "bone": 0.3, "bowel": 0.33, "gas": 0.04,
    },
    spread=0.04, texture=0.04, noise=0.05, bias=0.2, blur=(2.2, 1.8, 1.8), scale=(150.0, 400.0),
)  # fmt: skip
_CINE_ACDC = replace(_CINE, blur=(2.5, 1.4, 1.4), scale=(200.0, 700.0))
_SCOPE = Dermatoscope((150, 176), (200, 224))

SPECS: dict[str, Spec] = {
    "busi": Spec(
        "breast", (_IU22, replace(_LOGIQ_7, gain=(-6, 1), tgc=0.6), _HITACHI), cases=320, normals=0.17, several=0.05
    ),
    "busis": Spec("breast", (_LOGIQ_7, _HITACHI, _IU22, _SEQUOIA, _LOGIQ_5), cases=150),
    "udiat": Spec("breast", (_SEQUOIA,), cases=100),
    "bus-bra": Spec(
        "breast",
        (_LOGIQ_7, _LOGIQ_5, _APLIO, _U_SYSTEMS),
        ("ge-logiq-7", "ge-logiq-5", "toshiba-aplio-300", "u-systems"),
        cases=160,
        frames=2,
    ),
    "tus": Spec(
        "thyroid", _TUS, ("machine-1", "machine-2", "machine-3"), cases=240, frames=10, several=0.1, shift=0.04
    ),
    "tnscui2020": Spec(
        "thyroid",
        (
            replace(_TUS[0], frequency=9.0, gain=(-3, 4), edge=0.4, columns=(240, 280)),
            replace(_TUS[1], frequency=9.0, looks=2, dynamic_range=60, noise=-66, tgc=0.58),
        ),
        cases=200,
        several=0.1,
    ),
    "hc18": Spec(
        "fetal-head", (_HC18, replace(_HC18, frequency=4.5, sector=27.0, gain=(-9, -1))), cases=150, pixel_size=True
    ),
    "la": Spec("left-atrium", (_LGE,), cases=32, shape=(64, 64, 48), spacing=(1.8, 1.8, 1.8), vary=(8, 8, 0)),
    "mmwhs": Spec(
        "whole-heart",
        (_HEART_MR, _HEART_CT),
        ("mr", "ct"),
        cases=40,
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
        cases=64,
        frames=2,
        shape=(12, 64, 64),
        spacing=(9.0, 2.0, 2.0),
        vary=(5, 0, 0),
    ),
    "msd-hippocampus": Spec(
        "hippocampus", (_T1,), cases=60, shape=(33, 48, 32), spacing=(1.0, 1.0, 1.0), vary=(6, 7, 8)
    ),
    "isic2018": Spec(
        "skin-lesion",
        (
            _SCOPE,
            replace(_SCOPE, columns=(214, 240), tube=0.8, gain=(0.75, 1.0)),
            replace(_SCOPE, balance=0.1, noise=4.0),
        ),
        cases=240,
    ),
    "acdc": Spec(
        "short-axis-right-first",
        (_CINE_ACDC, replace(_CINE_ACDC, curve=1.2, noise=0.07, bias=0.3)),
        cases=60,
        frames=2,
        shape=(8, 64, 64),
        spacing=(10.0, 2.0, 2.0),
        vary=(3, 6, 0),
    ),
    "promise12": Spec(
        "prostate",
        (_T2, replace(_T2, bias=0.45, noise=0.07), replace(_T2, curve=1.3, blur=(2.2, 1.2, 1.2))),
        cases=50,
        shape=(18, 64, 64),
        spacing=(3.6, 1.8, 1.8),
        vary=(6, 0, 0),
    ),
    "pancreas": Spec(
        "pancreas",
        (replace(_PORTAL_CT, spread=7.0, blur=(1.6, 1.6, 1.6)),),
        cases=40,
        shape=(60, 56, 44),
        spacing=(2.6, 2.6, 2.6),
        vary=(6, 6, 8),
    ),
    "brats19": Spec(
        "glioma",
        (_FLAIR, replace(_FLAIR, curve=1.25, noise=0.06)),
        cases=48,
        shape=(44, 58, 48),
        spacing=(3.0, 3.0, 3.0),
    ),
    "synapse": Spec("abdomen", (_PORTAL_CT,), cases=30, shape=(40, 48, 64), spacing=(5.2, 5.2, 5.2), vary=(6, 0, 0)),
    "amos22": Spec(
        "abdomen-and-pelvis",
        (_PORTAL_CT, _ABDOMEN_MR),
        ("ct", "mr"),
        cases=48,
        shape=(54, 48, 64),
        spacing=(6.0, 5.2, 5.2),
        vary=(4, 0, 0),
    ),
}
