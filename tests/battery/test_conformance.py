"""Every check of the battery over every method and backbone that is registered (methods in company: see
test_conformance_more)."""

from __future__ import annotations

import pytest
import torch

from semibench.conformance import METHOD_RUN_CHECKS, BoundCheck, battery

pytestmark = pytest.mark.no_cover  # the other tests measure coverage; tracing costs these a quarter more time
KNOWN: dict[str, str] = {}
"""Id of a check -> why it fails for now; shown as xfail, and an error once it passes."""

SMALL = {
    "adaoutput": {"critic_filters": 4},
    "ctct": {"second_width": 0.125},
    "diff-cl": {"samples": 128, "extremes": 16, "anchors": 32, "bank": 64, "added": 64, "width": 8},
    "a-and-d": {"ddim_steps": 2},
    "dtlp-net": {"ddim_steps": 2},
}
"""Options that make a method small enough for tests."""

ELSEWHERE = {*METHOD_RUN_CHECKS, "import_of_cards_is_light"}


def cases() -> list[object]:
    found: list[object] = []
    for check in battery({"method": None, "backbone": None}, options=SMALL):
        if check.fact in ELSEWHERE:
            continue
        reason = KNOWN.get(str(check))
        marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
        found.append(pytest.param(check, id=str(check), marks=marks))
    return found


@pytest.mark.parametrize("check", cases())
def test_conformance(check: BoundCheck) -> None:
    torch.set_num_threads(1)
    assert check.reason() is None
