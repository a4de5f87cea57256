"""Which precisions a device computes fast and right in, for `precision=auto`, a warning and a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

FAST: Mapping[str, tuple[str, ...]] = {
    "bf16": ("avx512_bf16", "amx_bf16", "bf16"),
    "fp16": ("avx512_fp16", "amx_fp16", "fp16_arith"),
}
"""Precision -> instructions, by the names of `torch.cpu.get_capabilities`, any of which makes it fast: of x86 and, last, ARM."""

NAMES: Mapping[str, str] = {"bf16": "AVX512-BF16 or AMX", "fp16": "AVX512-FP16 or AMX-FP16"}
"""What the instructions are called on x86."""

AMPERE = (8, 0)
"""The first compute capability of NVIDIA with bf16."""


def capabilities() -> Mapping[str, Any]:
    """Return what the processor has, by the names of `torch.cpu.get_capabilities`; empty where torch doesn't tell."""
    read = getattr(torch.cpu, "get_capabilities", None)
    return {} if read is None else read()


def why_slow(precision: str, device: torch.device) -> str | None:
    """Return why a precision is slower than fp32 on a device; None if it isn't, or if nothing is known.

    Args:
        precision: "fp32", "bf16" or "fp16".
        device: where the training runs.
    """
    if precision not in FAST:
        return None
    if device.type == "cuda":
        old = precision == "bf16" and torch.cuda.get_device_capability(device) < AMPERE
        return "this GPU has no bf16 arithmetic, which begins with Ampere" if old else None
    found = capabilities()
    if device.type != "cpu" or not found or any(found.get(name) for name in FAST[precision]):
        return None
    return f"this processor has no instructions for {precision} (on x86: {NAMES[precision]})"


def why_wrong(precision: str, device: torch.device, dims: int) -> str | None:
    """Return why a precision gives wrong gradients on a device; None if it is not known to.

    With AVX512-BF16, oneDNN leaves the weight gradient of a padded 3D convolution undefined where its input has a depth of
    two (torch 2.13; `speed/volumes_in_bf16.py` shows it). The deepest maps of a network often have that depth.

    Args:
        precision: "fp32", "bf16" or "fp16".
        device: where the training runs.
        dims: 2 or 3, of the networks.
    """
    if precision != "bf16" or device.type != "cpu" or dims != 3:
        return None
    return "on some processors torch computes wrong gradients of 3D convolutions in bf16"


def fastest_precision(device: torch.device, dims: int) -> Literal["fp32", "bf16"]:
    """Return what `precision=auto` stands for: bf16 where the device is known to compute it fast and right, else fp32.

    fp16 is never chosen: it needs a scaled loss, and skips steps.

    Args:
        device: where the training runs.
        dims: 2 or 3, of the networks.
    """
    known = device.type == "cuda" or (device.type == "cpu" and bool(capabilities()))
    right = why_wrong("bf16", device, dims) is None
    return "bf16" if known and right and why_slow("bf16", device) is None else "fp32"
