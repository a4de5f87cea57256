"""Edge prototype attention of CSC-PA with the adaptive edge container (section 3.3, equations 7 to 10)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Softmax = Literal["hw", "row"]
Start = Literal["mean", "random"]


def edge_map(mask: Tensor) -> Tensor:
    """Edge pixels of binary maps, bool (B, H, W): those with 1 to 7 foreground pixels among their 8 neighbours. Outside the
    image counts as background. A centred 3 x 3 square in 5 x 5 pixels has 24 of them, all but its centre."""
    ones = torch.ones(1, 1, 3, 3, device=mask.device)
    inside = mask.float().unsqueeze(1)
    around = (F.conv2d(inside, ones, padding=1) - inside).squeeze(1).round()
    return (around > 0) & (around < 8)


def class_edges(label: Tensor, classes: int) -> Tensor:
    """Edge pixels of any foreground class of label maps (B, H, W)."""
    edges = torch.zeros_like(label, dtype=torch.bool)
    for kind in range(1, classes):
        edges |= edge_map(label == kind)
    return edges


def pick(features: Tensor, mask: Tensor, count: int) -> Tensor:
    """At most `count` random pixels of a mask: features (B, C, H, W), bool (B, H, W) -> (m, C), m <= count, detached."""
    rows = features.detach().movedim(1, -1)[mask]
    return rows[torch.randperm(len(rows), device=rows.device)[:count]].float()


class EdgeContainer(nn.Module):
    """C_h, the memory of edge features: n slots of C channels; the first `filled` slots hold features.

    C_h = L(Concat(E_h, C_{h-1})) (equation 7), with L linear over the slots, 2n -> n, the same for every channel. This
    applies if both have n rows; a full E_h replaces a container that isn't full; otherwise the container stays the same.
    start "mean": L starts as the mean of old and new slot (0.5 [I, I], bias 0); "random": torch's default. learns: False
    freezes L, as in the released code (which detaches its container).
    """

    slots: Tensor
    filled: Tensor
    pending: Tensor
    waiting: Tensor

    def __init__(self, count: int, channels: int, *, start: Start = "random", learns: bool = True) -> None:
        super().__init__()
        self.count = count
        self.mix = nn.Linear(2 * count, count)
        if start == "mean":
            with torch.no_grad():
                self.mix.weight.copy_(0.5 * torch.eye(count).repeat(1, 2))
                self.mix.bias.zero_()
        self.mix.requires_grad_(learns)
        for name, number in (("slots", "filled"), ("pending", "waiting")):
            self.register_buffer(name, torch.zeros(count, channels))
            self.register_buffer(number, torch.zeros((), dtype=torch.int64))

    def held(self) -> Tensor:
        """The filled slots, (filled, C)."""
        return self.slots[: int(self.filled)].clone()

    def fill(self, edges: Tensor) -> None:
        """Replaces the content with up to n rows (m, C); does nothing if there are none."""
        if len(edges):
            self._keep(edges)

    def update(self, edges: Tensor) -> Tensor:
        """E_h (m, C) -> the slots to use now, (filled, C), with gradient to L; the stored copy has none."""
        held = self.held()
        full = len(edges) == self.count
        if full and len(held) == self.count:
            mixed = self.mix(torch.cat([edges, held]).T).T
        else:
            mixed = edges if full else held
        self._keep(mixed)
        return mixed

    def postpone(self, edges: Tensor) -> None:
        """Keeps E_h (m, C) for the next iteration (the code's order)."""
        self.pending.zero_()
        self.pending[: len(edges)] = edges
        self.waiting.fill_(len(edges))

    def postponed(self) -> Tensor:
        """The edges that `postpone` kept, (m, C)."""
        return self.pending[: int(self.waiting)].clone()

    @torch.no_grad()
    def _keep(self, rows: Tensor) -> None:
        self.slots.zero_()
        self.slots[: len(rows)] = rows.detach()
        self.filled.fill_(len(rows))


def edge_attention(
    features: Tensor, slots: Tensor, *, softmax: Softmax = "hw", temperature: float = 1.0, gain: float = 1.0
) -> Tensor:
    """F_e (B, C, H, W) = gain * Phi_e * P_e (equations 8 to 10): P_e is the mean of the slots (m, C), Phi_e the softmax of
    cos(P_e, F_i) / temperature over all positions of an image ("hw"), or over the rows of each column ("row", the code).
    Zero if there are no slots. Over many positions Phi_e is small: at most e^2 / 16641 on 129 x 129."""
    if not len(slots):
        return torch.zeros_like(features)
    prototype = slots.mean(0).to(features.dtype)
    cosine = torch.einsum("bchw,c->bhw", F.normalize(features, dim=1), F.normalize(prototype, dim=0)) / temperature
    weights = cosine.flatten(1).softmax(1).view_as(cosine) if softmax == "hw" else cosine.softmax(1)
    return gain * weights.unsqueeze(1) * prototype[:, None, None]
