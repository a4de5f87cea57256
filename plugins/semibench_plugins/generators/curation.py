"""Selects synthetic images by a fixed rule; in the MGCC paper professionals select them.

A sample is *memorised* if it is much nearer to a training image than training images are to each other, and *unrealistic*
if it is farther from every training image than two training images typically are from each other. Both distances are fixed
functions without learned weights; both thresholds come from the training images. Nothing else is considered.

likeness (for copies): 32 x 32 grey images, mean removed, norm 1; |a - b| = sqrt(2 - 2 correlation), so that brightness and
contrast don't hide a copy; mirrored training images count as well.
realism: the average of three blocks of features, each scaled so that two training images have mean square distance 1:
layout (16 x 16 grey image projected on the principal components of the training images, and the residual), grey levels
(square roots of a 16-bin histogram), texture (log standard deviation of four band-passes in 2 x 2 parts of the image).
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from semibench import Curated, GeneratorOptions, UsageError

WORKING = 64
COPY = 32
LAYOUT = 16
BANDS = 4
BINS = 16
QUARTILES = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
EPSILON = 1e-3
"""About a quarter of an 8-bit grey level; keeps the logarithm finite for flat parts."""


class CurationOptions(GeneratorOptions, frozen=True, extra="forbid"):
    """Options of the selection rule; they enter the run key."""

    realism_quantile: float = Field(
        0.5, gt=0, le=1, description="realism threshold, as a quantile of the distances between training images"
    )
    realism_factor: float = Field(1.0, gt=0, description="factor on the realism threshold")
    copy_quantile: float = Field(
        0.05, ge=0, le=1, description="quantile of the training images' likeness distances to their nearest neighbour"
    )
    copy_factor: float = Field(
        0.5, ge=0, le=1, description="factor on that quantile; samples nearer than this are memorised"
    )
    components: int = Field(24, ge=1, description="principal components of the layout block")


def _grey(images: Tensor, side: int) -> Tensor:
    """(n, C, H, W) -> float64 (n, 1, side, side)."""
    mean = images.detach().to("cpu", torch.float32).mean(1, keepdim=True)
    return F.interpolate(mean, (side, side), mode="bilinear", antialias=True).double()


def likeness_vectors(images: Tensor) -> Tensor:
    """(n, C, H, W) -> float64 (n, 1024): small grey images with mean 0 and norm 1 (norm 0 for a constant image)."""
    flat = _grey(images, COPY).flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    return flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-9)


def _histogram(grey: Tensor) -> Tensor:
    """Square roots of the shares of `BINS` grey levels; each pixel is split linearly between its two nearest bins."""
    level = grey.flatten(1).clamp(0, 1) * (BINS - 1)
    low = level.floor().clamp(max=BINS - 2)
    part = level - low
    bins = torch.zeros(len(grey), BINS, dtype=grey.dtype)
    bins.scatter_add_(1, low.long(), 1 - part).scatter_add_(1, low.long() + 1, part)
    return (bins / level.shape[1]).sqrt()


def _bands(grey: Tensor) -> Tensor:
    """Log standard deviation of `BANDS` octaves in the four quarters of the image, (n, 4 BANDS)."""
    deviations, current = [], grey
    for _ in range(BANDS):
        coarse = F.avg_pool2d(current, 2)
        band = current - F.interpolate(coarse, current.shape[2:], mode="bilinear")
        power = F.adaptive_avg_pool2d(band.square(), 2)
        deviations.append((power.sqrt() + EPSILON).log().flatten(1))
        current = coarse
    return torch.cat(deviations, 1)


def realism_features(samples: Tensor, real: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Returns features (n, d) and (m, d) whose Euclidean distance is the realism distance (see the module docstring)."""
    blocks: list[tuple[Tensor, Tensor]] = []
    small, base = _grey(samples, LAYOUT).flatten(1), _grey(real, LAYOUT).flatten(1)
    centre = base.mean(0)
    axes = torch.linalg.svd(base - centre, full_matrices=False).Vh[: min(components, len(base) - 1)]

    def layout(images: Tensor) -> Tensor:
        inside = (images - centre) @ axes.T
        rest = (images - centre - inside @ axes).norm(dim=1, keepdim=True)
        return torch.cat([inside, rest], 1)

    blocks.append((layout(small), layout(base)))
    fine, fine_real = _grey(samples, WORKING), _grey(real, WORKING)
    blocks.append((_histogram(fine), _histogram(fine_real)))
    blocks.append((_bands(fine), _bands(fine_real)))
    ours, theirs = [], []
    for one, other in blocks:
        spread = (2.0 * other.var(0).sum() * len(blocks)).sqrt().clamp(min=1e-9)  # mean |a - b|^2 of pairs = 2 variance
        ours.append(one / spread)
        theirs.append(other / spread)
    return torch.cat(ours, 1), torch.cat(theirs, 1)


