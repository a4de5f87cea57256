"""Cards of the methods in this folder. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard

CARDS = (
    MethodCard(
        name="bcp",
        title="BCP",
        load=f"{__package__}.bcp:BCP",
        summary="copy-paste between labeled and unlabeled samples in both directions, pseudo-labels from a teacher",
        paper="Bai et al., Bidirectional Copy-Paste for Semi-Supervised Medical Image Segmentation, CVPR 2023",
        url="https://arxiv.org/abs/2305.00673",
    ),
    MethodCard(
        name="cps",
        title="CPS",
        load=f"{__package__}.cps:CPS",
        summary="two networks of the same architecture learn from each other's hard labels",
        paper="Chen et al., Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision, CVPR 2021",
        url="https://arxiv.org/abs/2106.01226",
    ),
    MethodCard(
        name="ctct",
        title="CTCT",
        load=f"{__package__}.ctct:CTCT",
        summary="a convolutional network and a transformer (swin-unet) learn from each other's hard labels",
        paper="Luo et al., Semi-Supervised Medical Image Segmentation via Cross Teaching between CNN and Transformer, "
        "MIDL 2022",
        url="https://arxiv.org/abs/2112.04894",
        dims=(2,),
    ),
    MethodCard(
        name="s4cvnet",
        title="S4CVNet",
        load=f"{__package__}.s4cvnet:S4CVNet",
        summary="a convolutional network and a transformer learn from each other and from the transformer's moving average",
        paper="Wang et al., When CNN Meet with ViT: Towards Semi-Supervised Learning for Multi-Class Medical Image Semantic "
        "Segmentation, ECCV Workshops 2022",
        url="https://arxiv.org/abs/2208.06449",
        dims=(2,),
    ),
    MethodCard(
        name="cnt-b",
        title="CnT-B (reconstruction)",
        load=f"{__package__}.cnt_b:CnTB",
        summary="a convolutional network and a transformer; the more certain one teaches the other (our reconstruction)",
        paper="Huang et al., Semi-supervised Convolutional Vision Transformer with Bi-level Uncertainty Estimation for "
        "Medical Image Segmentation, ACM MM 2023",
        dims=(2,),
    ),
    MethodCard(
        name="medfct",
        title="MedFCT",
        load=f"{__package__}.medfct.method:MedFCT",
        summary="a U-Net and a Swin-UNet exchange features in the Fourier domain; their average teaches them at three levels",
        paper="Xie et al., MedFCT: A Frequency Domain Joint CNN-Transformer Network for Semi-supervised Medical Image "
        "Segmentation, ICME 2023",
        url="https://doi.org/10.1109/ICME55011.2023.00328",
        dims=(2,),
    ),
    MethodCard(
        name="diffrect",
        title="DiffRect",
        load=f"{__package__}.diffrect.method:DiffRect",
        summary="FixMatch whose pseudo-labels a second network corrects by diffusion in its feature space",
        paper="Liu et al., DiffRect: Latent Diffusion Label Rectification for Semi-supervised Medical Image Segmentation, "
        "MICCAI 2024",
        url="https://arxiv.org/abs/2407.09918",
        dims=(2,),
    ),
    MethodCard(
        name="fixmatch",
        title="FixMatch",
        load=f"{__package__}.fixmatch:FixMatch",
        summary="a confident prediction on the weak view becomes the label for the strong view of the same image",
        paper="Sohn et al., FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence, NeurIPS 2020",
        url="https://arxiv.org/abs/2001.07685",
    ),
    MethodCard(
        name="cpc-sam",
        title="CPC-SAM",
        load=f"{__package__}.cpc_sam:CPCSAM",
        summary="two mask decoders of SAM prompt each other with points of their predictions",
        paper="Miao et al., Cross Prompting Consistency with Segment Anything Model for Semi-supervised Medical Image "
        "Segmentation, MICCAI 2024",
        url="https://arxiv.org/abs/2407.05416",
        dims=(2,),
        backbone="sam",
    ),
    MethodCard(
        name="cisc-r",
        title="CISC-R",
        load=f"{__package__}.cisc_r:CISCR",
        summary="self-training in three stages; similarity to a labeled image of the class weighs the pseudo-labels",
        paper="Wu et al., Querying Labeled for Unlabeled: Cross-Image Semantic Consistency Guided Semi-Supervised Semantic "
        "Segmentation, TPAMI 2023",
        url="https://github.com/Luffy03/CISC-R",
        dims=(2,),
    ),
    MethodCard(
        name="abd",
        title="ABD",
        load=f"{__package__}.abd:ABD",
        summary="cross teaching on two views of each image; patches move between the views by how confident they are",
        paper="Chi et al., Adaptive Bidirectional Displacement for Semi-Supervised Medical Image Segmentation, CVPR 2024",
        url="https://github.com/chy-upc/ABD",
        dims=(2,),
    ),
    MethodCard(
        name="gapmatch",
        title="GapMatch (reconstruction)",
        load=f"{__package__}.gapmatch:GapMatch",
        summary="FixMatch whose strong views are also learned by weights moved up the loss (our reconstruction)",
        paper="Huang et al., GapMatch: Bridging Instance and Model Perturbations for Enhanced Semi-Supervised Medical Image "
        "Segmentation, AAAI 2025",
    ),
    MethodCard(
        name="allspark",
        title="AllSpark",
        load=f"{__package__}.allspark.method:AllSpark",
        summary="labeled features are rebuilt from channels of unlabeled ones, remembered by class; pseudo-labels",
        paper="Wang et al., AllSpark: Reborn Labeled Features from Unlabeled in Transformer for Semi-Supervised Semantic "
        "Segmentation, CVPR 2024",
        url="https://arxiv.org/abs/2403.01818",
    ),
)
