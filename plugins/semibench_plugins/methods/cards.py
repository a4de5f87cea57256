"""Cards of the built-in methods. Light: the classes are imported when a run uses them."""

from __future__ import annotations

from semibench import MethodCard, hookimpl


@hookimpl
def semibench_methods() -> list[MethodCard]:
    """The methods of this package."""
    here = "semibench_plugins.methods"
    return [
        MethodCard(
            name="supervised",
            title="Supervised",
            load=f"{here}.supervised:Supervised",
            summary="cross-entropy and Dice on the labeled samples only; the reference every learner must beat",
            uses_unlabeled=False,
        ),
        MethodCard(
            name="mean-teacher",
            title="Mean Teacher",
            load=f"{here}.mean_teacher:MeanTeacher",
            summary="agree with an averaged copy of oneself on noisy unlabeled samples",
            paper="Tarvainen & Valpola, Mean teachers are better role models, NeurIPS 2017",
            url="https://arxiv.org/abs/1703.01780",
            default_for=("self", "similar", "synthetic", "ssmis", "semi-mdg"),
        ),
        MethodCard(
            name="bcp",
            title="BCP",
            load=f"{here}.bcp:BCP",
            summary="copy-paste between labeled and unlabeled samples in both directions, pseudo-labels of a teacher",
            paper="Bai et al., Bidirectional Copy-Paste for Semi-Supervised Medical Image Segmentation, CVPR 2023",
            url="https://arxiv.org/abs/2305.00673",
        ),
        MethodCard(
            name="adaoutput",
            title="AdaOutput",
            load=f"{here}.adaoutput:AdaOutput",
            summary="critics on the softmax maps of two levels pull target predictions to look like source ones",
            paper="Tsai et al., Learning to Adapt Structured Output Space for Semantic Segmentation, CVPR 2018",
            url="https://arxiv.org/abs/1802.10349",
            protocols=("umda",),
            default_for=("umda",),
        ),
        MethodCard(
            name="saml",
            title="SAML",
            load=f"{here}.saml:SAML",
            summary="meta-learning over domains with losses on the shape: compactness and contour smoothness",
            paper="Liu, Dou & Heng, Shape-aware Meta-learning for Generalizing Prostate MRI Segmentation, MICCAI 2020",
            url="https://arxiv.org/abs/2007.02035",
            protocols=("semi-mdg",),
            uses_unlabeled=False,
        ),
        MethodCard(
            name="mgcc",
            title="MGCC",
            load=f"{here}.mgcc:MGCC",
            summary="auxiliary decoders on perturbed features of several context lengths agree with the main decoder",
            paper="Multi-level Global Context Cross-consistency Model for Semi-supervised Ultrasound Image Segmentation "
            "with Diffusion Model, arXiv 2305.09447, 2023",
            url="https://arxiv.org/abs/2305.09447",
            dims=(2,),
            backbone="mgcc-net",
            default_for=("self", "similar", "synthetic"),
        ),
        MethodCard(
            name="ua-mt",
            title="UA-MT",
            load=f"{here}.ua_mt:UAMT",
            summary="mean teacher whose consistency counts only where the teacher is certain",
            paper="Yu et al., Uncertainty-aware Self-ensembling Model for Semi-supervised 3D Left Atrium Segmentation, "
            "MICCAI 2019",
            url="https://arxiv.org/abs/1907.07034",
        ),
        MethodCard(
            name="dct",
            title="DCT",
            load=f"{here}.dct:DCT",
            summary="two networks agree on unlabeled samples and resist each other's adversarial examples",
            paper="Qiao et al., Deep Co-Training for Semi-Supervised Image Recognition, ECCV 2018",
            url="https://arxiv.org/abs/1803.05984",
        ),
        MethodCard(
            name="cps",
            title="CPS",
            load=f"{here}.cps:CPS",
            summary="two networks of one architecture learn from each other's hard labels",
            paper="Chen et al., Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision, CVPR 2021",
            url="https://arxiv.org/abs/2106.01226",
        ),
        MethodCard(
            name="ctct",
            title="CTCT",
            load=f"{here}.ctct:CTCT",
            summary="a convolutional network and a transformer (swin-unet) learn from each other's hard labels",
            paper="Luo et al., Semi-Supervised Medical Image Segmentation via Cross Teaching between CNN and Transformer, "
            "MIDL 2022",
            url="https://arxiv.org/abs/2112.04894",
            dims=(2,),
        ),
        MethodCard(
            name="cct",
            title="CCT",
            load=f"{here}.cct:CCT",
            summary="auxiliary decoders on perturbed encoder features agree with the main decoder",
            paper="Ouali et al., Semi-Supervised Semantic Segmentation with Cross-Consistency Training, CVPR 2020",
            url="https://arxiv.org/abs/2003.09005",
        ),
        MethodCard(
            name="a-and-d",
            title="A&D",
            load=f"{here}.a_and_d:AandD",
            summary="a diffusion encoder for all domains and three decoders: labels denoised, labels by difficulty, pseudo-labels",
            paper="Wang & Li, Towards Generic Semi-Supervised Framework for Volumetric Medical Image Segmentation, NeurIPS 2023",
            url="https://github.com/xmed-lab/GenericSSL",
            backbone="diff-vnet",
        ),
        MethodCard(
            name="dtlp-net",
            title="DTLP-Net",
            load=f"{here}.dtlp_net.method:DTLPNet",
            summary="A&D with two teachers fused by entropy, mixed and masked inputs, and labels propagated between voxels",
            paper="Boosting Generic Semi-Supervised Medical Image Segmentation via Diverse Teaching and Label Propagation, "
            "arXiv 2508.08549, 2025",
            url="https://arxiv.org/abs/2508.08549",
            backbone="diff-vnet",
        ),
        MethodCard(
            name="csc-pa",
            title="CSC-PA",
            load=f"{here}.csc_pa.method:CSCPA",
            summary="images of a batch exchange foreground prototypes, a memory of edges, a loss on neighbours' affinity",
            paper="Ding et al., CSC-PA, CVPR 2025",
            url="https://github.com/shdkdh/CSC-PA",
            dims=(2,),
            backbone="deeplabv3plus",
        ),
        MethodCard(
            name="diff-cl",
            title="Diff-CL",
            load=f"{here}.diff_cl.method:DiffCL",
            summary="a diffusion network and a convolutional one with a Mamba module on high frequencies teach each other; "
            "labels spread by contrast",
            paper="Guo et al., Diff-CL: A Novel Cross Pseudo-Supervision Method for Semi-supervised Medical Image "
            "Segmentation, 2025",
            url="https://arxiv.org/abs/2503.09408",
        ),
        MethodCard(
            name="fixmatch",
            title="FixMatch",
            load=f"{here}.fixmatch:FixMatch",
            summary="a confident prediction on the weak view is the label of the strong view of the same image",
            paper="Sohn et al., FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence, NeurIPS 2020",
            url="https://arxiv.org/abs/2001.07685",
        ),
        MethodCard(
            name="semsim",
            title="SemSim",
            load=f"{here}.semsim.method:SemSim",
            summary="weak-to-strong consistency of three predictions: decoder, refined by affinity, by class prototypes",
            paper="SemSim: semantic similarity in weak-to-strong consistency, arXiv 2410.13486, 2024",
            url="https://arxiv.org/abs/2410.13486",
        ),
        MethodCard(
            name="semsim-minus",
            title="SemSim⁻",
            load=f"{here}.semsim.method:SemSimMinus",
            summary="SemSim with a plain convolution in place of its fusion module",
            paper="SemSim: semantic similarity in weak-to-strong consistency, arXiv 2410.13486, 2024",
            url="https://arxiv.org/abs/2410.13486",
        ),
    ]
