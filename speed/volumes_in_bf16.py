"""Compares the weight gradients of 3D convolutions in bfloat16 on the CPU with those in float32:

python speed/volumes_in_bf16.py

Prints the sizes of maps whose gradients differ by more than rounding. With AVX512-BF16 and torch 2.13 these are the maps with a
depth of two, which is why `precision=bf16` is refused for volumes on a processor (semibench.training.low_precision).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

CHANNELS = 16
ROUNDING = 0.1
"""The largest relative difference that bfloat16, with 8 bits of precision, explains."""


def weight_gradient(size: tuple[int, ...], *, half: bool) -> Tensor:
    """Returns the gradient of the mean square of a convolution's outputs by its weights, always of the same inputs."""
    torch.manual_seed(0)
    convolution, images = torch.nn.Conv3d(CHANNELS, CHANNELS, 3, padding=1), torch.randn(2, CHANNELS, *size)
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False, enabled=half):
        loss = convolution(images).float().square().mean()
    return torch.autograd.grad(loss, [convolution.weight])[0]


def main() -> None:
    print(f"torch {torch.__version__}, AVX512-BF16: {torch.cpu.get_capabilities().get('avx512_bf16', False)}")
    for size in itertools.product((1, 2, 3, 4, 8), (2, 4, 8), (2, 4, 8)):
        right, found = weight_gradient(size, half=False), weight_gradient(size, half=True)
        difference = float((found - right).abs().max() / right.abs().max())
        if not difference < ROUNDING:  # NaN counts
            print(f"{' x '.join(map(str, size))}: differs by {difference:.2g} of the largest")


if __name__ == "__main__":
    main()
