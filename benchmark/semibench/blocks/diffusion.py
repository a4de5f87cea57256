"""Gaussian diffusion of label maps, with a network that predicts the clean map (Ho et al., NeurIPS 2020; Song et al.,
ICLR 2021)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

CleanGuess = Callable[[Tensor, Tensor], Tensor]
"""(noisy map (B, K, *spatial), step (B,) int64) -> estimate of the clean map, of the same shape."""


class LabelDiffusion(nn.Module):
    """A linear noise schedule, with the forward process and deterministic sampling (DDIM).

    The table of the schedule is not part of the state.

    Args:
        steps: number of steps.
        first: variance beta of the first step.
        last: variance beta of the last step.

    Raises:
        ValueError: unless steps >= 2 and 0 < first <= last < 1.
    """

    kept: Tensor
    """(steps,): the share of the signal that is kept, kept[t] = prod_{s <= t} (1 - beta_s)."""

    def __init__(self, steps: int = 1000, first: float = 1e-4, last: float = 2e-2) -> None:
        super().__init__()
        if steps < 2 or not 0.0 < first <= last < 1.0:
            raise ValueError(f"expected steps >= 2 and 0 < first <= last < 1, got {steps}, {first}, {last}")
        self.steps = steps
        betas = torch.linspace(first, last, steps, dtype=torch.float64)
        self.register_buffer("kept", (1.0 - betas).cumprod(0).float(), persistent=False)

    def draw(self, count: int) -> Tensor:
        """Draw steps, uniform over the schedule.

        Args:
            count: number of steps to draw.

        Returns:
            int64 (count,), on the schedule's device.
        """
        return torch.randint(self.steps, (count,), device=self.kept.device)

    def noised(self, clean: Tensor, time: Tensor, noise: Tensor | None = None) -> Tensor:
        """Add noise: x_t = sqrt(kept_t) x_0 + sqrt(1 - kept_t) eps (Ho et al., eq. 4).

        Args:
            clean: x_0, (B, K, *spatial).
            time: steps t, int64 (B,).
            noise: eps, of the shape of `clean`; drawn from a standard normal distribution by default.

        Returns:
            x_t, (B, K, *spatial).
        """
        kept = self.kept[time].view(-1, *[1] * (clean.ndim - 1))
        noise = torch.randn_like(clean) if noise is None else noise
        return kept.sqrt() * clean + (1.0 - kept).sqrt() * noise

    def spaced(self, count: int) -> list[int]:
        """Spread steps evenly over the schedule, from 0 to the last, rounded (10 of 1000: 0, 111, ..., 999).

        Args:
            count: number of steps.

        Raises:
            ValueError: unless 2 <= count <= steps.
        """
        if not 2 <= count <= self.steps:
            raise ValueError(f"expected 2 to {self.steps} sampling steps, got {count}")
        return [round(number * (self.steps - 1) / (count - 1)) for number in range(count)]

    def back(self, noisy: Tensor, clean: Tensor, time: int, earlier: int | None) -> Tensor:
        """Take one deterministic DDIM step (Song et al., eq. 12 with sigma 0).

        Args:
            noisy: x_t, (B, K, *spatial).
            clean: the estimate of x_0, of the same shape.
            time: the step t of `noisy`.
            earlier: the step to go to; None: the clean map.

        Returns:
            The map at `earlier`, (B, K, *spatial).
        """
        if earlier is None:
            return clean
        now, then = self.kept[time], self.kept[earlier]
        noise = (noisy - now.sqrt() * clean) / (1.0 - now).sqrt()
        return then.sqrt() * clean + (1.0 - then).sqrt() * noise

    def ddim(
        self, guess: CleanGuess, start: Tensor, *, count: int = 10, bounds: tuple[float, float] | None = (-1.0, 1.0)
    ) -> Tensor:
        """Sample a clean map by DDIM on evenly spaced steps.

        Args:
            guess: estimates the clean map.
            start: the noise to start from, (B, K, *spatial).
            count: number of steps.
            bounds: (low, high) to clip the estimates to; None: they are not clipped.

        Returns:
            The clean map, (B, K, *spatial).
        """
        noisy, times = start, self.spaced(count)
        for number in reversed(range(count)):
            time = torch.full((len(start),), times[number], device=start.device, dtype=torch.int64)
            clean = guess(noisy, time).float()
            clean = clean if bounds is None else clean.clamp(*bounds)
            noisy = self.back(noisy, clean, times[number], times[number - 1] if number else None)
        return noisy
