"""The two training stages of `latent-diffusion`: autoencoder, then denoiser on its frozen latents.

All randomness is a function of (seed, stage, step), drawn on the CPU, so a resumed stage gives the same digits.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import DivergedError, Progress, write_atomically
from semibench.blocks import derive_seed, seeded_generator
from semibench_plugins.generators.diffusion import alpha_bars, noised, velocity
from semibench_plugins.generators.options import LatentDiffusionOptions

REPORT_EVERY = 10
SMOOTHING = 0.98
POINTS = 200
"""Largest number of points stored for a loss curve."""


@dataclass
class Course:
    """A thinned loss curve, smoothed by a bias-corrected exponential mean. points: (step, smoothed loss)."""

    steps: int
    mean: float = 0.0
    weight: float = 0.0
    points: list[tuple[int, float]] = field(default_factory=list)

    def add(self, step: int, loss: float) -> float:
        """Adds the loss of a step and returns the smoothed loss."""
        self.mean = SMOOTHING * self.mean + (1 - SMOOTHING) * loss
        self.weight = SMOOTHING * self.weight + (1 - SMOOTHING)
        smooth = self.mean / self.weight
        if step % max(1, math.ceil(self.steps / POINTS)) == 0 or step == self.steps - 1:
            self.points.append((step, smooth))
        return smooth

    def record(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {"steps": [step for step, _ in self.points], "loss": [round(loss, 6) for _, loss in self.points]}


@dataclass(frozen=True)
class Plan:
    """Settings of a training stage. key: digest of what is fitted; path: file for the state of the unfinished stage."""

    name: str
    steps: int
    seed: int
    device: str
    key: str
    path: Path
    progress: Progress | None


def positions(count: int, batch: int, step: int, seed: int) -> Tensor:
    """int64 (batch,): indices of a step's samples, from a sequence of fresh permutations of all samples."""
    draws = range(step * batch, (step + 1) * batch)
    orders = {
        epoch: torch.randperm(count, generator=seeded_generator(seed, "order", epoch))
        for epoch in {draw // count for draw in draws}
    }
    return torch.stack([orders[draw // count][draw % count] for draw in draws])


def structural_similarity(first: Tensor, second: Tensor, span: float = 2.0, window: int = 7) -> Tensor:
    """Mean SSIM (Wang et al., IEEE TIP 2004) with a uniform window, of images (B, C, H, W) whose values span `span`."""

    def blur(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, window, stride=1)

    a, b = blur(first), blur(second)
    variance = blur(first.square()) - a.square() + blur(second.square()) - b.square()
    covariance = blur(first * second) - a * b
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    return ((2 * a * b + c1) * (2 * covariance + c2) / ((a.square() + b.square() + c1) * (variance + c2))).mean()


def _run(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    loss_of: Callable[[int], Tensor],
    options: LatentDiffusionOptions,
    plan: Plan,
    average: nn.Module | None = None,
) -> Course:
    """Trains for plan.steps steps, resuming from a saved state with the same key. `average` tracks the weights' average."""
    course, first = Course(plan.steps), 0
    base = [group["lr"] for group in optimiser.param_groups]
    saved = torch.load(plan.path, map_location="cpu", weights_only=True) if plan.path.is_file() else None
    if saved is not None and saved["key"] == plan.key:
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        if average is not None:
            average.load_state_dict(saved["average"])
        first = saved["step"]
        course = Course(plan.steps, saved["mean"], saved["weight"], [(int(s), float(v)) for s, v in saved["points"]])
    network.train()
    for step in range(first, plan.steps):
        if options.schedule == "cosine":
            for group, lr in zip(optimiser.param_groups, base, strict=True):
                group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / plan.steps))
        loss = loss_of(step)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(
                f"latent-diffusion, {plan.name}: the loss became {value} at step {step}; lower the learning rate or set clip_norm"
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if options.clip_norm > 0:
            nn.utils.clip_grad_norm_(network.parameters(), options.clip_norm)
        optimiser.step()
        if average is not None:
            decay = min(options.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
        smooth = course.add(step, value)
        if plan.progress is not None and ((step + 1) % REPORT_EVERY == 0 or step + 1 == plan.steps):
            plan.progress(plan.name, step + 1, plan.steps, {"loss": smooth})
        if (step + 1) % options.checkpoint_every == 0 and step + 1 < plan.steps:
            state = {
                "key": plan.key, "step": step + 1, "network": network.state_dict(), "optimiser": optimiser.state_dict(),
                "average": average.state_dict() if average is not None else {},
                "mean": course.mean, "weight": course.weight, "points": course.points,
            }  # fmt: skip
            write_atomically(plan.path, functools.partial(torch.save, state))
    return course


def fit_autoencoder(network: Any, images: Tensor, options: LatentDiffusionOptions, plan: Plan) -> dict[str, Any]:
    """Trains stage 1. images: uint8 (N, C, H, W), scaled to [-1, 1]. Loss: reconstruction + kl x KL(q || N(0, 1)), both
    summed over an image and, with reduction "mean", divided by its number of values; mean over the batch."""
    network.to(plan.device)
    batch = min(options.batch, len(images))
    size = images[0].numel()

    def loss_of(step: int) -> Tensor:
        generator = seeded_generator(plan.seed, plan.name, step)
        drawn = images[positions(len(images), batch, step, derive_seed(plan.seed, plan.name))]
        if options.mirror:
            mirrored = torch.rand(batch, generator=generator) < 0.5
            drawn = torch.where(mirrored.view(-1, 1, 1, 1), drawn.flip(-1), drawn)
        target = drawn.to(plan.device).float() / 127.5 - 1.0
        posterior = network.encode(target).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(plan.device)
        decoded = network.decode(posterior.mean + posterior.std * noise).sample
        error = F.mse_loss(decoded, target) if options.reconstruction == "mse" else F.l1_loss(decoded, target)
        if options.ssim > 0:
            error = error + options.ssim * (1 - structural_similarity(decoded, target))
        loss = error + options.kl * posterior.kl().mean() / size
        return loss * size if options.reduction == "sum" else loss

    started = time.perf_counter()
    course = _run(network, torch.optim.Adam(network.parameters(), options.vae_lr), loss_of, options, plan)
    return {**course.record(), "seconds": time.perf_counter() - started}


def _batches(images: Tensor, size: int) -> Iterator[Tensor]:
    for part in images.split(size):
        yield part.float() / 127.5 - 1.0


@torch.no_grad()
def moments(network: Any, images: Tensor, options: LatentDiffusionOptions, device: str) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation of the latents of uint8 images, on the CPU, (N, latent channels, h, w) each."""
    network.eval()
    posteriors = [network.encode(part.to(device)).latent_dist for part in _batches(images, options.sample_batch)]
    return torch.cat([one.mean.cpu() for one in posteriors]), torch.cat([one.std.cpu() for one in posteriors])


@torch.no_grad()
def reconstruction_error(network: Any, images: Tensor, mean: Tensor, device: str, batch: int) -> float:
    """Returns the root mean square error, on the scale [0, 1], of images decoded from the means of their latents."""
    total = 0.0
    for part, latent in zip(_batches(images, batch), mean.split(batch), strict=True):
        total += float((network.decode(latent.to(device)).sample.cpu().clamp(-1, 1) - part).square().sum())
    return math.sqrt(total / images.numel()) / 2


def fit_denoiser(
    network: nn.Module, latents: tuple[Tensor, Tensor], options: LatentDiffusionOptions, plan: Plan
) -> tuple[nn.Module, dict[str, Any]]:
    """Trains stage 2 to predict eps (or v) from z_t, t uniform in 0 .. T - 1, z_0 from the frozen autoencoder's posterior.

    latents: mean and standard deviation, already scaled, (N, c, h, w) each; twice as many if mirrored images are used.
    Returns the network used for sampling (the average if options.ema > 0) and the loss record."""
    network.to(plan.device)
    mean, spread = latents
    batch = min(options.batch, len(mean))
    bars = alpha_bars(options.train_times, *options.beta)

    def loss_of(step: int) -> Tensor:
        generator = seeded_generator(plan.seed, plan.name, step)
        drawn = positions(len(mean), batch, step, derive_seed(plan.seed, plan.name))
        clean = mean[drawn] + spread[drawn] * torch.randn(mean[drawn].shape, generator=generator)
        times = torch.randint(options.train_times, (batch,), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        noisy = noised(clean, noise, bars[times]).to(plan.device)
        predicted = network(noisy, times.to(plan.device)).sample
        goal = noise if options.predict == "noise" else velocity(clean, noise, bars[times])
        target = goal.to(plan.device)
        return F.mse_loss(predicted, target) if options.loss == "l2" else F.l1_loss(predicted, target)

    average = copy.deepcopy(network).requires_grad_(False) if options.ema > 0 else None
    started = time.perf_counter()
    optimiser = torch.optim.AdamW(network.parameters(), options.unet_lr)
    course = _run(network, optimiser, loss_of, options, plan, average)
    return (network if average is None else average), {**course.record(), "seconds": time.perf_counter() - started}
