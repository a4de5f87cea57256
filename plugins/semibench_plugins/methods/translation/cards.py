"""Cards of the methods in this folder. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard

CARDS = (
    MethodCard(
        name="cyclegan",
        title="CycleGAN",
        load=f"{__package__}.cyclegan:CycleGAN",
        summary="two generators learn to translate between the domains; a segmenter learns translated source images",
        paper="Zhu et al., Unpaired Image-to-Image Translation Using Cycle-Consistent Adversarial Networks, ICCV 2017",
        url="https://arxiv.org/abs/1703.10593",
        protocols=("umda",),
    ),
    MethodCard(
        name="cycada",
        title="CyCADA",
        load=f"{__package__}.cycada:CyCADA",
        summary="translation that a source segmenter doesn't notice, and a critic that aligns scores of both domains",
        paper="Hoffman et al., CyCADA: Cycle-Consistent Adversarial Domain Adaptation, ICML 2018",
        url="https://arxiv.org/abs/1711.03213",
        protocols=("umda",),
    ),
    MethodCard(
        name="sifa",
        title="SIFA",
        load=f"{__package__}.sifa:SIFA",
        summary="translation and segmentation share an encoder; critics of segmentations and source-style images align it",
        paper="Chen et al., Unsupervised Bidirectional Cross-Modality Adaptation via Deeply Synergistic Image and Feature "
        "Alignment for Medical Image Segmentation, IEEE TMI 2020",
        url="https://arxiv.org/abs/2002.02255",
        protocols=("umda",),
    ),
    MethodCard(
        name="dsfn",
        title="DSFN",
        load=f"{__package__}.dsfn:DSFN",
        summary="one segmenter for plain and translated images; both predictions of a target image are fused (reconstruction)",
        paper="Zou et al., Unsupervised Domain Adaptation with Dual-Scheme Fusion Network for Medical Image Segmentation, "
        "IJCAI 2020",
        url="https://doi.org/10.24963/ijcai.2020/455",
        protocols=("umda",),
    ),
)
