"""Recipes that extend other recipes."""

from __future__ import annotations

import pytest

from semibench import RecipeCard, UsageError, hookimpl
from semibench.discovery.registry import Registry, Source
from semibench.run.changes import changed_settings
from semibench.run.defaults import base_recipe
from semibench.run.request import Request
from semibench.run.resolve import Options, Resolved, resolve

BASE = {"labeled_batch": 2, "unlabeled_batch": 2, "patch": [32, 32], "iterations": 10}


def registry_of(*cards: RecipeCard) -> Registry:
    class Plugin:
        @hookimpl
        def semibench_recipes(self) -> list[RecipeCard]:
            return list(cards)

    return Registry([Source("thirds", "1", "thirds", "third_recipes", Plugin)])


def test_a_recipe_takes_what_it_extends_and_overrides_it() -> None:
    plugins = registry_of(
        RecipeCard(name="long", extends="short", values={"iterations": 100}, protocol={"labeled": 0.2}),
        RecipeCard(name="short", values=BASE, protocol={"labeled": 0.1, "count": 3}),
        RecipeCard(name="short", datasets=("la",), values={"patch": [16, 16], "iterations": 20}),
    )
    found, protocol = base_recipe(plugins, "long", dims=2, protocol="self", dataset="la")
    assert (found.name, found.iterations, found.patch) == ("long", 100, (16, 16))
    assert protocol == {"labeled": 0.2, "count": 3}
    other, _ = base_recipe(plugins, "long", dims=2, protocol="self", dataset="tus")
    assert other.patch == (32, 32)


def test_recipes_that_extend_each_other_are_refused() -> None:
    plugins = registry_of(
        RecipeCard(name="a", extends="b", values=BASE), RecipeCard(name="b", extends="a", values={"iterations": 3})
    )
    with pytest.raises(UsageError, match="in a circle: a -> b -> a"):
        base_recipe(plugins, "a", dims=2, protocol="self", dataset="la")


def test_a_recipe_may_name_the_network_of_runs_that_name_none() -> None:
    """Volumes: the V-Net of the papers under their recipe, a U-Net in short runs; a method's own network comes first."""
    asked = {"protocol": "ssmis", "dataset": "la", "phantom": "always"}
    found = {
        (recipe, method): resolve(Request(**asked, method=method, recipe=recipe)).names.backbone.name
        for recipe in ("paper", "quick", "standard")
        for method in ("mean-teacher", "dtlp-net")
    }
    assert [found[recipe, "mean-teacher"] for recipe in ("paper", "quick", "standard")] == ["vnet", "unet", "unet"]
    assert {found[recipe, "dtlp-net"] for recipe in ("paper", "quick", "standard")} == {"diff-vnet"}
    assert resolve(Request(**asked, method="mean-teacher", backbone="vnet")).names.backbone.name == "vnet"


def fixmatch(recipe: str, *settings: str, preset: str | None = None) -> Resolved:
    request = Request(
        protocol="self",
        dataset="tus",
        method="fixmatch",
        recipe=recipe,
        settings=settings,
        preset=preset,
        phantom="always",
    )
    return resolve(request)


def test_quick_ramps_and_limits_and_a_setting_wins() -> None:
    def options(recipe: str, *settings: str, preset: str | None = None) -> Options:
        return fixmatch(recipe, *settings, preset=preset).options

    quick, paper = options("quick"), options("paper")
    assert (paper.terms["pixel"]["ramp"]["kind"], paper.method_options.threshold) == ("constant", 0.95)
    assert (quick.terms["pixel"]["ramp"], quick.method_options.threshold) == (
        {"kind": "sigmoid", "end": 1.0, "levels": 0},
        0.8,
    )
    assert quick.terms["sup"]["ramp"]["kind"] == "constant"
    own = options("quick", "method.threshold=0.9", "term.pixel.ramp.kind=constant")
    assert (own.terms["pixel"]["ramp"]["kind"], own.method_options.threshold) == ("constant", 0.9)
    preset = options("quick", preset="ssl4mis")
    assert preset.terms["pixel"]["ramp"]["levels"] == 200, "a preset's own ramp stays"
    assert not changed_settings(fixmatch("quick"))
