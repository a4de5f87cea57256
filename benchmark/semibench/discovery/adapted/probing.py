"""What a network does to images, found out without computing anything: on torch's device "meta", tensors have shapes only."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semibench.contracts.errors import UnsupportedError, one_line

DIVISORS = (1, 2, 4, 8, 16, 32)
"""Numbers of which a network may want its sides to be multiples."""

ABOUT = 64
"""Sides of the images that are tried are a little larger."""


@dataclass(frozen=True)
class Parts:
    """How a network can be taken apart.

    last: name of its last layer, a convolution to the classes at the resolution of its input; empty if there is none. channels:
    of that layer's input. stride: of that input against the image. why: why it can't be taken apart. divisor: of the sides.
    """

    last: str
    channels: int
    stride: int
    why: str
    divisor: int


def parts_of(network: nn.Module, name: str, *, channels: int, outputs: int, patch: Sequence[int]) -> Parts:
    """Find out what a network returns, which layer ends it, and which sizes it takes. The network itself isn't changed.

    Raises:
        UnsupportedError: if it doesn't map such images to logits.
    """
    model, device = _without_values(network)
    divisor = _divisor(model, device, channels, outputs, patch)
    if any(side % divisor for side in patch):
        return Parts("", 0, 1, "", divisor)
    calls: list[tuple[str, Tensor, Tensor]] = []
    handles = []
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            handles.append(module.register_forward_hook(_recording(path, calls)))
    try:
        image = torch.zeros((2, channels, *patch), device=device)
        logits = _logits(model, image, name, outputs)
    finally:
        for handle in handles:
            handle.remove()
    ends = [(path, given) for path, given, returned in calls if returned is logits]
    if not ends:
        return Parts("", 0, 1, "what it returns isn't what a convolution returned", divisor)
    path, given = ends[-1]
    if sum(other == path for other, _, _ in calls) > 1:
        return Parts("", 0, 1, f"its last layer {path!r} is used more than once", divisor)
    if given.shape[2:] != logits.shape[2:]:
        return Parts("", 0, 1, f"its last layer {path!r} changes the resolution", divisor)
    return Parts(path, given.shape[1], max(1, round(patch[0] / logits.shape[2])), "", divisor)


def _recording(path: str, calls: list[tuple[str, Tensor, Tensor]]):  # type: ignore[no-untyped-def]
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append((path, inputs[0], output))

    return hook


def _without_values(network: nn.Module) -> tuple[nn.Module, str]:
    """Return a copy of the network on the device "meta", in eval mode; one with values if it can't be there."""
    twin = copy.deepcopy(network).eval()
    try:
        return twin.to("meta"), "meta"
    except (NotImplementedError, RuntimeError):
        return copy.deepcopy(network).eval(), "cpu"


def _logits(model: nn.Module, image: Tensor, name: str, outputs: int) -> Tensor:
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            returned = model(image)
    except Exception as error:
        raise UnsupportedError(
            f"network {name} can't take images of shape {tuple(image.shape)}: {type(error).__name__}: {one_line(error)[:300]}"
        ) from error
    expected = f"a tensor of logits (B, {outputs}, *spatial)"
    if not isinstance(returned, Tensor):
        raise UnsupportedError(f"network {name} returns a {type(returned).__name__}; expected {expected}")
    if returned.ndim != image.ndim or returned.shape[1] != outputs:
        raise UnsupportedError(f"network {name} returns the shape {tuple(returned.shape)}; expected {expected}")
    return returned


def _divisor(model: nn.Module, device: str, channels: int, outputs: int, patch: Sequence[int]) -> int:
    """Return the smallest number such that images with sides of an odd multiple of it come back at their size. A network that
    takes none of them takes the patch alone."""
    common = math.gcd(*patch)
    if device == "cpu":  # trying would take long
        return max(number for number in DIVISORS if common % number == 0)
    for number in DIVISORS:
        side = number * (2 * math.ceil(ABOUT / (2 * number)) + 1)
        image = torch.zeros((2, channels, *(side for _ in patch)), device=device)
        try:
            logits = _logits(model, image, "", outputs)
        except UnsupportedError:
            continue
        if all(side % size == 0 for size in logits.shape[2:]):
            return number
    return common
