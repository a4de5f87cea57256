"""The two networks of `latent-diffusion`, from diffusers (imported on use), and functions to store them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semibench import write_atomically
from semibench_plugins.generators.options import LatentDiffusionOptions


def autoencoder(options: LatentDiffusionOptions, channels: int) -> nn.Module:
    """Builds diffusers' AutoencoderKL: residual blocks with group norm and SiLU, no attention, diagonal Gaussian latents."""
    from diffusers import AutoencoderKL

    levels = len(options.vae_channels)
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(options.vae_channels),
        layers_per_block=options.vae_blocks,
        latent_channels=options.latent_channels,
        norm_num_groups=options.vae_groups,
        mid_block_add_attention=False,
    )


def denoiser(options: LatentDiffusionOptions) -> nn.Module:
    """Builds diffusers' unconditional UNet2DModel on latents, with a time embedding of 4 x the first channel count."""
    from diffusers import UNet2DModel

    levels = len(options.unet_channels)
    return UNet2DModel(
        sample_size=options.latent_size,
        in_channels=options.latent_channels,
        out_channels=options.latent_channels,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        block_out_channels=tuple(options.unet_channels),
        layers_per_block=options.unet_blocks,
        norm_num_groups=options.unet_groups,
        add_attention=options.unet_attention,
    )


def built(make: Any, seed: int) -> nn.Module:
    """Calls `make()` with initial weights drawn from `seed`, then restores the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a record as indented JSON, atomically."""
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> dict[str, Any] | None:
    """Returns the record, or None if the file does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def write_weights(path: Path, network: nn.Module) -> None:
    """Writes the weights of a network as safetensors, atomically."""
    from safetensors.torch import save_file

    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_atomically(path, lambda temporary: save_file(state, temporary))


def read_weights(path: Path, network: nn.Module) -> None:
    """Loads weights that `write_weights` wrote; names and shapes must match."""
    from safetensors.torch import load_file

    state: dict[str, Tensor] = load_file(path)
    network.load_state_dict(state)
