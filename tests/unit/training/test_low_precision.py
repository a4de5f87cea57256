"""Where a low precision pays: what processors have decides, and is read by one function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from semibench.training import low_precision
from semibench.training.low_precision import fastest_precision, why_slow, why_wrong

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)
PROCESSORS: list[tuple[Mapping[str, Any], str, bool]] = [
    ({"avx2": True, "avx512_f": False}, "fp32", True),
    ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, "fp32", True),
    ({"avx512_f": True, "avx512_bf16": True}, "bf16", False),
    ({"avx512_bf16": True, "amx_bf16": True, "amx_fp16": True}, "bf16", False),
    ({"architecture": "aarch64", "neon": True, "bf16": True}, "bf16", False),
    ({"architecture": "aarch64", "neon": True, "bf16": False}, "fp32", True),
    ({}, "fp32", False),
]
"""What a processor has, what `precision=auto` is there, and whether bf16 gets a warning. Nothing is said where nothing is known."""


@pytest.mark.parametrize(("has", "auto", "slow"), PROCESSORS)
def test_bf16_is_for_processors_with_its_instructions(
    has: Mapping[str, Any], auto: str, slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(low_precision, "capabilities", lambda: has)
    assert fastest_precision(CPU, 2) == auto
    reason = why_slow("bf16", CPU)
    assert (reason is not None) == slow and why_slow("fp32", CPU) is None
    assert reason is None or "AVX512-BF16 or AMX" in reason


def test_volumes_on_a_processor_are_computed_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_precision, "capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert fastest_precision(CPU, 3) == "fp32" and fastest_precision(CUDA, 3) == "bf16"
    assert "wrong gradients" in str(why_wrong("bf16", CPU, 3))
    assert (
        why_wrong("bf16", CPU, 2) is None and why_wrong("fp32", CPU, 3) is None and why_wrong("bf16", CUDA, 3) is None
    )


def test_fp16_needs_instructions_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_precision, "capabilities", lambda: {"avx512_bf16": True})
    assert "AVX512-FP16" in str(why_slow("fp16", CPU))
    monkeypatch.setattr(low_precision, "capabilities", lambda: {"avx512_fp16": True})
    assert why_slow("fp16", CPU) is None


@pytest.mark.parametrize(("capability", "auto"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_gpus(capability: tuple[int, int], auto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fastest_precision(CUDA, 2) == auto and (why_slow("bf16", CUDA) is None) == (auto == "bf16")
    assert why_slow("fp16", CUDA) is None
    assert fastest_precision(torch.device("mps"), 2) == "fp32" and why_slow("bf16", torch.device("mps")) is None


def test_this_processor_is_read_and_an_older_torch_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fastest_precision(CPU, 2) in ("fp32", "bf16")
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert low_precision.capabilities() == {}
