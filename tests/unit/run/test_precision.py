"""`precision=auto`, the warning for a precision that is slow here, and the refusal of one that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semibench.contracts.errors import UsageError
from semibench.run.plan import Plan
from semibench.run.prepare import prepare
from semibench.run.request import Request
from semibench.training import low_precision


def planned(folder: Path, precision: str, dataset: str = "tus") -> Plan:
    settings = ("phantom.cases=30", "phantom.scale=0.25", f"precision={precision}")
    protocol = "self" if dataset == "tus" else "ssmis"
    request = Request(
        protocol=protocol, dataset=dataset, method="supervised", recipe="smoke", runs=folder, phantom="always", device="cpu",
        settings=settings,
    )  # fmt: skip
    return prepare(request, estimate=False)


@pytest.mark.parametrize(("has", "stands_for"), [({"avx512_bf16": True}, "bf16"), ({"avx2": True}, "fp32")])
def test_auto_is_what_the_processor_computes_fast_and_the_key_names_it(
    has: dict[str, Any], stands_for: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(low_precision, "capabilities", lambda: has)
    auto, named = planned(tmp_path, "auto"), planned(tmp_path, stands_for)
    assert auto.resolved.options.recipe.precision == stands_for == auto.spec.recipe.options["precision"]
    assert auto.key == named.key
    assert not [text for text in (*auto.warnings, *named.warnings) if "precision" in text]


def test_a_slow_precision_gets_a_warning_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_precision, "capabilities", lambda: {"avx2": True, "avx512_f": True})
    (warning,) = [text for text in planned(tmp_path, "bf16").warnings if "precision" in text]
    assert "slower than fp32 here: this processor has no instructions for bf16 (on x86: AVX512-BF16 or AMX)" in warning
    assert not [text for text in planned(tmp_path, "fp32").warnings if "precision" in text]


def test_volumes_on_a_processor_take_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_precision, "capabilities", lambda: {"avx512_bf16": True})
    assert planned(tmp_path, "auto", "la").resolved.options.recipe.precision == "fp32"
    with pytest.raises(
        UsageError, match=r"precision=bf16 can't be used for volumes on the cpu: .*use --set precision=fp32"
    ):
        planned(tmp_path, "bf16", "la")
