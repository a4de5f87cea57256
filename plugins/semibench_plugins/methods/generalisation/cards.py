"""Cards of the methods in this folder. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard

CARDS = (
    MethodCard(
        name="saml",
        title="SAML",
        load=f"{__package__}.saml:SAML",
        summary="meta-learning across domains with shape losses: compactness and contour smoothness",
        paper="Liu, Dou & Heng, Shape-aware Meta-learning for Generalizing Prostate MRI Segmentation, MICCAI 2020",
        url="https://arxiv.org/abs/2007.02035",
        protocols=("semi-mdg",),
        uses_unlabeled=False,
    ),
    MethodCard(
        name="nnunet",
        title="nnU-Net",
        load=f"{__package__}.nnunet.method:NNUNet",
        summary="the labeled samples with nnU-Net's augmentation and losses at several resolutions",
        paper="Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation, "
        "Nature Methods 18, 2021",
        url="https://github.com/MIC-DKFZ/nnUNet",
        uses_unlabeled=False,
        backbone="unet",
    ),
    MethodCard(
        name="lddg",
        title="LDDG",
        load=f"{__package__}.lddg:LDDG",
        summary="latents of all source domains together keep to as few dimensions as there are classes",
        paper="Li et al., Domain Generalization for Medical Imaging Classification with Linear-Dependency Regularization, "
        "NeurIPS 2020",
        url="https://arxiv.org/abs/2009.12829",
        protocols=("semi-mdg",),
        uses_unlabeled=False,
    ),
    MethodCard(
        name="stylematch",
        title="StyleMatch",
        load=f"{__package__}.stylematch:StyleMatch",
        summary="a confident prediction labels a strong view and one in another domain's style; the classifier is random",
        paper="Zhou, Loy & Liu, Semi-Supervised Domain Generalization with Stochastic StyleMatch, IJCV 131, 2023",
        url="https://arxiv.org/abs/2106.00592",
        protocols=("semi-mdg",),
    ),
    MethodCard(
        name="epl",
        title="EPL",
        load=f"{__package__}.epl:EPL",
        summary="two networks label mixed images for each other; labels count less where two styles of an image disagree",
        paper="Yao, Hu & Li, Enhancing Pseudo Label Quality for Semi-supervised Domain-Generalized Medical Image Segmentation, "
        "AAAI 2022",
        url="https://arxiv.org/abs/2201.08657",
        protocols=("semi-mdg",),
    ),
    MethodCard(
        name="a-and-d",
        title="A&D",
        load=f"{__package__}.a_and_d:AandD",
        summary="one diffusion encoder for all domains; three decoders learn from noisy labels, weighted labels, pseudo-labels",
        paper="Wang & Li, Towards Generic Semi-Supervised Framework for Volumetric Medical Image Segmentation, NeurIPS 2023",
        url="https://github.com/xmed-lab/GenericSSL",
        backbone="diff-vnet",
    ),
)
