"""Options and presets of the generator `latent-diffusion`. Cheap to import: no torch, no diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from semibench import GeneratorOptions


class LatentDiffusionOptions(GeneratorOptions, frozen=True, extra="forbid"):
    """The defaults are the published setup (MGCC with Medfusion's networks: 512 x 512 images, 8 x 64 x 64 latents)."""

    size: tuple[int, int] = Field(
        (512, 512), description="training size of the images; samples are resized back to the working grid"
    )
    mirror: bool = Field(False, description="also train on images mirrored left to right")
    batch: int = Field(4, ge=1, description="images per step, in both stages")
    epochs: int = Field(1000, ge=1, description="passes over the images in each stage, unless steps are given")

    vae_channels: tuple[int, ...] = Field(
        (64, 128, 256, 512), description="channels of each level; each level after the first halves the image"
    )
    vae_blocks: int = Field(1, ge=1, description="residual blocks per level")
    vae_groups: int = Field(8, ge=1, description="groups in the group norms")
    latent_channels: int = Field(8, ge=1)
    vae_steps: int = Field(0, ge=0, description="steps of stage 1 (0: by epochs)")
    vae_lr: float = Field(
        1e-4, gt=0, description="Adam's rate; the paper's 1e-6 is plausible only for a summed loss (reduction=sum)"
    )
    reduction: Literal["mean", "sum"] = Field(
        "mean", description="reconstruction loss per pixel, or summed over an image as in Medfusion"
    )
    reconstruction: Literal["mse", "l1"] = "mse"
    ssim: float = Field(0.0, ge=0, description="weight of 1 - SSIM in the reconstruction loss (0: the paper's text)")
    kl: float = Field(
        1e-6, ge=0, description="weight of the KL divergence relative to the reconstruction summed over pixels"
    )

    unet_channels: tuple[int, ...] = (256, 256, 512, 1024)
    unet_blocks: int = Field(1, ge=1, description="residual blocks per level")
    unet_groups: int = Field(32, ge=1)
    unet_attention: bool = Field(False, description="self-attention at the coarsest level")
    unet_steps: int = Field(0, ge=0, description="steps of stage 2 (0: by epochs)")
    unet_lr: float = Field(1e-4, gt=0, description="AdamW's rate")
    loss: Literal["l2", "l1"] = Field(
        "l2", description="loss of the prediction: l2 (paper) or l1 (Medfusion's default)"
    )
    predict: Literal["noise", "velocity"] = Field(
        "noise", description="what the denoiser predicts: eps (paper) or v = sqrt(abar) eps - sqrt(1 - abar) z0"
    )
    train_times: int = Field(1000, ge=2, description="T, steps of the forward process")
    beta: tuple[float, float] = Field((0.002, 0.02), description="first and last beta, linear in the square root")
    normalise: Literal["none", "scale", "channels"] = Field(
        "scale",
        description="normalisation of latents before diffusion: none (Medfusion), divide by their standard deviation "
        "(Stable Diffusion), or give each channel mean 0 and deviation 1",
    )
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the averaged denoiser used for sampling (0: no average)")

    schedule: Literal["constant", "cosine"] = Field("constant", description="learning rate schedule of each stage")
    clip_norm: float = Field(0.0, ge=0, description="largest gradient norm, in both stages (0: no clipping)")
    checkpoint_every: int = Field(2000, ge=1, description="steps between saved states of an unfinished stage")

    ddim_steps: int = Field(100, ge=1)
    eta: float = Field(0.0, ge=0, le=1, description="0: deterministic DDIM; 1: stochastic, Medfusion's default")
    clip_latents: float | None = Field(
        None, ge=4, description="bound on predicted clean latents in standard deviations; none: no clipping"
    )
    sample_batch: int = Field(16, ge=1)

    @property
    def factor(self) -> int:
        """Image pixels per latent pixel, along one side."""
        return 2 ** (len(self.vae_channels) - 1)

    @property
    def latent_size(self) -> tuple[int, int]:
        """Spatial size of the latents."""
        return (self.size[0] // self.factor, self.size[1] // self.factor)

    @model_validator(mode="after")
    def _fits(self) -> LatentDiffusionOptions:
        whole = self.factor * 2 ** (len(self.unet_channels) - 1)
        if any(side <= 0 or side % whole for side in self.size):
            raise ValueError(
                f"size must be a multiple of {whole} (for {len(self.vae_channels)} levels of the autoencoder and "
                f"{len(self.unet_channels)} of the denoiser), got {self.size}"
            )
        for name, channels, groups in (
            ("vae_groups", self.vae_channels, self.vae_groups),
            ("unet_groups", self.unet_channels, self.unet_groups),
        ):
            if any(count % groups for count in channels):
                raise ValueError(f"{name} must divide all channel counts {channels}, got {groups}")
        if not 0 < self.beta[0] <= self.beta[1] < 1:
            raise ValueError(f"beta must be a pair 0 < first <= last < 1, got {self.beta}")
        if self.ddim_steps > self.train_times:
            raise ValueError(f"ddim_steps ({self.ddim_steps}) can't exceed train_times ({self.train_times})")
        return self


_SHORT: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "quick": {
        "size": (64, 64),
        "mirror": True,
        "batch": 8,
        "vae_channels": (16, 32, 32),
        "vae_groups": 8,
        "latent_channels": 4,
        "vae_steps": 160,
        "vae_lr": 2e-3,
        "unet_channels": (32, 64, 64),
        "unet_groups": 8,
        "unet_attention": True,
        "unet_steps": 400,
        "unet_lr": 2e-3,
        "predict": "velocity",
        "normalise": "channels",
        "ema": 0.99,
        "schedule": "cosine",
        "clip_norm": 1.0,
        "ddim_steps": 20,
    },
    "smoke": {
        "size": (32, 32),
        "batch": 4,
        "vae_channels": (8, 16, 16),
        "vae_groups": 4,
        "latent_channels": 4,
        "vae_steps": 12,
        "vae_lr": 4e-3,
        "unet_channels": (16, 32),
        "unet_groups": 4,
        "unet_steps": 12,
        "unet_lr": 2e-3,
        "predict": "velocity",
        "normalise": "channels",
        "schedule": "cosine",
        "clip_norm": 1.0,
        "ddim_steps": 4,
    },
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    **_SHORT,
    "standard": {**_SHORT["quick"], "vae_steps": 1600, "unet_steps": 4000},
}
"""Option values by recipe. quick: about a minute on two CPU cores; standard: ten times its steps; smoke: seconds, only shows
that it runs."""
