"""Features as a mixture of von Mises-Fisher kernels: directions that stand for recurring parts of images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class VMFKernels(nn.Module):
    """Kernels mu_j, and how strongly each of them explains the features at each position (vMFNet).

    Activations: a_j = exp(kappa cos(f, mu_j)) where the cosine is positive, else 0, divided by their sum over j. Positions
    whose cosines are all negative have activations of 0. The kernels are normalised in the cosine, but not in `recomposed`.

    Args:
        count: number of kernels.
        channels: length of a feature.
        kappa: concentration of the kernels.

    Examples:
        >>> kernels = VMFKernels(2, 2)
        >>> with torch.no_grad(): _ = kernels.kernels.copy_(torch.eye(2))
        >>> kernels(torch.tensor([[[5.0, -5.0], [0.0, 0.0]]]))[0].tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """

    def __init__(self, count: int, channels: int, kappa: float = 30.0) -> None:
        super().__init__()
        self.kappa = kappa
        self.kernels = nn.Parameter(F.normalize(torch.randn(count, channels), dim=1))

    def cosines(self, features: Tensor) -> Tensor:
        """Maps features (B, channels, *spatial) to cosines with the kernels (B, count, *spatial), at least float32."""
        directions = F.normalize(features.float(), dim=1)
        return torch.einsum("bd...,jd->bj...", directions, F.normalize(self.kernels.float(), dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """Maps features (B, channels, *spatial) to activations (B, count, *spatial)."""
        return self.activations(self.cosines(features))

    def activations(self, cosines: Tensor) -> Tensor:
        """Maps cosines (B, count, *spatial) to activations. The largest exponent is 0: e^30 has no place in half precision."""
        weights = (self.kappa * (cosines - cosines.detach().amax(1, keepdim=True))).exp() * (cosines > 0)
        return weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)

    def recomposed(self, activations: Tensor) -> Tensor:
        """Maps activations to features: the sum of a_j mu_j, with the kernels as they are."""
        return torch.einsum("bj...,jd->bd...", activations, self.kernels.float())

    def distance(self, features: Tensor) -> Tensor:
        """1 - cos of each feature and its nearest kernel: summed over images, a mean over positions. Features are constants."""
        nearest = self.cosines(features.detach()).amax(1)
        return (1.0 - nearest).flatten(1).mean(1).sum()


@torch.no_grad()
def fit_vmf_mixture(
    features: Tensor, count: int, *, kappa: float = 30.0, iterations: int = 150, tolerance: float = 5e-5
) -> Tensor:
    """Fits the directions of a mixture of von Mises-Fisher distributions with one fixed concentration.

    Starts with k-means++ on the cosine distance (each further centre is drawn with probability proportional to the squared
    distance from the nearest one), then alternates the shares p_j ~ pi_j exp(kappa cos) with the normalised means of the
    features weighted by them, until the mean log-likelihood gains less than the tolerance.

    Args:
        features: (N, channels).
        count: number of directions.
        kappa: the concentration.
        iterations: the largest number of alternations.
        tolerance: gain at which to stop.

    Returns:
        Unit vectors (count, channels). A direction that no feature is close to keeps its place.

    Raises:
        ValueError: if there are fewer features than directions.

    Examples:
        >>> ring = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
        >>> fit_vmf_mixture(ring, 2).sort(0).values.round().abs()
        tensor([[0., 0.],
                [1., 1.]])
    """
    if len(features) < count:
        raise ValueError(
            f"{count} directions need at least as many features, got {len(features)}: fit fewer directions"
        )
    points = F.normalize(features.float(), dim=1)
    centres = [int(torch.randint(len(points), ()))]
    nearest = 1.0 - points @ points[centres[0]]
    for _ in range(count - 1):
        weights = nearest.clamp_min(0.0).square() + torch.finfo(nearest.dtype).tiny
        centres.append(int(_drawn(weights)))
        nearest = torch.minimum(nearest, 1.0 - points @ points[centres[-1]])
    means = points[centres]
    log_shares = torch.full((count,), 1.0 / count, device=points.device).log()
    before = -torch.inf
    for _ in range(iterations):
        joint = kappa * points @ means.T + log_shares
        likelihood = joint.logsumexp(1)
        shares = (joint - likelihood[:, None]).exp()
        means = F.normalize(shares.T @ points + 1e-12 * means, dim=1)
        log_shares = (shares.mean(0) + 1e-12).log()
        now = float(likelihood.mean())
        if now - before < tolerance:
            break
        before = now
    return means


def _drawn(weights: Tensor) -> Tensor:
    """Draws an index with probability proportional to the weights (N,), of which there may be more than `multinomial` takes."""
    reached = weights.double().cumsum(0)
    goal = torch.rand((), dtype=torch.float64).to(weights.device) * reached[-1]
    return torch.searchsorted(reached, goal).clamp_max(len(weights) - 1)
