"""The Mamba layer (Gu & Dao, 2023) with the parameters of `mamba_ssm.Mamba`, in one, two or three directions.

The scan runs on the kernels of `mamba-ssm` where they are installed and the tensors are float32 on a GPU, otherwise as the
parallel scan of `mambapy`; in at least float32, also under autocast.
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
"""forward: the published layer; both: Vision Mamba's v2, adds the reversed sequence; slices: SegMamba's v3
("tri-orientated"), adds a scan that steps through the slices at a fixed position in the slice."""

Scan = Literal["auto", "parallel", "recurrence"]
"""How `selective_scan` computes: auto as above; recurrence: a plain loop over the positions, slow, twice differentiable."""

LEAST_STEP, GREATEST_STEP, FLOOR = 1e-3, 1e-1, 1e-4
"""Range of the initial steps, and their minimum."""

SUFFIXES: dict[Directions, tuple[str, ...]] = {"forward": ("",), "both": ("", "_b"), "slices": ("", "_b", "_s")}
"""Suffixes of each direction's parameter names."""


@functools.cache
def _kernel() -> Callable[..., Tensor] | None:
    """The CUDA scan of mamba-ssm; None, with a warning, if the package is installed without it."""
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
    """The selective scan of Mamba (Gu & Dao, 2023, eq. 2 and section 3.5).

    y_t = C_t h_t + D u_t with h_t = exp(Delta_t A) h_{t-1} + Delta_t B_t u_t and h_0 = 0: A is held over a step, B follows
    Euler's rule.

    Args:
        values: u, (batch, length, D_i).
        steps: Delta > 0, (batch, length, D_i).
        a: A, negative, (D_i, N).
        b: B, (batch, length, N).
        c: C, (batch, length, N).
        d: D, (D_i,).
        scan: "auto" (the kernels of `mamba-ssm` for float32 on a GPU if they are installed, else "parallel"), "parallel"
            (`mambapy`) or "recurrence" (a loop over positions: slow, twice differentiable). The others are differentiable
            once.

    Returns:
        y, (batch, length, D_i), in float32, or float64 if the values are.

    Examples:
        >>> u = torch.rand(2, 10, 4)
        >>> selective_scan(u, u, -torch.ones(4, 3), torch.rand(2, 10, 3), torch.rand(2, 10, 3), torch.ones(4)).shape
        torch.Size([2, 10, 4])
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
    """The kernel's layout is (batch, channels, length)."""
    u, delta, b, c = (tensor.transpose(1, 2).contiguous() for tensor in (values, steps, b, c))
    return kernel(u, delta, a.contiguous(), b, c, d).transpose(1, 2)


def by_slices(tokens: Tensor, slices: int) -> Tensor:
    """(batch, length, D) -> the same with the positions in another order: the length is cut in `slices` equal chunks, the
    first positions of all chunks come first, then the second ones (12 in 3: 0 4 8 1 5 9 2 6 10 3 7 11).

    Its own inverse with length / slices instead of slices. Raises ValueError where the length is not a multiple of slices."""
    batch, length, width = tokens.shape
    if slices < 1 or length % slices:
        raise ValueError(f"{length} positions cannot be cut into {slices} equal slices")
    return tokens.reshape(batch, slices, length // slices, width).transpose(1, 2).reshape(batch, length, width)


class Mamba(nn.Module):
    """The Mamba layer with the parameters of `mamba_ssm.Mamba`, in one, two or three directions (Gu & Dao, 2023).

    Parameters have the names and shapes of `mamba_ssm.Mamba`, so weights can be exchanged; further directions add theirs with
    the suffixes _b and _s, as SegMamba does. With width d, inner width D_i = expand d, state N and rank R = ceil(d / 16):
    x, z = in_proj(u); u = silu(conv1d(x)), causal; Delta, B, C = x_proj(u), Delta = softplus(dt_proj(Delta)); A = -exp(A_log);
    y = scan; out = out_proj(y silu(z)). The directions share both projections and are added; each has its own convolution and
    scan. A_log and D are meant to be left out of weight decay; SegMamba decays them.

    Args:
        width: d, size of a token.
        state: N, states per channel.
        kernel: length of the convolution.
        expand: inner width as a multiple of the width.
        directions: "forward" (the published layer), "both" (Vision Mamba's v2: adds the reversed sequence) or "slices"
            (SegMamba's v3: adds a scan that steps through the slices at a fixed position in the slice).
        scan: see `selective_scan`.
        step_init: "all": `dt_proj` of every direction starts with steps that are log-uniform in [.001, .1]; "first": only that
            of the first direction, as in SegMamba's code (the others start at softplus of about 0).

    Examples:
        >>> Mamba(8)(torch.rand(2, 10, 8)).shape
        torch.Size([2, 10, 8])
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
        """One direction, (batch, length, inner), before out_proj."""
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
        """Mixes the positions of a sequence.

        Args:
            tokens: (batch, length, width).
            slices: number of equal slices in the sequence, for the third direction only (tokens of a volume in row-major order:
                the size of its first axis).

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
