"""Cards of the methods in this folder. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard

CARDS = (
    MethodCard(
        name="mgcc",
        title="MGCC",
        load=f"{__package__}.mgcc:MGCC",
        summary="auxiliary decoders on perturbed features with different context lengths agree with the main decoder",
        paper="Multi-level Global Context Cross-consistency Model for Semi-supervised Ultrasound Image Segmentation "
        "with Diffusion Model, arXiv 2305.09447, 2023",
        url="https://arxiv.org/abs/2305.09447",
        dims=(2,),
        backbone="mgcc-net",
        default_for=("self", "similar", "synthetic"),
    ),
    MethodCard(
        name="dtlp-net",
        title="DTLP-Net",
        load=f"{__package__}.dtlp_net.method:DTLPNet",
        summary="A&D plus two teachers fused by entropy, mixed and masked inputs, and labels propagated between voxels",
        paper="Boosting Generic Semi-Supervised Medical Image Segmentation via Diverse Teaching and Label Propagation, "
        "arXiv 2508.08549, 2025",
        url="https://arxiv.org/abs/2508.08549",
        backbone="diff-vnet",
    ),
    MethodCard(
        name="csc-pa",
        title="CSC-PA",
        load=f"{__package__}.csc_pa.method:CSCPA",
        summary="foreground prototypes shared across the batch, a memory of edge features, a pixel affinity loss",
        paper="Ding et al., CSC-PA, CVPR 2025",
        url="https://github.com/shdkdh/CSC-PA",
        dims=(2,),
        backbone="deeplabv3plus",
    ),
    MethodCard(
        name="diff-cl",
        title="Diff-CL",
        load=f"{__package__}.diff_cl.method:DiffCL",
        summary="a diffusion network and a convolutional one with a high-frequency Mamba module teach each other; "
        "a contrastive loss propagates labels",
        paper="Guo et al., Diff-CL: A Novel Cross Pseudo-Supervision Method for Semi-supervised Medical Image "
        "Segmentation, 2025",
        url="https://arxiv.org/abs/2503.09408",
    ),
    MethodCard(
        name="semsim",
        title="SemSim",
        load=f"{__package__}.semsim.method:SemSim",
        summary="weak-to-strong consistency of three predictions: the decoder's, affinity-refined, by class prototypes",
        paper="SemSim: semantic similarity in weak-to-strong consistency, arXiv 2410.13486, 2024",
        url="https://arxiv.org/abs/2410.13486",
    ),
    MethodCard(
        name="semsim-minus",
        title="SemSim⁻",
        load=f"{__package__}.semsim.method:SemSimMinus",
        summary="SemSim with a plain convolution instead of its fusion module",
        paper="SemSim: semantic similarity in weak-to-strong consistency, arXiv 2410.13486, 2024",
        url="https://arxiv.org/abs/2410.13486",
    ),
)
