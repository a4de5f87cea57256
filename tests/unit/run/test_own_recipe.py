"""`--recipe own`: the recipe of a method's preset, and nothing else under that name."""

from __future__ import annotations

from typing import Any

import pytest

from semibench.contracts.errors import UsageError
from semibench.contracts.recipe import Recipe
from semibench.run.request import Request
from semibench.run.resolve import resolve

ACDC: dict[str, Any] = {"protocol": "ssmis", "dataset": "acdc", "dims": 2, "recipe": "own", "phantom": "always"}


def recipe(**fields: Any) -> Recipe:
    return resolve(Request(**(ACDC | fields))).options.recipe


@pytest.mark.parametrize("method", ["mean-teacher", "ua-mt", "cps", "cct", "dct", "fixmatch"])
def test_the_family_of_ssl4mis_shares_its_recipe(method: str) -> None:
    """SSL4MIS, train_*_2D.py: 30000 iterations, batches of 24 with 12 labeled, 256 x 256, SGD .01, .9, 1e-4, poly .9."""
    own = recipe(method=method, preset="ssl4mis")
    assert (own.iterations, own.labeled_batch, own.unlabeled_batch, own.patch) == (30000, 12, 12, (256, 256))
    assert (own.optimiser, own.lr, own.momentum, own.weight_decay) == ("sgd", 0.01, 0.9, 1e-4)
    assert (own.schedule, own.power) == ("poly", 0.9)
    assert own.weak.rotate == (0.25, 20.0) and own.name == "own"


@pytest.mark.parametrize("method", ["mean-teacher", "ua-mt", "cps", "ctct", "cct", "dct"])
def test_the_baselines_of_mgcc_share_its_recipe(method: str) -> None:
    own = recipe(dataset="busi", protocol="self", method=method, preset="mgcc-2023")
    assert (own.iterations, own.labeled_batch, own.unlabeled_batch, own.patch) == (20000, 4, 4, (256, 256))


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"method": "mean-teacher"}, r"none is named after this data set.*--preset: ssl4mis, mgcc-2023, la; or"),
        ({"method": "cps", "preset": "voc"}, r"preset 'voc' has none.*--preset: ssl4mis, mgcc-2023, dhc; or"),
        ({"method": "mgcc", "dataset": "busi", "protocol": "self"}, r"method 'mgcc'.*--preset: code, paper; or"),
        ({"method": "mean-teacher", "dims": 3}, r"--preset: la; or"),
        ({"method": "dtlp-net", "dims": 2}, r"it has none in 2D; use --recipe paper"),
    ],
)
def test_a_method_without_a_recipe_is_refused(fields: dict[str, Any], found: str) -> None:
    with pytest.raises(UsageError, match=found):
        recipe(**fields)


def test_the_preset_of_the_data_set_is_found() -> None:
    assert recipe(method="semsim").iterations == 44100
    assert recipe(method="semsim", preset="acdc-1").iterations == 48000


@pytest.mark.parametrize("more", [{}, {"preset": "acdc-1"}, {"preset": "acdc-3", "settings": ("lr=0.02",)}])
def test_a_stored_spec_of_an_own_recipe_resolves_to_itself(more: dict[str, Any]) -> None:
    spec = resolve(Request(**(ACDC | {"method": "semsim"} | more))).spec
    again = resolve(Request.from_spec(spec)).spec
    assert again.key == spec.key and again.recipe.name == spec.recipe.name
