"""Gaussian diffusion of label maps by a network that predicts the clean map (Ho et al., NeurIPS 2020; Song et al.,
ICLR 2021)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

CleanGuess = Callable[[Tensor, Tensor], Tensor]
"""(noisy map (B, K, *spatial), step (B,) int64) -> guess of the clean map, of the same shape."""


class LabelDiffusion(nn.Module):
    """The noise schedule: `steps` variances from `first` to `last`, linear; kept[t] = prod_{s <= t} (1 - beta_s).

    noised: x_t = sqrt(kept_t) x_0 + sqrt(1 - kept_t) eps. ddim: deterministic sampling (eta 0) on `count` steps spread
    evenly over the schedule (10 of 1000: 0, 111, ..., 999), with the products taken at these steps. The table is no
    part of the state.
    """

    kept: Tensor

    def __init__(self, steps: int = 1000, first: float = 1e-4, last: float = 2e-2) -> None:
        super().__init__()
        if steps < 2 or not 0.0 < first <= last < 1.0:
            raise ValueError(f"expected steps >= 2 and 0 < first <= last < 1, got {steps}, {first}, {last}")
        self.steps = steps
        betas = torch.linspace(first, last, steps, dtype=torch.float64)
        self.register_buffer("kept", (1.0 - betas).cumprod(0).float(), persistent=False)

    def draw(self, count: int) -> Tensor:
        """(count,) steps, uniform over the schedule, on the schedule's device."""
        return torch.randint(self.steps, (count,), device=self.kept.device)

    def noised(self, clean: Tensor, time: Tensor, noise: Tensor | None = None) -> Tensor:
        """clean (B, K, *spatial), time (B,) -> x_t; noise: standard normal, drawn where none is given."""
        kept = self.kept[time].view(-1, *[1] * (clean.ndim - 1))
        noise = torch.randn_like(clean) if noise is None else noise
        return kept.sqrt() * clean + (1.0 - kept).sqrt() * noise

    def spaced(self, count: int) -> list[int]:
        """`count` steps from 0 to the last, evenly spaced and rounded. Raises ValueError outside 2..steps."""
        if not 2 <= count <= self.steps:
            raise ValueError(f"expected 2 to {self.steps} sampling steps, got {count}")
        return [round(number * (self.steps - 1) / (count - 1)) for number in range(count)]

    def back(self, noisy: Tensor, clean: Tensor, time: int, earlier: int | None) -> Tensor:
        """One step of DDIM from `time` to `earlier` (None: the clean map) with the guess `clean`."""
        if earlier is None:
            return clean
        now, then = self.kept[time], self.kept[earlier]
        noise = (noisy - now.sqrt() * clean) / (1.0 - now).sqrt()
        return then.sqrt() * clean + (1.0 - then).sqrt() * noise

    def ddim(
        self, guess: CleanGuess, start: Tensor, *, count: int = 10, bounds: tuple[float, float] | None = (-1.0, 1.0)
    ) -> Tensor:
        """The clean map after `count` steps from the noise `start` (B, K, *spatial); guesses are clipped to
        `bounds`."""
        noisy, places = start, self.spaced(count)
        for number in reversed(range(count)):
            time = torch.full((len(start),), places[number], device=start.device, dtype=torch.int64)
            clean = guess(noisy, time).float()
            clean = clean if bounds is None else clean.clamp(*bounds)
            noisy = self.back(noisy, clean, places[number], places[number - 1] if number else None)
        return noisy
