"""The recipes of data sets: views and budgets of the published code that they name as their source."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from semibench.contracts.recipe import Recipe, network_options
from semibench.discovery.registry import registry
from semibench.run.defaults import base_recipe
from semibench.run.request import Request
from semibench.run.resolve import resolve

GENERIC_SSL = {"synapse": "ssmis", "amos22": "ssmis", "mmwhs": "umda", "mnms": "semi-mdg"}
CHANGES = ("blur", "brightness", "contrast", "gamma")


def recipe(name: str, dataset: str, protocol: str, dims: int) -> Recipe:
    return base_recipe(registry(), name, dims=dims, protocol=protocol, dataset=dataset)[0]


@pytest.mark.parametrize("name", ["paper", "smoke"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("dataset", GENERIC_SSL)
def test_the_views_of_generic_ssl(dataset: str, dims: int, name: str) -> None:
    """GenericSSL draws 3 of 6 changes, each applied with p = .7: rotation by 15 degrees, scale .7 to 1, and four changes of
    intensity by .7 to 1.3. It has no flip and no right-angle turn, which exchange left and right kidneys."""
    weak = recipe(name, dataset, GENERIC_SSL[dataset], dims).weak
    assert (weak.flip, weak.rotate90) == (0.0, 0.0)
    assert weak.rotate == (3 / 6 * 0.7, 15.0) and weak.scale == (3 / 6 * 0.7, 0.7, 1.0)
    assert {getattr(weak, change) for change in CHANGES} == {(3 / 6 * 0.7, 0.7, 1.3)}


@pytest.mark.parametrize("dataset", ["acdc", "isic2018", "promise12"])
def test_a_quarter_of_the_samples_is_rotated(dataset: str) -> None:
    assert recipe("paper", dataset, "ssmis", 2).weak.rotate == (0.25, 20.0)


@pytest.mark.parametrize("dataset", ["la", "pancreas", "brats19"])
def test_other_volumes_are_flipped_and_turned_as_in_their_code(dataset: str) -> None:
    weak = recipe("paper", dataset, "ssmis", 3).weak
    assert weak.flip == 0.5 and weak.rotate90 == 0.75 and not weak.changes_intensities


VOLUMES = {"la": "ssmis", "pancreas": "ssmis", "brats19": "ssmis", "msd-hippocampus": "ssmis", **GENERIC_SSL}


@pytest.mark.parametrize("dataset", VOLUMES)
def test_short_recipes_train_volumes_whole_and_never_mirror_them(dataset: str) -> None:
    """The grid is the patch, and networks of the five-level families can halve it four times."""
    quick = recipe("quick", dataset, VOLUMES[dataset], 3)
    assert quick.size == quick.patch and all(side % 16 == 0 for side in quick.patch)
    assert (quick.weak.flip, quick.weak.rotate90) == (0.0, 0.0)


@pytest.mark.parametrize(("dataset", "dims"), [("tus", 2), ("acdc", 2), ("la", 3), ("mnms", 3), ("acdc", 3)])
def test_standard_is_quick_with_ten_times_the_iterations(dataset: str, dims: int) -> None:
    protocol = VOLUMES.get(dataset, "ssmis" if dataset == "acdc" else "self")
    quick, standard = (recipe(name, dataset, protocol, dims) for name in ("quick", "standard"))
    assert standard.iterations == 10 * quick.iterations
    assert set(standard.changed(quick)) - {"name"} == {"iterations", "evaluate_every"}


def test_the_synthetic_protocol_has_as_many_synthetic_cases_under_standard() -> None:
    counts = [
        base_recipe(registry(), name, dims=2, protocol="synthetic", dataset="tus")[1] for name in ("quick", "standard")
    ]
    assert counts == [{"count": 96}, {"count": 96}]


@pytest.mark.parametrize("dims", [2, 3])
def test_networks_of_short_recipes_have_neither_running_statistics_nor_dropout(dims: int) -> None:
    quick = recipe("quick", "la" if dims == 3 else "tus", "ssmis", dims)
    for item in registry().cards("backbones"):
        if dims not in item.card.dims:
            continue
        options = item.resolve().Options
        network = item.resolve()(
            dims=dims, channels=1, outputs=2, patch=quick.patch,
            options=options(**network_options(quick.model_dump(), item.name, options.model_fields)),
        )  # fmt: skip
        kinds = {type(module).__name__ for module in network.modules()}
        assert not any(kind.startswith("BatchNorm") and kind != "BatchNorm1d" for kind in kinds), item.name
        noisy = [m for m in network.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0]
        assert not noisy, item.name


def test_a_stored_spec_keeps_views_that_its_recipe_has_no_more() -> None:
    """A run on Synapse from before: flips and turns, no changes of intensity."""
    before = ("recipe.weak.flip=0.5", "recipe.weak.rotate90=0.75", "recipe.weak.rotate=[0.0, 0.0]")
    none = tuple(f"recipe.weak.{name}=[0.0, 1.0, 1.0]" for name in ("scale", *CHANGES))
    asked: dict[str, Any] = {"protocol": "ssmis", "dataset": "synapse", "method": "supervised", "recipe": "smoke"}
    spec = resolve(Request(**asked, phantom="always", settings=(*before, *none))).spec
    assert spec.recipe.options["weak"]["flip"] == 0.5 and tuple(spec.recipe.options["weak"]["gamma"]) == (0.0, 1.0, 1.0)
    assert resolve(Request.from_spec(spec)).spec.key == spec.key
