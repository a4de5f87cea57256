"""Random intensity changes of AugSeg: a random number of changes with continuous strengths, for whole batches in 2D.

Strengths are drawn on the CPU from torch's global stream, which the harness seeds. Values are scaled to 0..1 by the range of
each image, so that any normalisation is allowed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench.blocks import colour_jitter, gaussian_blur

LUMA = (0.299, 0.587, 0.114)
LEVELS = 255
"""Greatest grey level of the 8-bit images for which the changes were published."""
Change = Callable[[Tensor, Tensor], Tensor]
"""Images (N, C, H, W) in 0..1 and a strength u in [0, 1) for each of them, on the CPU -> changed images."""


def _factor(image: Tensor, strength: Tensor) -> Tensor:
    """A factor of .05 to .95, (N, 1, 1, 1): below 1, so that contrast, brightness, colour and sharpness only fall."""
    return (0.05 + 0.9 * strength).to(image).view(-1, 1, 1, 1)


def grey(image: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 1, H, W): luma of RGB images, else the mean over channels."""
    if image.shape[1] != len(LUMA):
        return image.mean(1, keepdim=True)
    return (image * torch.tensor(LUMA).to(image).view(1, -1, 1, 1)).sum(1, keepdim=True)


def identity(image: Tensor, strength: Tensor) -> Tensor:
    """Nothing changes."""
    return image


def autocontrast(image: Tensor, strength: Tensor) -> Tensor:
    """Stretches each channel to 0..1; an even channel stays."""
    low, high = image.amin((2, 3), keepdim=True), image.amax((2, 3), keepdim=True)
    return torch.where(high > low, (image - low) / (high - low).clamp_min(1e-6), image)


def equalize(image: Tensor, strength: Tensor) -> Tensor:
    """Equalises the histogram of each channel over 256 levels by Pillow's rule."""
    levels = (image * LEVELS).round().long().flatten(2)
    counts = torch.zeros(*levels.shape[:2], LEVELS + 1, dtype=torch.int64, device=image.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    last = counts.gather(2, levels.amax(2, keepdim=True))
    step = (levels.shape[2] - last) // LEVELS
    table = (step // 2 + counts.cumsum(2) - counts) // step.clamp_min(1)
    equal = (table.clamp_max(LEVELS).gather(2, levels).to(image.dtype) / LEVELS).view_as(image)
    return torch.where(step.unsqueeze(-1) > 0, equal, image)


def blur(image: Tensor, strength: Tensor) -> Tensor:
    """Gaussian blur, sigma of .1 to 2 pixels."""
    return gaussian_blur(image, 0.1 + 1.9 * strength, radius=6)


def contrast(image: Tensor, strength: Tensor) -> Tensor:
    """Moves values towards the image's mean grey value."""
    return torch.lerp(grey(image).mean((2, 3), keepdim=True), image, _factor(image, strength))


def brightness(image: Tensor, strength: Tensor) -> Tensor:
    """Moves values towards the darkest."""
    return image * _factor(image, strength)


def colour(image: Tensor, strength: Tensor) -> Tensor:
    """Moves values towards the grey value of their pixel; changes colour images only."""
    return torch.lerp(grey(image).expand_as(image), image, _factor(image, strength))


def sharpness(image: Tensor, strength: Tensor) -> Tensor:
    """Moves values towards those of a 3 x 3 smoothing with weight 5/13 in the middle; the border stays (Pillow)."""
    kernel = torch.ones(1, 1, 3, 3).to(image)
    kernel[..., 1, 1] = 5.0
    smooth = image.clone()
    with torch.autocast(image.device.type, enabled=False):  # values keep float32 in a step in half precision
        inner = F.conv2d(image.flatten(0, 1).unsqueeze(1), kernel / 13.0)
    smooth[..., 1:-1, 1:-1] = inner.view(*image.shape[:2], *inner.shape[2:])
    return torch.lerp(smooth, image, _factor(image, strength))


def posterize(image: Tensor, strength: Tensor) -> Tensor:
    """Keeps 4 to 7 of the 8 bits of a grey level."""
    width = 2.0 ** (4.0 * strength).ceil().clamp_min(1.0).to(image).view(-1, 1, 1, 1)
    return ((image * LEVELS).round() / width).floor() * width / LEVELS


def solarize(image: Tensor, strength: Tensor) -> Tensor:
    """Inverts the grey levels from a threshold on."""
    threshold = (256.0 - (LEVELS * strength).ceil()).to(image).view(-1, 1, 1, 1)
    return torch.where(image * LEVELS < threshold, image, 1.0 - image)


def hue(image: Tensor, strength: Tensor) -> Tensor:
    """Turns the hue by up to half a turn; changes colour images only."""
    return colour_jitter(image, saturation=0.0, hue=0.5, probability=1.0) if image.shape[1] == len(LUMA) else image


CHANGES: tuple[Change, ...] = (
    identity, autocontrast, equalize, blur, contrast, brightness, colour, sharpness, posterize, solarize, hue,
)  # fmt: skip


def random_intensities(image: Tensor, *, most: int = 3, valid: Tensor | None = None) -> Tensor:
    """Applies k changes to each image, k uniform in 1 to `most`, each drawn from `CHANGES` with replacement.

    image: (B, C, H, W). valid: bool (B, H, W), False on padding, where the result is 0.
    """
    low, high = (one.view(-1, 1, 1, 1) for one in torch.aminmax(image.flatten(1), dim=1))
    span = (high - low).clamp_min(1e-6)
    scaled = (image - low) / span
    number = torch.randint(1, most + 1, (len(image),))
    for place in range(most):
        chosen, strength = torch.randint(len(CHANGES), (len(image),)), torch.rand(len(image))
        for kind in chosen[number > place].unique().tolist():
            rows = ((chosen == kind) & (number > place)).nonzero()[:, 0]
            where = rows.to(image.device)
            scaled[where] = CHANGES[kind](scaled[where], strength[rows]).clamp(0.0, 1.0)
    result = low + span * scaled
    return result if valid is None else result * valid.unsqueeze(1)
