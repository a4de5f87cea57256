"""Perturbations of feature maps, for cross-consistency (CCT, MGCC). They have no effect in eval mode."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FeatureNoise(nn.Module):
    """Multiplies features by noise: x -> x + x n with n ~ U(-amount, amount) of shape (C, *spatial).

    All samples of a batch share one draw (Ouali et al., CVPR 2020, section 3.3; as in SSL4MIS). In eval mode it is the
    identity.

    Args:
        amount: largest absolute value of n.
    """

    def __init__(self, amount: float = 0.3) -> None:
        super().__init__()
        self.amount = amount

    def forward(self, features: Tensor) -> Tensor:
        """Perturb the features.

        Args:
            features: (B, C, *spatial).

        Returns:
            The same shape; each factor lies in [1 - amount, 1 + amount].
        """
        if not self.training:
            return features
        noise = torch.empty_like(features[0]).uniform_(-self.amount, self.amount)
        return features * (1.0 + noise)

    def extra_repr(self) -> str:
        return f"amount={self.amount}"


class FeatureDropout(nn.Module):
    """Drops the most active positions (Ouali et al., CVPR 2020; as in SSL4MIS).

    With the channel mean a (B, 1, *spatial), a position is kept where a < max(a) * u, u ~ U(low, high). The maximum is
    taken for each sample, u is drawn once for each call. Every sample whose largest mean is positive loses at least one
    position; a map of negative means loses none. Features are not rescaled. In eval mode it is the identity.

    Args:
        low: low end of the threshold's range.
        high: high end of the threshold's range.
    """

    def __init__(self, low: float = 0.7, high: float = 0.9) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, features: Tensor) -> Tensor:
        """Drop positions.

        Args:
            features: (B, C, *spatial).

        Returns:
            The same shape, 0 at the dropped positions.
        """
        if not self.training:
            return features
        activity = features.detach().mean(1, keepdim=True)
        share = torch.empty((), device=features.device, dtype=activity.dtype).uniform_(self.low, self.high)
        threshold = activity.flatten(1).amax(1).view(-1, *[1] * (features.ndim - 1)) * share
        return features * (activity < threshold)

    def extra_repr(self) -> str:
        return f"low={self.low}, high={self.high}"
