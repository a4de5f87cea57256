"""Foreground prototype attention of CSC-PA (section 3.2, equations 1 to 6)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Softmax = Literal["positions", "channels"]
Form = Literal["block", "plain"]
Scale = Literal["sqrt_c", "none"]


def prototype_affinity(features: Tensor, softmax: Softmax = "positions") -> Tensor:
    """Phi (B, C, H, W): the cosine of each pixel with each channel's prototype (equations 1 and 2), in -1..1.

    P_c = sum_i s[c, i] F[:, i] with s = softmax(F) over the positions of each channel, N2(P_c)^T N2(F). softmax
    "channels" follows the text to the letter: s[:, i] sums to 1 at each pixel. s has no gradient. A pixel whose features
    are all 0 has cosine 0.
    """
    flat = features.flatten(2)
    scores = flat.detach().float().softmax(2 if softmax == "positions" else 1).to(flat.dtype)
    prototypes = torch.einsum("bfi,bci->bfc", flat, scores)
    return torch.einsum("bfc,bfi->bci", F.normalize(prototypes, dim=1), F.normalize(flat, dim=1)).view_as(features)


class CrossAttention(nn.Module):
    """Pixels of one image attend to those of another (equations 3 to 6).

    With A its own Phi and B the other's: softmax(Q K^T / sqrt(C)) V with Q = theta(A), K = phi(B) and V = g(A). V comes
    **from its own side**, as in paper and code: the weights over the other image's positions mix its own values at these
    positions. C is the number of channels of Q. form "block" (the code): A' = ReLU(BN(A)) and B' = ReLU(BN(B)) share one
    norm, theta, phi and g halve the channels, and the result is A' + W(...). "plain" (equation 5 to the letter): no norm,
    no W, no residual, full channels. scale "none": no division, as in the code. stride: a token averages this many pixels
    per side and the result is enlarged; the residual keeps the full resolution.
    """

    def __init__(self, channels: int, form: Form = "block", scale: Scale = "sqrt_c", stride: int = 1) -> None:
        super().__init__()
        self.form, self.scale, self.stride = form, scale, stride
        inner = max(1, channels // 2) if form == "block" else channels
        self.theta, self.phi, self.g = (nn.Conv1d(channels, inner, 1) for _ in range(3))
        if form == "block":
            self.norm, self.w = nn.BatchNorm1d(channels), nn.Conv1d(inner, channels, 1)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Phi of both images, (B, C, H, W) each -> F_f of the image itself, (B, C, H, W)."""
        if self.form == "block":
            own, other = (F.relu(self.norm(x.flatten(2))).view_as(x) for x in (own, other))
        mine, theirs = (self._tokens(x) for x in (own, other))
        q, k, v = self.theta(mine.flatten(2)), self.phi(theirs.flatten(2)), self.g(mine.flatten(2))
        mixed = attend(q, k, v, self.scale)
        if self.form == "block":
            mixed = self.w(mixed)
        mixed = mixed.unflatten(2, mine.shape[2:])
        if self.stride > 1:
            mixed = F.interpolate(mixed, own.shape[2:], mode="bilinear", align_corners=False)
        return own + mixed if self.form == "block" else mixed

    def _tokens(self, maps: Tensor) -> Tensor:
        return F.avg_pool2d(maps, self.stride, ceil_mode=True) if self.stride > 1 else maps


def attend(q: Tensor, k: Tensor, v: Tensor, scale: Scale = "sqrt_c") -> Tensor:
    """softmax(Q K^T) V over tokens, (B, C, N) each -> (B, C, N); fused, so the N x N matrix isn't stored."""
    q, k, v = (x.transpose(1, 2).unsqueeze(1) for x in (q, k, v))
    factor = None if scale == "sqrt_c" else 1.0
    return F.scaled_dot_product_attention(q, k, v, scale=factor).squeeze(1).transpose(1, 2)


class ForegroundAttention(nn.Module):
    """FPA: labeled and unlabeled images exchange foreground prototypes, with one module per direction."""

    def __init__(
        self,
        channels: int,
        *,
        form: Form = "block",
        scale: Scale = "sqrt_c",
        stride: int = 1,
        softmax: Softmax = "positions",
    ) -> None:
        super().__init__()
        self.softmax: Softmax = softmax
        self.labeled = CrossAttention(channels, form, scale, stride)
        self.unlabeled = CrossAttention(channels, form, scale, stride)

    def forward(self, labeled: Tensor, unlabeled: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, H, W) of the two halves -> F_f of each. Images are paired by position; the shorter half is
        repeated."""
        ours, theirs = (prototype_affinity(x, self.softmax) for x in (labeled, unlabeled))
        return (
            self.labeled(ours, theirs[_partners(len(ours), len(theirs), ours.device)]),
            self.unlabeled(theirs, ours[_partners(len(theirs), len(ours), ours.device)]),
        )


def _partners(count: int, others: int, device: torch.device) -> Tensor:
    return torch.arange(count, device=device) % others
