"""The Mamba layer (Gu & Dao, 2023) with the parameters of `mamba_ssm.Mamba`, in one, two or three directions.

The scan uses the kernels of `mamba-ssm` if they are installed and the tensors are float32 on a GPU, otherwise the parallel
scan of `mambapy`. It computes in at least float32, even under autocast.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Directions = Literal["forward", "both", "slices"]
"""forward: the published layer. both: Vision Mamba's v2, which adds the reversed sequence. slices: SegMamba's v3
("tri-orientated"), which adds a scan that steps through the slices at a fixed position in the slice."""

Scan = Literal["auto", "parallel", "recurrence"]
"""How `selective_scan` computes. auto: as described above. parallel: always `mambapy`. recurrence: a plain loop over the
positions, slow, but twice differentiable."""

LEAST_STEP, GREATEST_STEP, FLOOR = 1e-3, 1e-1, 1e-4
"""Range of the initial steps, and their minimum."""

SUFFIXES: dict[Directions, tuple[str, ...]] = {"forward": ("",), "both": ("", "_b"), "slices": ("", "_b", "_s")}
"""Suffixes of each direction's parameter names."""


@functools.cache
def _kernel() -> Callable[..., Tensor] | None:
    """Return the CUDA scan of mamba-ssm, or None; warn if the package is installed without it."""
    if importlib.util.find_spec("mamba_ssm") is None:
        return None
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError as error:
        warnings.warn(
            f"mamba-ssm is installed but its scan cannot be imported ({error}); using the parallel scan of mambapy. "
            "Build mamba-ssm with MAMBA_KEEP_CUDA_BUILD=TRUE for the kernels of the first Mamba",
            stacklevel=2,
        )
        return None
    return selective_scan_fn


def selective_scan(
    values: Tensor, steps: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, scan: Scan = "auto"
) -> Tensor:
    """Compute y_t = C_t h_t + D u_t with h_t = exp(Delta_t A) h_{t-1} + Delta_t B_t u_t and h_0 = 0.

    A is held over a step, B is discretised by Euler's rule (Gu & Dao, 2023, eq. 2 and section 3.5).

    Args:
        values: u, (batch, length, D_i).
        steps: Delta > 0, (batch, length, D_i).
        a: A, (D_i, N), negative.
        b: B, (batch, length, N).
        c: C, (batch, length, N).
        d: D, (D_i,).
        scan: how to compute it. Only "recurrence" is twice differentiable; the others are once.

    Returns:
        y, (batch, length, D_i), in float64 if `values` is, else in float32.
    """
    dtype = torch.float64 if values.dtype == torch.float64 else torch.float32
    values, steps, a, b, c, d = (tensor.to(dtype) for tensor in (values, steps, a, b, c, d))
    if scan == "auto" and values.is_cuda and dtype == torch.float32:
        kernel = _kernel()
        if kernel is not None:
            return _on_kernel(kernel, values, steps, a, b, c, d)
    decay = (steps.unsqueeze(-1) * a).exp()
    drive = (steps * values).unsqueeze(-1) * b.unsqueeze(2)
    if scan == "recurrence":
        state, states = torch.zeros_like(drive[:, 0]), []
        for factor, addend in zip(decay.unbind(1), drive.unbind(1), strict=True):
            state = factor * state + addend
            states.append(state)
        hidden = torch.stack(states, 1)
    else:
        from mambapy.pscan import pscan

        hidden = pscan(decay, drive)
    return (hidden @ c.unsqueeze(-1)).squeeze(-1) + d * values


def _on_kernel(
    kernel: Callable[..., Tensor], values: Tensor, steps: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor
) -> Tensor:
    """Run the kernel, whose layout is (batch, channels, length)."""
    u, delta, b, c = (tensor.transpose(1, 2).contiguous() for tensor in (values, steps, b, c))
    return kernel(u, delta, a.contiguous(), b, c, d).transpose(1, 2)


