"""Nesterov momentum where the published code has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.methods_support import case_of

from semibench import Method, UsageError
from semibench.run.prepare import prepare
from semibench.run.request import Request
from semibench_plugins.methods.consistency.w2spc import W2SPC
from semibench_plugins.methods.generalisation.nnunet.method import NNUNet
from semibench_plugins.methods.imbalance.adsh import Adsh
from semibench_plugins.methods.imbalance.cld import CLD
from semibench_plugins.methods.imbalance.depl import DePL
from semibench_plugins.methods.imbalance.dhc import DHC
from semibench_plugins.methods.imbalance.simis import SimiS
from semibench_plugins.methods.imbalance.skcdf.method import SKCDF

PRESETS: list[tuple[type[Method], str]] = [
    (Adsh, "dhc"), (CLD, "dhc"), (DePL, "dhc"), (DHC, "dhc"), (SimiS, "dhc"), (SKCDF, "synapse"), (SKCDF, "amos22"),
    (W2SPC, "acdc"), (NNUNet, "published"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "preset"), PRESETS)
def test_presets_of_the_published_code_have_it_and_the_default_follows_the_recipe(
    method: type[Method], preset: str
) -> None:
    (plain,) = case_of(method).build().optimisers().values()
    (published,) = case_of(method, options=method.presets[preset]["options"]).build().optimisers().values()
    assert (plain.kind, dict(plain.settings)) == (None, {})
    assert (published.kind, dict(published.settings)) == ("sgd", {"nesterov": True})


def test_a_plan_without_momentum_is_refused(tmp_path: Path) -> None:
    request = Request(
        protocol="self", dataset="tus", method="nnunet", recipe="smoke", runs=tmp_path, phantom="always", device="cpu",
        settings=("phantom.cases=30", "phantom.scale=0.25", "recipe.momentum=0", "method.nesterov=true"),
    )  # fmt: skip
    with pytest.raises(
        UsageError, match=r"nesterov=true needs momentum, and the recipe's is 0: use --set recipe.momentum=0.9"
    ):
        prepare(request, estimate=False)
