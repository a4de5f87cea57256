"""Cards of the methods in this folder. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard

CARDS = (
    MethodCard(
        name="dtc",
        title="DTC",
        load=f"{__package__}.dtc:DTC",
        summary="the predicted signed distance map, turned into a segmentation, agrees with the predicted segmentation",
        paper="Luo et al., Semi-supervised Medical Image Segmentation through Dual-task Consistency, AAAI 2021",
        url="https://github.com/HiLab-git/DTC",
    ),
    MethodCard(
        name="sassnet",
        title="SASSNet",
        load=f"{__package__}.sassnet:SASSNet",
        summary="a critic makes the signed distance maps of unlabeled samples look like those of labeled ones",
        paper="Li et al., Shape-aware Semi-supervised 3D Semantic Segmentation for Medical Images, MICCAI 2020",
        url="https://arxiv.org/abs/2007.10732",
    ),
)