def by_slices(tokens: Tensor, slices: int) -> Tensor:
    """Reorder positions: cut the sequence into equal slices; take the first position of every slice, then the second, ...

    For example, 12 positions in 3 slices become 0 4 8 1 5 9 2 6 10 3 7 11. The inverse is the same function with
    length / slices in place of slices.

    Args:
        tokens: (batch, length, D).
        slices: number of slices.

    Returns:
        (batch, length, D).

    Raises:
        ValueError: if the length is not a multiple of `slices`.
    """
    batch, length, width = tokens.shape
    if slices < 1 or length % slices:
        raise ValueError(f"{length} positions cannot be cut into {slices} equal slices")
    return tokens.reshape(batch, slices, length // slices, width).transpose(1, 2).reshape(batch, length, width)


class Mamba(nn.Module):
    """The Mamba layer (Gu & Dao, 2023), from (batch, length, width) to the same shape.

    Names and shapes of the parameters are those of `mamba_ssm.Mamba`, so that weights can be exchanged; further directions
    add theirs with the suffixes _b and _s, as SegMamba does.

    With width d, inner width D_i = expand d, state N and rank R = ceil(d / 16): x, z = in_proj(u); u = silu(conv1d(x)),
    causal; Delta, B, C = x_proj(u), Delta = softplus(dt_proj(Delta)); A = -exp(A_log); y = scan;
    out = out_proj(y silu(z)). The directions share both projections and are added; each has its own convolution and scan.

    A_log and D are meant to be excluded from weight decay; an optimiser without such groups decays them, as SegMamba does.

    Args:
        width: d.
        state: N.
        kernel: length of the convolution.
        expand: D_i / d.
        directions: the directions of the scan.
        scan: how the scan is computed.
        step_init: "all" initialises `dt_proj` so that the steps are log-uniform in [.001, .1] in all directions; "first"
            does so for the first direction only, as SegMamba's code does (the others then start at softplus of about 0).
    """

    def __init__(
        self,
        width: int,
        state: int = 16,
        kernel: int = 4,
        expand: int = 2,
        *,
        directions: Directions = "forward",
        scan: Scan = "auto",
        step_init: Literal["all", "first"] = "all",
    ) -> None:
        super().__init__()
        self.width, self.state, self.rank = width, state, math.ceil(width / 16)
        self.inner, self.directions, self.scan = expand * width, directions, scan
        self.in_proj = nn.Linear(width, 2 * self.inner, bias=False)
        for suffix in SUFFIXES[directions]:
            self._add_direction(suffix, kernel, special=suffix == "" or step_init == "all")
        self.out_proj = nn.Linear(self.inner, width, bias=False)

    def _add_direction(self, suffix: str, kernel: int, special: bool) -> None:
        inner, rank = self.inner, self.rank
        conv = nn.Conv1d(inner, inner, kernel, groups=inner, padding=kernel - 1)
        steps = nn.Linear(rank, inner)
        if special:
            nn.init.uniform_(steps.weight, -(rank**-0.5), rank**-0.5)
            low, high = math.log(LEAST_STEP), math.log(GREATEST_STEP)
            first = (torch.rand(inner) * (high - low) + low).exp().clamp(min=FLOOR)
            with torch.no_grad():
                steps.bias.copy_(first + (-torch.expm1(-first)).log())
        setattr(self, f"conv1d{suffix}", conv)
        setattr(self, f"x_proj{suffix}", nn.Linear(inner, rank + 2 * self.state, bias=False))
        setattr(self, f"dt_proj{suffix}", steps)
        rates = torch.arange(1, self.state + 1, dtype=torch.float32).log().repeat(inner, 1)
        setattr(self, f"A{suffix}_log", nn.Parameter(rates))
        setattr(self, f"D{suffix}", nn.Parameter(torch.ones(inner)))

    def _part(self, name: str) -> Any:
        return getattr(self, name)

    def _direction(self, x: Tensor, gate: Tensor, suffix: str) -> Tensor:
        """Run one direction up to out_proj: (batch, length, inner)."""
        conv, projection, steps = (self._part(f"{name}{suffix}") for name in ("conv1d", "x_proj", "dt_proj"))
        u = F.silu(conv(x.transpose(1, 2))[..., : x.shape[1]]).transpose(1, 2)
        delta, b, c = projection(u).split([self.rank, self.state, self.state], -1)
        with torch.autocast(x.device.type, enabled=False):
            wide = torch.float64 if u.dtype == torch.float64 else torch.float32
            size = F.softplus(F.linear(delta.to(wide), steps.weight.to(wide), steps.bias.to(wide)))
            a = -self._part(f"A{suffix}_log").to(wide).exp()
            y = selective_scan(u, size, a, b, c, self._part(f"D{suffix}"), self.scan)
            return y * F.silu(gate.to(wide))

    def forward(self, tokens: Tensor, slices: int = 1) -> Tensor:
        """Apply the layer.

        Args:
            tokens: (batch, length, width).
            slices: number of equal slices in the sequence, for the third direction only; for the voxels of a volume in
                row-major order it is the size of the first axis.

        Returns:
            (batch, length, width).
        """
        x, gate = self.in_proj(tokens).chunk(2, -1)
        total = self._direction(x, gate, "")
        if self.directions != "forward":
            total = total + self._direction(x.flip(1), gate.flip(1), "_b").flip(1)
        if self.directions == "slices":
            turned = self._direction(by_slices(x, slices), by_slices(gate, slices), "_s")
            total = total + by_slices(turned, tokens.shape[1] // slices)
        return self.out_proj(total)

    def extra_repr(self) -> str:
        return f"width={self.width}, state={self.state}, directions={self.directions}, scan={self.scan}"
