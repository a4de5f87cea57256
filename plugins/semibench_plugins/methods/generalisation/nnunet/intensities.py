"""The changes of intensity of nnU-Net's augmentation, for whole batches in 2D and 3D. Random numbers come from torch's global
stream, which the harness seeds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench.blocks import gaussian_blur

CHANCES = {
    "noise": 0.1,
    "blur": 0.2,
    "brightness": 0.15,
    "contrast": 0.15,
    "low-resolution": 0.25,
    "inverted": 0.1,
    "gamma": 0.3,
}
"""Change -> its probability for a sample, in the order in which they are applied."""
OF_CHANNELS = {"blur": 0.5, "low-resolution": 0.5}
"""Change -> its probability for each channel of a sample that it was drawn for; otherwise it changes all of them."""
NOISE = 0.1
"""Largest standard deviation of the noise, in units of the sample's."""
SIGMA = (0.5, 1.0)
"""Range of the blur's width in voxels."""
FACTOR = (0.75, 1.25)
"""Range of the factors on brightness and contrast."""
ZOOM = (0.5, 1.0)
"""Range of the factor on the resolution."""
EXPONENT = (0.7, 1.5)
"""Range of the exponent of the gamma curve, which is as often below 1 as above."""
ANISOTROPIC = 3.0
"""How many times as long as a side of a volume the longest may be, for the resolution to be lowered along that side, too."""


def augmented(image: Tensor, valid: Tensor) -> Tensor:
    """Applies each change of `CHANCES` with its probability and a strength of its own to each sample.

    noise: + s N(0, 1), s ~ U(0, .1). blur: Gaussian. brightness: x f. contrast: mean + f (x - mean), clipped to the sample's
    range. low-resolution: nearest voxels on a grid of z times the sides, linear interpolation back. Blur and low resolution
    come to half of the channels. gamma: the sample scaled to [0, 1], x^g, scaled back, with the mean and deviation from
    before; inverted: the same of -x. All channels of a sample have one strength and one range (published: each has its own).

    image: (B, C, *spatial), which stays as it is. valid: bool (B, *spatial); padding is 0 in the result.
    """
    chance, strength = torch.rand(2, len(CHANCES), len(image), dtype=torch.float64)
    result = image.clone()
    for number, (name, probability) in enumerate(CHANCES.items()):
        rows = (chance[number] < probability).nonzero()[:, 0]
        if len(rows):
            place = rows.to(image.device)
            new = changed(name, result[place], strength[number, rows]).to(image.dtype)
            if name in OF_CHANNELS:
                drawn = (torch.rand(new.shape[:2]) < OF_CHANNELS[name]).to(image.device)
                new = torch.where(drawn.view(*new.shape[:2], *[1] * (new.ndim - 2)), new, result[place])
            result[place] = new
    return result * valid.unsqueeze(1)


def changed(name: str, image: Tensor, strength: Tensor) -> Tensor:
    """One change of all samples. strength: (B,), where in its range the parameter of a sample lies, in [0, 1]."""
    match name:
        case "noise":
            return image + _like(NOISE * strength, image) * _moments(image)[1] * torch.randn_like(image)
        case "blur":
            return gaussian_blur(image, _between(SIGMA, strength), radius=3)
        case "brightness":
            return image * _like(_between(FACTOR, strength), image)
        case "contrast":
            mean, (low, high) = _moments(image)[0], _ends(image)
            return (mean + _like(_between(FACTOR, strength), image) * (image - mean)).clamp(low, high)
        case "low-resolution":
            zooms = _between(ZOOM, strength).tolist()
            return torch.cat([lower_resolution(image[[row]], zoom) for row, zoom in enumerate(zooms)])
        case "inverted":
            return -curved(-image, _like(exponent(strength), image))
        case _:
            return curved(image, _like(exponent(strength), image))


def lower_resolution(image: Tensor, zoom: float) -> Tensor:
    """(B, C, *spatial) with the details of a grid of `zoom` times the sides; a volume of far fewer slices keeps all of them."""
    size = image.shape[2:]
    flat = [len(size) == 3 and max(size) > ANISOTROPIC * side for side in size]
    sides = [side if kept else max(1, round(zoom * side)) for side, kept in zip(size, flat, strict=True)]
    small = F.interpolate(image, sides, mode="nearest-exact")
    return F.interpolate(small, size, mode=("bilinear", "trilinear")[image.ndim - 4])


def curved(image: Tensor, exponent: Tensor) -> Tensor:
    """x^g on the range of each sample, with the mean and the deviation that it had."""
    low, high = _ends(image)
    span = (high - low).clamp_min(1e-7)
    result = ((image - low) / span).clamp(0.0, 1.0) ** exponent * span + low
    (mean, deviation), (own_mean, own_deviation) = _moments(image), _moments(result)
    return (result - own_mean) / own_deviation.clamp_min(1e-8) * deviation + mean


def exponent(strength: Tensor) -> Tensor:
    """(B,) in [0, 1] -> exponents of the gamma curve: the lower half of [0, 1] lies below 1, the upper half above."""
    low, high = EXPONENT
    return torch.where(strength < 0.5, low + (1.0 - low) * 2.0 * strength, 1.0 + (high - 1.0) * (2.0 * strength - 1.0))


def _between(ends: tuple[float, float], strength: Tensor) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * strength


def _like(values: Tensor, image: Tensor) -> Tensor:
    return values.to(image.dtype).to(image.device).view(-1, *[1] * (image.ndim - 1))


def _moments(image: Tensor) -> tuple[Tensor, Tensor]:
    over = tuple(range(1, image.ndim))
    return image.mean(over, keepdim=True), image.std(over, correction=0, keepdim=True)


def _ends(image: Tensor) -> tuple[Tensor, Tensor]:
    over = tuple(range(1, image.ndim))
    return image.amin(over, keepdim=True), image.amax(over, keepdim=True)
