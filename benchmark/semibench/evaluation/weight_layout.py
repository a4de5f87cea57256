"""Lay the weights of convolutions out for inference on a CPU: channels last, as the recipes of short runs train them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from semibench.evaluation.network import Network, Predictor, probabilities
from semibench.evaluation.scoring import evaluating
from semibench.training.precision import weights_channels_last

SLOW_NORMS = (nn.InstanceNorm2d, nn.InstanceNorm3d)
"""torch computes them by image, for which channels last must be copied: with them, a forward pass takes longer in channels last
(`python speed/memory_formats.py --norm instance --passes`)."""

ROUNDING = 1e-3
"""Largest difference of probabilities by which two layouts may round differently."""


def lay_out(model: nn.Module, predictors: Mapping[str, Predictor], network: Network, channels: int) -> bool:
    """Lay the weights of a model out as channels last where its convolutions are faster in this way, in place.

    On a CPU networks with batch norm are faster in this way (`python speed/memory_formats.py --passes`). Values don't change,
    probabilities do by float rounding. Random images are predicted in both layouts: if a predictor fails in the new one, or
    finds something else, the weights stay as they are. Models on other devices, with instance norm, or with most weights
    outside convolutions aren't touched.

    Args:
        model: its weights are laid out anew.
        predictors: images to logits.
        network: what inference knows about the network.
        channels: channels of the images of cases.

    Returns:
        Whether the weights of convolutions are channels last now.
    """
    weights = [*model.parameters(), *model.buffers()]
    kernels = [weight for weight in weights if weight.ndim in (4, 5)]
    if (
        torch.device(network.device).type != "cpu"
        or network.whole_cases
        or any(isinstance(module, SLOW_NORMS) for module in model.modules())
        or 2 * sum(map(torch.numel, kernels)) < sum(map(torch.numel, weights))
    ):
        return False
    if all(_is_channels_last(kernel) for kernel in kernels):
        return True
    sides = [-(-side // network.divisor) * network.divisor for side in network.patch]
    images = torch.rand(2, channels * network.slab, *sides, generator=torch.Generator().manual_seed(0))
    before = [weight.data for weight in weights]
    try:
        apart = _found(model, predictors, images)
        weights_channels_last(model)
        fits = all(map(_alike, apart, _found(model, predictors, images)))
    except (
        Exception
    ):  # networks of others may ask for a layout, for example by `view`; scoring tells what else is wrong
        fits = False
    if not fits:
        for weight, data in zip(weights, before, strict=True):
            weight.data = data
    return fits


def _found(model: nn.Module, predictors: Mapping[str, Predictor], images: Tensor) -> list[Tensor]:
    with evaluating(model, *predictors.values()):
        return [probabilities(predictor, images) for predictor in predictors.values()]


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one - other).abs() <= ROUNDING).all())


def _is_channels_last(kernel: Tensor) -> bool:
    return kernel.is_contiguous(memory_format=(torch.channels_last, torch.channels_last_3d)[kernel.ndim - 4])
