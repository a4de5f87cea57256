"""Cards of the methods in this folder. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard

CARDS = (
    MethodCard(
        name="cld",
        title="CLD",
        load=f"{__package__}.cld:CLD",
        summary="two networks label each other; rare classes weigh more, classes they are sure of are sampled less",
        paper="Lin et al., Calibrating Label Distribution for Class-Imbalanced Barely-Supervised Knee Segmentation, MICCAI 2022",
        url="https://github.com/xmed-lab/CLD-Semi",
    ),
    MethodCard(
        name="dhc",
        title="DHC",
        load=f"{__package__}.dhc:DHC",
        summary="two networks label each other; one weights classes by difficulty, the other by how rare it predicts them",
        paper="Wang & Li, DHC: Dual-debiased Heterogeneous Co-training Framework for Class-imbalanced Semi-supervised Medical "
        "Image Segmentation, MICCAI 2023",
        url="https://github.com/xmed-lab/DHC",
    ),
    MethodCard(
        name="simis",
        title="SimiS",
        load=f"{__package__}.simis:SimiS",
        summary="two networks label each other; classes weigh more the rarer they are predicted",
        paper="Chen et al., An Embarrassingly Simple Baseline for Imbalanced Semi-Supervised Learning, arXiv 2211.11086, 2022; "
        "DHC's port to segmentation",
        url="https://github.com/xmed-lab/DHC",
    ),
    MethodCard(
        name="adsh",
        title="Adsh",
        load=f"{__package__}.adsh:Adsh",
        summary="two networks label each other; each class has a threshold of its own, so that it keeps the background's share",
        paper="Guo & Li, Class-Imbalanced Semi-Supervised Learning with Adaptive Thresholding, ICML 2022; DHC's port to "
        "segmentation",
        url="https://proceedings.mlr.press/v162/guo22e.html",
    ),
    MethodCard(
        name="depl",
        title="DePL",
        load=f"{__package__}.depl:DePL",
        summary="two networks label each other; labels are debiased by each network's mean prediction",
        paper="Wang et al., Debiased Learning from Naturally Imbalanced Pseudo-Labels, CVPR 2022; DHC's port to segmentation",
        url="https://arxiv.org/abs/2201.01490",
    ),
    MethodCard(
        name="skcdf",
        title="SKCDF",
        load=f"{__package__}.skcdf.method:SKCDF",
        summary="decoders for labeled and for unlabeled samples, attention between both, balanced heads beside the main ones",
        paper="Zhang et al., Semantic Knowledge Complementarity based Decoupling Framework for Semi-supervised Class-imbalanced "
        "Medical Image Segmentation, CVPR 2025",
        url="https://github.com/yinguanchun/SKCDF",
    ),
)
