"""Cards of the built-in backbones. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import BackboneCard, WeightFile, hookimpl


@hookimpl
def semibench_backbones() -> list[BackboneCard]:
    """Returns the cards of this package's backbones."""
    here = "semibench_plugins.backbones"
    return [
        BackboneCard(
            name="unet",
            title="U-Net",
            load=f"{here}.unet:UNet",
            summary="five levels; SSL4MIS widths 16-256 (1.81 M parameters in 2D), variant '34m': 64-1024 (34.53 M)",
            paper="Ronneberger et al., U-Net, MICCAI 2015; widths and dropout of SSL4MIS",
            url="https://github.com/HiLab-git/SSL4MIS",
            dims=(2, 3),
            provides=("stages", "dropout"),
            default_for=(2,),
        ),
        BackboneCard(
            name="vnet",
            title="V-Net",
            load=f"{here}.vnet:VNet",
            summary="the lighter V-Net of the semi-supervised literature (UA-MT), 9.45 M parameters",
            paper="Milletari et al., V-Net, 3DV 2016; as re-written by Yu et al., MICCAI 2019",
            url="https://github.com/yulequan/UA-MT",
            dims=(3,),
            provides=("stages", "dropout"),
            default_for=(3,),
        ),
        BackboneCard(
            name="mgcc-net",
            title="MGCC network",
            load=f"{here}.mgcc_net:MGCCNet",
            summary="the 34.5 M U-Net with nine ConvMixer layers at the bottleneck and attention gates on the skips",
            paper="arXiv 2305.09447, 2023",
            url="https://github.com/FengheTan9/Multi-Level-Global-Context-Cross-Consistency",
            dims=(2,),
            provides=("stages",),
        ),
        BackboneCard(
            name="cmu-net",
            title="CMU-Net",
            load=f"{here}.cmu_net:CMUNet",
            summary="the 34.5 M U-Net with seven ConvMixer layers and attention gates, 49.93 M parameters",
            paper="Tang et al., CMU-Net: a Strong ConvMixer-based Medical Ultrasound Image Segmentation Network, ISBI 2023",
            url="https://github.com/FengheTan9/CMU-Net",
            dims=(2,),
            provides=("stages",),
        ),
        BackboneCard(
            name="swin-unet",
            title="Swin-UNet",
            load=f"{here}.swin_unet:SwinUNet",
            summary="shifted-window transformer in the shape of a U-Net, 27.17 M parameters, without pretrained weights",
            paper="Cao et al., Swin-Unet: Unet-like Pure Transformer for Medical Image Segmentation, ECCV Workshops 2022",
            url="https://github.com/HuCaoFighting/Swin-Unet",
            dims=(2,),
            provides=("stages", "dropout"),
        ),
        BackboneCard(
            name="diff-vnet",
            title="Diff-VNet",
            load=f"{here}.diff_vnet:DiffVNet",
            summary="V-Net whose encoder takes an image, with or without a noisy label map at a diffusion step (A&D, DTLP-Net)",
            paper="Wang & Li, Towards Generic Semi-Supervised Framework for Volumetric Medical Image Segmentation, NeurIPS 2023",
            url="https://github.com/xmed-lab/GenericSSL",
            dims=(2, 3),
            provides=("stages", "time", "dropout"),
        ),
        BackboneCard(
            name="deeplabv3plus",
            title="DeepLabv3+",
            load=f"{here}.deeplabv3plus:DeepLabV3Plus",
            summary="dilated ResNet-50 (also 18, 34, 101) with pyramid pooling, 43.6 M parameters; output stride 8 or 16",
            paper="Chen et al., Encoder-Decoder with Atrous Separable Convolution, ECCV 2018; decoders of U2PL and UniMatch",
            url="https://github.com/Haochen-Wang409/U2PL",
            dims=(2,),
            provides=("stages", "dropout"),
            weights=(
                WeightFile(
                    name="ImageNet ResNet-50",
                    licence="BSD-3-Clause (torchvision)",
                    obtain="torchvision's resnet50 file with backbone.deep_stem=false; the default deep stem needs a file "
                    "from the U2PL lineage (linked from its README)",
                ),
            ),
        ),
        BackboneCard(
            name="mfmsnet",
            title="MFMSNet",
            load=f"{here}.mfmsnet:MFMSNet",
            summary="octave ResNet-50; skips exchange high and low frequencies by attention, three scales are fused; sides of 32 k",
            paper="Wu et al., MFMSNet: A Multi-frequency and Multi-scale Interactive CNN-Transformer Hybrid Network for breast "
            "ultrasound image segmentation, Computers in Biology and Medicine 177, 2024",
            url="https://github.com/wrc990616/MFMSNet",
            dims=(2,),
        ),
        BackboneCard(
            name="diffusion-vnet",
            title="Diffusion V-Net",
            load=f"{here}.diffusion_vnet:DiffusionVNet",
            summary="V-Net on an image and a noisy label map at a diffusion step (Diff-CL), 10.84 M parameters in 3D",
            paper="Wang & Li, Towards Generic Semi-Supervised Framework for Volumetric Medical Image Segmentation, "
            "NeurIPS 2023 (its denoising path, 16 filters)",
            url="https://github.com/xmed-lab/GenericSSL",
            dims=(2, 3),
            provides=("stages", "time", "dropout"),
        ),
        BackboneCard(
            name="sam",
            title="SAM",
            load=f"{here}.sam.network:SAM",
            summary="ViT-B image encoder, point prompts of classes and mask decoder of the Segment Anything Model",
            paper="Kirillov et al., Segment Anything, ICCV 2023; decoder and prompts of CPC-SAM, MICCAI 2024",
            url="https://github.com/facebookresearch/segment-anything",
            dims=(2,),
            provides=("prompts",),
            weights=(
                WeightFile(
                    name="SAM ViT-B",
                    sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
                    licence="Apache-2.0",
                    obtain="sam_vit_b_01ec64.pth, linked from the README of the repository",
                ),
            ),
        ),
    ]
