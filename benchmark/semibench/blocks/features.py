"""Perturbations of feature maps, for cross-consistency (CCT, MGCC). They have no effect in eval mode."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FeatureNoise(nn.Module):
    """Multiplies feature maps by uniform noise: x -> x + x n (Ouali et al., CVPR 2020, section 3.3; as in SSL4MIS).

    n ~ U(-amount, amount) has shape (C, *spatial), one draw for all samples of the batch. The identity in eval mode.

    Args:
        amount: greatest relative change; every factor lies in [1 - amount, 1 + amount].

    Examples:
        >>> FeatureNoise(0.3)(torch.ones(2, 16, 8, 8)).shape
        torch.Size([2, 16, 8, 8])
    """

    def __init__(self, amount: float = 0.3) -> None:
        super().__init__()
        self.amount = amount

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B, C, *spatial)."""
        if not self.training:
            return features
        noise = torch.empty_like(features[0]).uniform_(-self.amount, self.amount)
        return features * (1.0 + noise)

    def extra_repr(self) -> str:
        return f"amount={self.amount}"


class FeatureDropout(nn.Module):
    """Drops the most active positions of feature maps (Ouali et al., CVPR 2020; as in SSL4MIS).

    With the channel mean a (B, 1, *spatial), positions with a < max(a) u are kept, u ~ U(low, high). The maximum is taken for
    each sample, u is drawn once per call. A sample whose largest mean is positive loses at least one position; a map of
    negative means loses none. Values are not rescaled. The identity in eval mode.

    Args:
        low: least threshold, as a share of the maximum.
        high: largest threshold.

    Examples:
        >>> FeatureDropout()(torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 16, 8, 8])
    """

    def __init__(self, low: float = 0.7, high: float = 0.9) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B, C, *spatial)."""
        if not self.training:
            return features
        activity = features.detach().mean(1, keepdim=True)
        share = torch.empty((), device=features.device, dtype=activity.dtype).uniform_(self.low, self.high)
        threshold = activity.flatten(1).amax(1).view(-1, *[1] * (features.ndim - 1)) * share
        return features * (activity < threshold)

    def extra_repr(self) -> str:
        return f"low={self.low}, high={self.high}"
