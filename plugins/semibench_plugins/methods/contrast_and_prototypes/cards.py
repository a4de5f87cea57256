"""Cards of the methods in this folder. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard

CARDS = (
    MethodCard(
        name="ss-net",
        title="SS-Net",
        load=f"{__package__}.ss_net.method:SSNet",
        summary="predictions resist adversarial noise, and features approach stored features of their class",
        paper="Wu et al., Exploring Smoothness and Class-Separation for Semi-supervised Medical Image Segmentation, "
        "MICCAI 2022",
        url="https://arxiv.org/abs/2203.01324",
    ),
    MethodCard(
        name="scp-net",
        title="SCP-Net",
        load=f"{__package__}.scp_net:SCPNet",
        summary="the classifier agrees with predictions by prototypes of the same image and of the other images",
        paper="Zhang et al., Self-aware and Cross-sample Prototypical Learning for Semi-supervised Medical Image "
        "Segmentation, MICCAI 2023",
        url="https://arxiv.org/abs/2305.16214",
    ),
    MethodCard(
        name="u2pl",
        title="U2PL",
        load=f"{__package__}.u2pl.method:U2PL",
        summary="mean teacher; pixels too uncertain for a label are negatives of a contrastive loss",
        paper="Wang et al., Semi-Supervised Semantic Segmentation Using Unreliable Pseudo-Labels, CVPR 2022",
        url="https://arxiv.org/abs/2203.03884",
        dims=(2,),
    ),
    MethodCard(
        name="ph-net",
        title="PH-Net (training reconstructed)",
        load=f"{__package__}.ph_net:PHNet",
        summary="a teacher's entropy finds hard patches: easy ones are replaced, features of hard ones are contrasted",
        paper="Jiang et al., PH-Net: Semi-Supervised Breast Lesion Segmentation via Patch-wise Hardness, CVPR 2024",
        url="https://github.com/jjjsyyy/PH-Net",
        dims=(2,),
    ),
)
