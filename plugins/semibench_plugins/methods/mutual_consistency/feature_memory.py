"""The memory of labeled features of CAML: for each labeled sample, features of positions that both networks got right."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FeatureMemory(nn.Module):
    """A slot for each labeled sample with at most `size` features of each class, and how many positions they stand for.

    CAML keeps every correct position of a sample, up to a million, and draws `size` of a class from all samples. A random
    `size` of them in each slot suffices for that: a draw takes no more from one slot. Between two visits of a sample, draws
    repeat its `size` features, where CAML would draw other positions.
    """

    features: Tensor
    counts: Tensor

    def __init__(self, slots: int, classes: int, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("features", torch.zeros(slots, classes, size, width))
        self.register_buffer("counts", torch.zeros(slots, classes))

    @torch.no_grad()
    def replace(self, slots: Tensor, features: Tensor, counts: Tensor) -> None:
        """Replaces what slots (B,) hold by features (B, K, n, width) with n <= size; of each class and sample the first
        min(count, n) count. counts: (B, K), how many correct positions there were. Of a slot that is given twice, the last one
        stays."""
        for slot, rows, number in zip(slots.tolist(), features.detach().float(), counts.float(), strict=True):
            self.features[slot, :, : rows.shape[1]] = rows
            self.counts[slot] = number

    @torch.no_grad()
    def draw(self) -> Tensor:
        """Draws `size` features of every class that has as many, without repetition; (m, width), class by class. Each stored
        feature is as likely as the number of positions it stands for."""
        stored = self.counts.clamp(max=self.size)
        filled = torch.arange(self.size, device=stored.device) < stored.unsqueeze(2)
        share = filled * (self.counts / stored.clamp(min=1.0)).unsqueeze(2)
        chances = share.transpose(0, 1).flatten(1)
        # the largest of chance / exponential variate: a weighted draw without repetition
        drawn = (chances / -torch.rand_like(chances).clamp(min=1e-12).log().clamp(max=-1e-12)).topk(self.size).indices
        kinds = torch.arange(len(drawn), device=drawn.device)[:, None]
        enough = stored.sum(0) >= self.size
        chosen = self.features[drawn // self.size, kinds, drawn % self.size]
        return chosen[enough].flatten(0, 1)


@torch.no_grad()
def random_positions(mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Draws positions of each row where a mask (..., n) holds.

    Returns indices (..., min(count, n)), those of the mask first, and how many positions the mask has in each row (...).
    """
    keys = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, -1.0)
    return keys.topk(min(count, mask.shape[-1])).indices, mask.sum(-1)
