"""Cards of the built-in conventions. Light: the classes are imported when a run is scored."""

from __future__ import annotations

from semibench import ConventionCard, hookimpl

SEMIBENCH_1 = ConventionCard(
    name="semibench-1",
    title="Semibench 1",
    load="semibench_plugins.conventions.semibench_1:Semibench1",
    summary="native grid, correct empties, undefined distances kept as NaN and counted, mm and voxels",
)

MGCC_2023 = ConventionCard(
    name="mgcc-2023",
    title="MGCC 2023",
    load="semibench_plugins.conventions.mgcc_2023:Mgcc2023",
    summary="the released MGCC code on the working grid: on an empty reference recall and F1 count the whole image",
    paper="Tang et al., Multi-Level Global Context Cross Consistency Model for Semi-Supervised Ultrasound Image "
    "Segmentation with Diffusion Model, 2023",
    url="https://arxiv.org/abs/2305.09447",
    dims=(2,),
)

SSL4MIS = ConventionCard(
    name="ssl4mis",
    title="SSL4MIS",
    load="semibench_plugins.conventions.ssl4mis:Ssl4mis",
    summary="SSL4MIS on slices of volumes: nearest zoom to the patch and back, Dice and HD95 in voxels, empty prediction 0 and 0",
    paper="Luo et al., SSL4MIS: semi-supervised learning for medical image segmentation (code), 2020",
    url="https://github.com/HiLab-git/SSL4MIS",
    dims=(3,),
)

LA_SLIDING = ConventionCard(
    name="la-sliding",
    title="LA sliding window",
    load="semibench_plugins.conventions.la_sliding:LaSliding",
    summary="left atrium as since UA-MT: stride 18, 18, 4, plain mean of windows, voxels, empty prediction 0 everywhere",
    paper="Yu et al., Uncertainty-aware Self-ensembling Model for Semi-supervised 3D Left Atrium Segmentation, MICCAI 2019",
    url="https://arxiv.org/abs/1907.07034",
    dims=(3,),
    datasets=("la",),
)

CSC_PA = ConventionCard(
    name="csc-pa",
    title="CSC-PA",
    load="semibench_plugins.conventions.csc_pa:CscPa",
    summary="breast ultrasound as in CSC-PA: whole image resized to the patch and back, Dice and IoU with 1e-5 added",
    paper="Ding et al., CSC-PA, CVPR 2025",
    url="https://github.com/shdkdh/CSC-PA",
    dims=(2,),
    datasets=("busi", "udiat"),
)

PANCREAS_SLIDING = ConventionCard(
    name="pancreas-sliding",
    title="Pancreas sliding window",
    load="semibench_plugins.conventions.cube_sliding:PancreasSliding",
    summary="as la-sliding with stride 16, 16, 16: NIH Pancreas-CT since MC-Net",
    paper="Wu et al., Semi-supervised Left Atrium Segmentation with Mutual Consistency Training (code), MICCAI 2021",
    url="https://github.com/ycwu1997/MC-Net",
    dims=(3,),
    datasets=("pancreas",),
)

BRATS19_SLIDING = ConventionCard(
    name="brats19-sliding",
    title="BraTS 2019 sliding window",
    load="semibench_plugins.conventions.cube_sliding:Brats19Sliding",
    summary="as la-sliding with stride 64, 64, 64: whole tumour on BraTS 2019 since SSL4MIS",
    paper="Luo et al., SSL4MIS: semi-supervised learning for medical image segmentation (code), 2020",
    url="https://github.com/HiLab-git/SSL4MIS",
    dims=(3,),
    datasets=("brats19",),
)


@hookimpl
def semibench_conventions() -> list[ConventionCard]:
    """The conventions of this package."""
    return [SEMIBENCH_1, MGCC_2023, SSL4MIS, LA_SLIDING, CSC_PA, PANCREAS_SLIDING, BRATS19_SLIDING]
