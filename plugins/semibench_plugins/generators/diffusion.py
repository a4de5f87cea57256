"""Denoising diffusion in closed form: schedule, forward process, DDIM. Pure functions of tensors.

We don't use diffusers' DDIMScheduler: with the time steps of the MGCC pipeline, linspace(0, T - 1, n), it steps to
t - T // n, which isn't the next time that it visits. The code here steps to the next time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Predict = Callable[[Tensor, Tensor], Tensor]
"""(noisy latents (B, ...), times int64 (B,)) -> predicted noise (B, ...)."""


def alpha_bars(steps: int, low: float, high: float) -> Tensor:
    """float64 (steps,): abar_t = prod_{s <= t} (1 - beta_s), beta "scaled linear": linear in its square root from `low`
    to `high` (Rombach et al., CVPR 2022)."""
    betas = torch.linspace(math.sqrt(low), math.sqrt(high), steps, dtype=torch.float64).square()
    return (1.0 - betas).cumprod(0)


def noised(clean: Tensor, noise: Tensor, bars: Tensor) -> Tensor:
    """z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps. bars: abar_t of each sample, (B,)."""
    shape = (-1, *[1] * (clean.ndim - 1))
    signal, spread = bars.sqrt().to(clean).view(shape), (1.0 - bars).sqrt().to(clean).view(shape)
    return signal * clean + spread * noise


def velocity(clean: Tensor, noise: Tensor, bars: Tensor) -> Tensor:
    """v = sqrt(abar_t) eps - sqrt(1 - abar_t) z_0 (Salimans & Ho, ICLR 2022). bars: (B,)."""
    return noised(noise, -clean, bars)


def noise_of_velocity(velocities: Tensor, noisy: Tensor, bars: Tensor) -> Tensor:
    """eps = sqrt(abar_t) v + sqrt(1 - abar_t) z_t, for a denoiser that predicts v. bars: (B,)."""
    return noised(velocities, noisy, bars)


def ddim_times(train_steps: int, steps: int) -> list[int]:
    """Returns `steps` evenly spaced times from train_steps - 1 down to 0 (for one step, only the last time)."""
    if not 1 <= steps <= train_steps:
        raise ValueError(f"DDIM takes between 1 and {train_steps} steps, got {steps}")
    if steps == 1:
        return [train_steps - 1]
    return torch.linspace(0, train_steps - 1, steps, dtype=torch.float64).round().long().flip(0).tolist()


def ddim(
    predict: Predict,
    start: Tensor,
    bars: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    draw: Callable[[], Tensor] | None = None,
    clip: float | None = None,
    advance: Callable[[], None] | None = None,
) -> Tensor:
    """Denoises `start` (B, ...) along descending `times`; after the last, abar = 1 (Song et al., ICLR 2021, Eq. 12).

    x0 = (z_t - sqrt(1 - abar_t) e) / sqrt(abar_t);  z_s = sqrt(abar_s) x0 + sqrt(1 - abar_s - sigma^2) e + sigma n,
    sigma = eta sqrt((1 - abar_t / abar_s) (1 - abar_s) / (1 - abar_t)). eta 0: deterministic; 1: like the ancestral
    sampler. draw: returns n, needed for eta > 0. clip: bound on |x0|; latents are not in [-1, 1], so leave it off.
    """
    if eta > 0 and draw is None:
        raise ValueError("eta > 0 needs `draw`, a function that returns noise")
    current = start
    for position, time in enumerate(times):
        bar = float(bars[time])
        later = float(bars[times[position + 1]]) if position + 1 < len(times) else 1.0
        noise = predict(current, torch.full((len(current),), time, dtype=torch.long, device=current.device))
        clean = (current - math.sqrt(1.0 - bar) * noise) / math.sqrt(bar)
        if clip is not None:
            clean = clean.clamp(-clip, clip)
        sigma = eta * math.sqrt(max((1.0 - bar / later) * (1.0 - later) / (1.0 - bar), 0.0))
        current = math.sqrt(later) * clean + math.sqrt(max(1.0 - later - sigma**2, 0.0)) * noise
        if sigma > 0 and draw is not None:
            current = current + sigma * draw()
        if advance is not None:
            advance()
    return current
