"""Cards of the methods in this folder. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard

CARDS = (
    MethodCard(
        name="mc-net",
        title="MC-Net",
        load=f"{__package__}.mc_net:MCNet",
        summary="two decoders with different upsampling agree with each other's sharpened predictions",
        paper="Wu et al., Semi-supervised Left Atrium Segmentation with Mutual Consistency Training, MICCAI 2021",
        url="https://arxiv.org/abs/2103.02911",
    ),
    MethodCard(
        name="mc-net-plus",
        title="MC-Net+",
        load=f"{__package__}.mc_net:MCNetPlus",
        summary="three decoders with different upsampling agree with each other's sharpened predictions",
        paper="Wu et al., Mutual consistency learning for semi-supervised medical image segmentation, MedIA 81, 2022",
        url="https://arxiv.org/abs/2109.09960",
    ),
    MethodCard(
        name="caml",
        title="CAML",
        load=f"{__package__}.caml:CAML",
        summary="two networks agree on predictions and on correlations of unlabeled with labeled features",
        paper="Gao et al., Correlation-Aware Mutual Learning for Semi-supervised Medical Image Segmentation, MICCAI 2023",
        url="https://github.com/Herschel555/CAML",
    ),
    MethodCard(
        name="ml-rpl",
        title="ML-RPL",
        load=f"{__package__}.ml_rpl:MLRPL",
        summary="two decoders learn each other's hard labels where they are less certain, weighted by prototypes",
        paper="Su et al., Mutual learning with reliable pseudo label for semi-supervised medical image segmentation, "
        "MedIA 94, 2024",
        url="https://doi.org/10.1016/j.media.2024.103111",
    ),
)
