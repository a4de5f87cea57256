"""Cards of the built-in generators. Cheap to import: the class, torch and diffusers are loaded when a run uses them."""

from __future__ import annotations

from semibench import GeneratorCard, hookimpl

LATENT_DIFFUSION = GeneratorCard(
    name="latent-diffusion",
    title="Latent diffusion",
    load="semibench_plugins.generators.latent_diffusion:LatentDiffusion",
    summary="autoencoder with small Gaussian latents, then denoising diffusion on the latents, sampled with DDIM",
    paper="Rombach et al., High-resolution image synthesis with latent diffusion models, CVPR 2022; "
    "as used by MGCC, arXiv 2305.09447, 2023",
    url="https://github.com/mueller-franzes/medfusion",
    dims=(2,),
)


@hookimpl
def semibench_generators() -> list[GeneratorCard]:
    """Returns the cards of this package's generators."""
    return [LATENT_DIFFUSION]
