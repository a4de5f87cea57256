"""Gaussian diffusion of label maps by a network that predicts the clean map (Ho et al., NeurIPS 2020; Song et al.,
ICLR 2021)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

CleanGuess = Callable[[Tensor, Tensor], Tensor]
"""(noisy map (B, K, *spatial), step (B,) int64) -> guess of the clean map, of the same shape."""


class LabelDiffusion(nn.Module):
    """Gaussian diffusion of label maps with a network that predicts the clean map (Ho et al., NeurIPS 2020).

    The schedule has `steps` variances beta, linear from `first` to `last`; kept[t] = prod_{s <= t} (1 - beta_s). It is not part
    of the saved state.

    Args:
        steps: length of the schedule, at least 2.
        first: first variance.
        last: last variance, below 1.

    Raises:
        ValueError: if steps < 2 or not 0 < first <= last < 1.

    Examples:
        >>> LabelDiffusion(1000).noised(torch.zeros(2, 4, 8, 8), time=torch.tensor([0, 999])).shape
        torch.Size([2, 4, 8, 8])
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
        """Draws `count` steps (count,) uniformly over the schedule, on the schedule's device."""
        return torch.randint(self.steps, (count,), device=self.kept.device)

    def noised(self, clean: Tensor, time: Tensor, noise: Tensor | None = None) -> Tensor:
        """x_t = sqrt(kept_t) x_0 + sqrt(1 - kept_t) eps.

        Args:
            clean: x_0, (B, K, *spatial).
            time: t, int64 (B,).
            noise: eps, standard normal, of the shape of `clean`; drawn if not given.

        Returns:
            x_t, (B, K, *spatial).
        """
        kept = self.kept[time].view(-1, *[1] * (clean.ndim - 1))
        noise = torch.randn_like(clean) if noise is None else noise
        return kept.sqrt() * clean + (1.0 - kept).sqrt() * noise

    def spaced(self, count: int) -> list[int]:
        """`count` steps from 0 to the last, evenly spaced and rounded (10 of 1000: 0, 111, ..., 999).

        Raises:
            ValueError: if count is not between 2 and `steps`.
        """
        if not 2 <= count <= self.steps:
            raise ValueError(f"expected 2 to {self.steps} sampling steps, got {count}")
        return [round(number * (self.steps - 1) / (count - 1)) for number in range(count)]

    def back(self, noisy: Tensor, clean: Tensor, time: int, earlier: int | None) -> Tensor:
        """Takes one step of DDIM (Song et al., ICLR 2021; eta 0) from `time` to `earlier`.

        Args:
            noisy: map at `time`, (B, K, *spatial).
            clean: guess of the clean map, (B, K, *spatial).
            time: current step.
            earlier: next step; None: the clean map.

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
        """Samples a clean map by deterministic DDIM on steps that are spread evenly over the schedule.

        Args:
            guess: called with the noisy map (B, K, *spatial) and the step (B,); returns the guessed clean map.
            start: noise, (B, K, *spatial).
            count: number of steps.
            bounds: range to which guesses are clipped; None: no clipping.

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
