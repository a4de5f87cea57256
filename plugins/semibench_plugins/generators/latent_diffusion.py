"""Latent diffusion: synthetic images for the unlabeled pool (MGCC, arXiv 2305.09447, sections III-B and IV-B.1).

Stage 1 trains an autoencoder, stage 2 a denoiser on its frozen latents. DDIM samples latents, which the decoder turns into
images. The authors name Medfusion as their implementation and released no generation code, so the sizes are Medfusion's
where diffusers' AutoencoderKL and UNet2DModel can express them. docs/generators.md lists what differs and why.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Curated, Fitted, Frozen, Generator, Progress, UsageError
from semibench.blocks import derive_seed, seeded_generator
from semibench_plugins.generators import cards, networks
from semibench_plugins.generators.curation import CurationOptions, curate
from semibench_plugins.generators.diffusion import alpha_bars, ddim, ddim_times, noise_of_velocity
from semibench_plugins.generators.options import PRESETS, LatentDiffusionOptions
from semibench_plugins.generators.stages import (
    Plan,
    fit_autoencoder,
    fit_denoiser,
    moments,
    reconstruction_error,
)

FORMAT = 1
"""Version of the files in a fitted directory."""


class FitKey(Frozen):
    """Everything that determines the fitted networks; its digest shows whether a directory already holds them.

    images: sha256 of the resized 8-bit training images; grid: their size before resizing, (H, W).
    """

    format: int = FORMAT
    seed: int
    images: str
    grid: tuple[int, int]
    channels: int
    options: LatentDiffusionOptions


class LatentDiffusion(Generator):
    """See the module docstring. A fitted directory holds model.json (written last), autoencoder.json, *.safetensors and the
    state of an unfinished stage. `fit` resumes an interrupted fit with the same options, seed and images."""

    card = cards.LATENT_DIFFUSION
    Options = LatentDiffusionOptions
    Curation = CurationOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    options: LatentDiffusionOptions

    def fit(
        self, images: Iterable[Tensor], directory: Path, *, seed: int, device: str, progress: Progress | None = None
    ) -> Fitted:
        """Trains both stages. images: float (C, H, W) in [0, 1]; they are resized to options.size and stored with 8 bits. If
        the channels of every image are equal, only one channel is modelled, and repeated in the samples."""
        options = self.options
        stacked, grid, channels = self._gather(images)
        grey = stacked.shape[1] == 1
        digest = hashlib.sha256(stacked.numpy().tobytes()).hexdigest()
        key = FitKey(seed=seed, images=digest, grid=grid, channels=channels, options=options).digest()
        done = networks.read_json(directory / "model.json")
        if done is not None and done["key"] == key:
            return Fitted(directory, done["record"])
        (directory / "model.json").unlink(missing_ok=True)
        steps = math.ceil(options.epochs * len(stacked) / options.batch)

        def plan(name: str, own: int) -> Plan:
            return Plan(name, own or steps, seed, device, key, directory / f"{name}.pt", progress)

        vae = networks.built(lambda: networks.autoencoder(options, stacked.shape[1]), derive_seed(seed, "autoencoder"))
        first = networks.read_json(directory / "autoencoder.json")
        if first is not None and first["key"] == key:
            networks.read_weights(directory / "autoencoder.safetensors", vae)
            vae.to(device)
            stage1 = first["record"]
        else:
            stage1 = fit_autoencoder(vae, stacked, options, plan("autoencoder", options.vae_steps))
            networks.write_weights(directory / "autoencoder.safetensors", vae)
            networks.write_json(directory / "autoencoder.json", {"key": key, "record": stage1})
            (directory / "autoencoder.pt").unlink(missing_ok=True)

        vae.eval().requires_grad_(False)
        mean, spread = moments(vae, stacked, options, device)
        error = reconstruction_error(vae, stacked, mean, device, options.sample_batch)
        if options.mirror:
            mirrored = moments(vae, stacked.flip(-1), options, device)
            mean, spread = torch.cat([mean, mirrored[0]]), torch.cat([spread, mirrored[1]])
        shift, scale = _normalisation(mean, spread, options)
        unet = networks.built(lambda: networks.denoiser(options), derive_seed(seed, "denoiser"))
        latents = ((mean - shift) * scale, spread * scale)
        sampler, stage2 = fit_denoiser(unet, latents, options, plan("denoiser", options.unet_steps))
        networks.write_weights(directory / "denoiser.safetensors", sampler)
        (directory / "denoiser.pt").unlink(missing_ok=True)
        record = {
            "images": len(stacked),
            "grey": grey,
            "parameters": {"autoencoder": _count(vae), "denoiser": _count(unet)},
            "latent": [options.latent_channels, *options.latent_size],
            "latent_deviation": round(float(latents[0].var() + latents[1].square().mean()) ** 0.5, 6),
            "reconstruction_rmse": round(error, 6),
            "autoencoder": stage1,
            "denoiser": stage2,
        }
        networks.write_json(
            directory / "model.json",
            {"key": key, "format": FORMAT, "seed": seed, "channels": channels, "grid": list(grid), "grey": grey,
             "shift": shift.flatten().tolist(), "scale": scale.flatten().tolist(),
             "options": options.model_dump(mode="json"), "record": record},
        )  # fmt: skip
        return Fitted(directory, record)

    def _gather(self, images: Iterable[Tensor]) -> tuple[Tensor, tuple[int, int], int]:
        """Checks and resizes the images; returns (uint8 (N, 1 or C, *size), working grid, C)."""
        resized: list[Tensor] = []
        shape: tuple[int, ...] | None = None
        grey = True
        for number, image in enumerate(images):
            if image.ndim != 3 or (shape is not None and tuple(image.shape) != shape):
                raise UsageError(
                    f"latent-diffusion expects 2D images (C, H, W) of the same shape; image {number} has {tuple(image.shape)}"
                    f"{f', the first has {shape}' if shape else ''}: resize them to one working grid"
                )
            shape = tuple(image.shape)
            low, high = float(image.min()), float(image.max())
            if not (low >= -1e-3 and high <= 1 + 1e-3):
                raise UsageError(
                    f"latent-diffusion expects grey levels in [0, 1]; image {number} has [{low:.3g}, {high:.3g}]: "
                    "rescale before fitting"
                )
            grey = grey and bool((image == image[:1]).all())
            values = image.detach().float().cpu()[None]
            if values.shape[2:] != self.options.size:
                values = F.interpolate(values, self.options.size, mode="bilinear", antialias=True)
            resized.append(values[0].mul(255).round().clamp(0, 255).to(torch.uint8))
        if shape is None:
            raise UsageError("latent-diffusion needs at least one training image, got none")
        stacked = torch.stack(resized)
        return (stacked[:, :1].contiguous() if grey else stacked), (shape[1], shape[2]), shape[0]

    def sample(
        self, directory: Path, count: int, *, seed: int, device: str, progress: Progress | None = None
    ) -> Tensor:
        """Samples latents by DDIM and decodes them. Sample i depends only on (seed, i), not on `count` (up to rounding in the
        last digits if batches differ). The networks come from the directory; of this generator's options only the
        sampler's are used (ddim_steps, eta, clip_latents, sample_batch)."""
        model = networks.read_json(directory / "model.json")
        if model is None:
            raise UsageError(
                f"{directory} doesn't hold a fitted latent-diffusion model (model.json is missing): fit it first"
            )
        if model["format"] != FORMAT:
            raise UsageError(f"{directory} was written in format {model['format']}, expected {FORMAT}: fit it again")
        fitted = LatentDiffusionOptions.model_validate(model["options"])
        channels = 1 if model["grey"] else model["channels"]
        vae: Any = networks.built(lambda: networks.autoencoder(fitted, channels), 0)
        unet: Any = networks.built(lambda: networks.denoiser(fitted), 0)
        for name, network in (("autoencoder", vae), ("denoiser", unet)):
            networks.read_weights(directory / f"{name}.safetensors", network)
            network.to(device).eval()
        if count == 0:
            return torch.zeros((0, model["channels"], *model["grid"]))
        bars = alpha_bars(fitted.train_times, *fitted.beta)
        times = ddim_times(fitted.train_times, self.options.ddim_steps)
        shift, scale = (torch.tensor(model[name], device=device).view(1, -1, 1, 1) for name in ("shift", "scale"))
        shape = (fitted.latent_channels, *fitted.latent_size)
        total, done = math.ceil(count / self.options.sample_batch) * len(times), 0
        started = time.perf_counter()

        def advance() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress("sample", done, total, {"seconds": time.perf_counter() - started})

        def predict(noisy: Tensor, at: Tensor) -> Tensor:
            predicted = unet(noisy, at).sample
            if fitted.predict == "noise":
                return predicted
            return noise_of_velocity(predicted, noisy, bars[at.cpu()].to(device))

        batches = []
        with torch.inference_mode():
            for part in torch.arange(count).split(self.options.sample_batch):
                draws = [seeded_generator(seed, "sample", int(index)) for index in part]

                def draw(draws: list[torch.Generator] = draws) -> Tensor:
                    return torch.stack([torch.randn(shape, generator=one) for one in draws]).to(device)

                latents = ddim(
                    predict,
                    draw(),
                    bars,
                    times,
                    eta=self.options.eta,
                    draw=draw,
                    clip=self.options.clip_latents,
                    advance=advance,
                )
                images = (vae.decode(latents / scale + shift).sample.float() + 1.0) / 2.0
                if tuple(images.shape[2:]) != tuple(model["grid"]):
                    images = F.interpolate(images, tuple(model["grid"]), mode="bilinear", antialias=True)
                batches.append(images.clamp(0, 1).cpu().expand(-1, model["channels"], -1, -1))
        return torch.cat(batches)

    def curate(self, samples: Tensor, real: Tensor, *, count: int, options: Mapping[str, Any]) -> Curated:
        """Applies the rule of `semibench_plugins.generators.curation`; in the paper professionals select the images."""
        return curate(samples, real, count=count, options=CurationOptions.model_validate(dict(options)))


def _normalisation(mean: Tensor, spread: Tensor, options: LatentDiffusionOptions) -> tuple[Tensor, Tensor]:
    """Returns shift and factor for latents z, (1, c, 1, 1) each; (z - shift) x factor is diffused."""
    over = (0, 2, 3) if options.normalise == "channels" else (0, 1, 2, 3)
    deviation = (mean.var(over, keepdim=True) + spread.square().mean(over, keepdim=True)).sqrt().clamp(min=1e-6)
    zero, one = (torch.full((1, options.latent_channels, 1, 1), value) for value in (0.0, 1.0))
    match options.normalise:
        case "none":
            return zero, one
        case "scale":
            return zero, one / deviation
        case "channels":
            return mean.mean(over, keepdim=True), one / deviation


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