def _nearest(points: Tensor, others: Tensor) -> Tensor:
    return torch.cdist(points, others).amin(1) if len(points) else points.new_zeros(0)


def _own_nearest(points: Tensor, mirrored: Tensor | None = None) -> Tensor:
    """Returns the distance of each point to the nearest *other* point, mirrored others included."""
    distances = torch.cdist(points, points)
    if mirrored is not None:
        distances = torch.minimum(distances, torch.cdist(points, mirrored))
    return distances.fill_diagonal_(float("inf")).amin(1)


def _rounded(values: Tensor) -> list[float]:
    return [round(float(value), 4) for value in values]


def curate(samples: Tensor, real: Tensor, *, count: int, options: CurationOptions) -> Curated:
    """Keeps at most `count` of the samples (n, C, H, W) in [0, 1], compared with the training images real (m, C, H, W).

    The order of drawing decides among accepted samples, so that average images aren't favoured. If fewer than `count` are
    accepted, the least unrealistic of the rejected samples are added; memorised samples never are. record holds the
    thresholds, both distances of every sample and the counts. Raises UsageError for fewer than three training images.
    """
    if len(real) < 3:
        raise UsageError(f"curation compares training images with each other: expected at least three, got {len(real)}")
    copies, mirrored = likeness_vectors(real), likeness_vectors(real.flip(-1))
    likeness = _nearest(likeness_vectors(samples), torch.cat([copies, mirrored]))
    copy_limit = options.copy_factor * float(_own_nearest(copies, mirrored).quantile(options.copy_quantile))
    features, real_features = realism_features(samples, real, options.components)
    realism = _nearest(features, real_features)
    pairs = torch.pdist(real_features).sort().values
    realism_limit = options.realism_factor * float(pairs[round(options.realism_quantile * (len(pairs) - 1))])

    memorised = likeness <= copy_limit + 1e-6
    unrealistic = (realism > realism_limit) & ~memorised
    accepted = (~memorised & ~unrealistic).nonzero().flatten()[:count]
    spare = unrealistic.nonzero().flatten()
    fill = spare[realism[spare].argsort(stable=True)][: count - len(accepted)]
    record: dict[str, Any] = {
        "rule": "nearest-training-image",
        "options": options.model_dump(mode="json"),
        "samples": len(samples),
        "kept": len(accepted) + len(fill),
        "unrealistic": int(unrealistic.sum()),
        "memorised": int(memorised.sum()),
        "filled": len(fill),
        "realism_limit": round(realism_limit, 4),
        "copy_limit": round(copy_limit, 4),
        "realism_of_training": _rounded(_own_nearest(real_features).quantile(QUARTILES)),
        "realism": _rounded(realism),
        "likeness": _rounded(likeness),
    }
    selected = torch.cat([accepted, fill]).sort().values
    return Curated(selected, record["unrealistic"], record["memorised"], record["filled"], record)
