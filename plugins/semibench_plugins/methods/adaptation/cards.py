"""Cards of the methods in this folder. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard

CARDS = (
    MethodCard(
        name="adaoutput",
        title="AdaOutput",
        load=f"{__package__}.adaoutput:AdaOutput",
        summary="critics of the softmax maps at two levels make target predictions look like source predictions",
        paper="Tsai et al., Learning to Adapt Structured Output Space for Semantic Segmentation, CVPR 2018",
        url="https://arxiv.org/abs/1802.10349",
        protocols=("umda",),
        default_for=("umda",),
    ),
    MethodCard(
        name="dan",
        title="DAN",
        load=f"{__package__}.dan:DAN",
        summary="segmentations of unlabeled images are to look like those of labeled ones to an evaluation network",
        paper="Zhang et al., Deep Adversarial Networks for Biomedical Image Segmentation Utilizing Unannotated Images, "
        "MICCAI 2017",
        url="https://doi.org/10.1007/978-3-319-66179-7_47",
    ),
    MethodCard(
        name="pnp-adanet",
        title="PnP-AdaNet",
        load=f"{__package__}.pnp_adanet:PnPAdaNet",
        summary="copies of the first levels learn to give the source's higher levels features that look like the source's",
        paper="Dou et al., PnP-AdaNet: Plug-and-Play Adversarial Domain Adaptation Network at Unpaired Cross-Modality Cardiac "
        "Segmentation, IEEE Access 2019",
        url="https://arxiv.org/abs/1812.07907",
        protocols=("umda",),
    ),
    MethodCard(
        name="dsan",
        title="DSAN",
        load=f"{__package__}.dsan:DSAN",
        summary="one encoder for segmentation and for translation in both directions, with critics of images and of softmax maps",
        paper="Han et al., Deep Symmetric Adaptation Network for Cross-Modality Medical Image Segmentation, IEEE TMI 2022",
        url="https://arxiv.org/abs/2101.06853",
        protocols=("umda",),
    ),
    MethodCard(
        name="lmisa-3d",
        title="LMISA-3D",
        load=f"{__package__}.lmisa_3d:LMISA3D",
        summary="sees edges instead of intensities; a critic of masks makes target masks look like true source masks",
        paper="Jafari et al., LMISA: A lightweight multi-modality image segmentation network via domain adaptation using "
        "gradient magnitude and shape constraint, Medical Image Analysis 2022",
        url="https://doi.org/10.1016/j.media.2022.102536",
        protocols=("umda",),
    ),
    MethodCard(
        name="ddsp",
        title="DDSP",
        load=f"{__package__}.ddsp:DDSP",
        summary="disrupts the distribution of intensities in both domains and keeps the similarities between feature channels",
        paper="Zheng et al., Dual domain distribution disruption with semantics preservation: Unsupervised domain adaptation "
        "for medical image segmentation, Medical Image Analysis 2024",
        url="https://doi.org/10.1016/j.media.2024.103275",
        protocols=("umda",),
    ),
)
