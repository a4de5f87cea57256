"""Cards of the methods in this folder. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard

CARDS = (
    MethodCard(
        name="sdnet-aug",
        title="SDNet+Aug",
        load=f"{__package__}.sdnet_aug:SDNetAug",
        summary="binary anatomy and a code of modality; new labeled images combine those of different domains",
        paper="Liu et al., Disentangled Representations for Domain-generalized Cardiac Segmentation, STACOM 2020",
        url="https://arxiv.org/abs/2008.11514",
        dims=(2,),
        protocols=("semi-mdg",),
    ),
    MethodCard(
        name="dgnet",
        title="DGNet",
        load=f"{__package__}.dgnet:DGNet",
        summary="content, style and domain apart; second-order meta-learning over domains, with and without labels ('Meta')",
        paper="Liu et al., Semi-supervised Meta-learning with Disentanglement for Domain-Generalised Medical Image Segmentation, "
        "MICCAI 2021",
        url="https://github.com/vios-s/DGNet",
        dims=(2,),
        protocols=("semi-mdg",),
    ),
    MethodCard(
        name="vmfnet",
        title="vMFNet",
        load=f"{__package__}.vmfnet:VMFNet",
        summary="features as shares of von Mises-Fisher kernels, from which images are drawn again and segmented",
        paper="Liu et al., vMFNet: Compositionality Meets Domain-Generalised Segmentation, MICCAI 2022",
        url="https://github.com/vios-s/vMFNet",
        dims=(2,),
        protocols=("semi-mdg",),
    ),
)
