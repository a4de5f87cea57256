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
)
