"""The high-frequency Mamba module of Diff-CL (section 4.2, eq. 10), in 2D and 3D."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from semibench.blocks import Mamba

Gate = Literal["sum", "mul"]
CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORM: dict[int, type[nn.Module]] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


def radii(size: tuple[int, ...]) -> Tensor:
    """(*size) float64: distance rho of each frequency of a shifted spectrum from the centre, in units of half the length of
    each axis, divided by sqrt(dims): 0 in the middle, 1 at the corner (k = 0 in all axes) for even sizes. An axis with one
    position adds nothing."""
    axes = [(torch.arange(n, dtype=torch.float64) - n // 2) / max(n // 2, 1) for n in size]
    grid = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([axis.square() for axis in grid]).sum(0).div(len(size)).sqrt()


def high_pass(maps: Tensor, threshold: float) -> Tensor:
    """(B, C, *spatial) -> float32 of the same shape with only the frequencies rho >= threshold (eq. 10).

    The paper leaves open or omits: the shape of the mask (`radii`), the inverse shift before the inverse transform, and
    taking the real part (the mask is symmetric, so the imaginary part is rounding error). threshold 0 is the identity; any
    other threshold maps a constant to 0. Runs in float32 even under autocast (the half-precision transform needs powers of
    two).
    """
    axes = tuple(range(2, maps.ndim))
    with torch.autocast(maps.device.type, enabled=False):
        spectrum = torch.fft.fftshift(torch.fft.fftn(maps.float(), dim=axes), dim=axes)
        mask = (radii(tuple(maps.shape[2:])) >= threshold - 1e-12).to(maps.device)
        return torch.fft.ifftn(torch.fft.ifftshift(spectrum * mask, dim=axes), dim=axes).real


class GatedSpatialConvolution(nn.Module):
    """SegMamba's layer, SA in Diff-CL: (B, C, *spatial) -> the same shape.

    a = twice (3-convolution, instance norm, ReLU), b = (1-convolution, instance norm, ReLU) of the input; the output is
    input + (1-convolution, instance norm, ReLU)(a + b). gate="mul" uses the product a b, which the name and SegMamba's text
    describe; its code adds. 3,671,040 parameters for 256 channels in 3D."""

    def __init__(self, channels: int, dims: int, gate: Gate = "sum") -> None:
        super().__init__()
        self.gate = gate

        def unit(side: int) -> list[nn.Module]:
            return [CONV[dims](channels, channels, side, padding=side // 2), NORM[dims](channels), nn.ReLU()]

        self.wide = nn.Sequential(*unit(3), *unit(3))
        self.point = nn.Sequential(*unit(1))
        self.out = nn.Sequential(*unit(1))

    def forward(self, maps: Tensor) -> Tensor:
        first, second = self.wide(maps), self.point(maps)
        return maps + self.out(first * second if self.gate == "mul" else first + second)


class HighFrequencyMamba(nn.Module):
    """f -> F_o, (B, C, *spatial) -> the same shape (eq. 10):

    F_h = high_pass(SA(f)); F_m = SM(LN(F_h)) + F_h; F_o = MLP(LN(F_m)) + F_m. SA is the gated spatial convolution, SM
    the tri-orientated Mamba over the positions in row-major order, sliced along the first axis (2D: rows), and MLP is
    C -> 2C -> C with GELU. 4,461,824 parameters for 256 channels in 3D.
    """

    def __init__(
        self,
        channels: int,
        dims: int,
        threshold: float,
        *,
        gate: Gate = "sum",
        step_init: Literal["all", "first"] = "all",
    ) -> None:
        super().__init__()
        self.threshold = threshold
        self.spatial = GatedSpatialConvolution(channels, dims, gate)
        self.norm, self.last_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.mamba = Mamba(channels, directions="slices", step_init=step_init)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, maps: Tensor) -> Tensor:
        size = maps.shape[2:]
        high = high_pass(self.spatial(maps), self.threshold).flatten(2).transpose(1, 2)
        mixed = self.mamba(self.norm(high), slices=size[0]) + high
        out = self.mlp(self.last_norm(mixed)) + mixed
        return out.transpose(1, 2).unflatten(2, tuple(size))

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}"


def kept_fraction(size: tuple[int, ...], threshold: float) -> float:
    """Returns the share of the frequencies that `high_pass` keeps."""
    return float((radii(size) >= threshold - 1e-12).double().mean()) if math.prod(size) else 0.0
