"""The plan shows what a run is: preset, split, optimiser, views, losses, and what differs from the default."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.command_line import bench

from semibench.run.changes import changed_settings
from semibench.run.request import Request
from semibench.run.resolve import resolve

RUN = ("run", "-p", "self", "-d", "tus", "-r", "smoke", "--phantom")


def planned(*words: str, width: int | None = 120) -> str:
    result = bench(*RUN, *words, "--plan", width=width)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def record(*words: str) -> dict[str, Any]:
    result = bench(*RUN, *words, "--plan", "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.slow
def test_a_preset_shows() -> None:
    plain, preset = planned("-m", "cps"), planned("-m", "cps", "--preset", "ssl4mis")
    assert "cps, no preset" in plain and "nothing: every setting has its default" in plain
    lines = {line.split("  ")[0].strip(): line for line in preset.splitlines()}
    assert "cps, preset ssl4mis" in lines["method"]
    assert "weight 0.1, ramp sigmoid to 1, 200 levels" in lines["loss cross"]
    assert "on=unlabeled (default all)" in lines["changed method"]
    assert "cross.weight=0.1 (default 1.5)" in lines["changed term"]
    assert lines["loss sup"].rstrip().endswith("weight 1")


def test_split_optimiser_and_views_show() -> None:
    text = planned("-m", "fixmatch", "--set", "labeled=0.25", "--set", "recipe.weak.gamma=[0.3, 0.7, 1.3]")
    lines = {line.split("  ")[0].strip(): line for line in text.splitlines()}
    assert "drawn (labeled=0.25, test=0.3" in lines["split"]
    assert "sgd, rate 0.01 (poly, power 0.9), momentum 0.9, weight decay 0.0001" in lines["optimiser"]
    assert "flip of each axis p=0.5, right-angle turn p=0.5, gamma 0.7 – 1.3 p=0.3" in lines["weak views"]
    assert "blur up to 1.5 p=0.5" in lines["strong views"]
    assert "weak.gamma=[0.3, 0.7, 1.3] (default [0.0, 1.0, 1.0])" in lines["changed recipe"]
    assert "labeled=0.25 (default 0.5)" in lines["changed protocol"]
    assert "strong views" not in planned("-m", "supervised"), "no stream of `supervised` has strong views"


def test_a_probability_of_each_axis_shows_and_must_fit_the_dims() -> None:
    assert "flip of axis 1 p=0.5, right-angle turn" in planned("--set", "recipe.weak.flip=[0, 0.5]")
    refused = bench(*RUN, "--set", "recipe.weak.flip=[0, 0.5, 0.5]", "--plan")
    assert refused.exit_code == 2 and "weak.flip has 3 probabilities; expected one number" in refused.output


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = planned("-m", "cps", "--preset", "ssl4mis", width=width).splitlines()
    assert max(map(len, lines)) <= width


def test_the_record_holds_every_setting_and_what_changed() -> None:
    facts = record("-m", "mean-teacher", "--preset", "mgcc-2023", "--set", "lr=0.02")
    assert facts["preset"] == "mgcc-2023" and facts["split"] == "drawn"
    assert facts["settings"]["recipe"]["lr"] == 0.02 and facts["settings"]["method"]["loss"] == "bce_dice"
    assert facts["settings"]["term"]["consistency"]["ramp"] == {"kind": "sigmoid", "end": 1.5, "levels": 200}
    assert facts["changed"] == {
        "recipe.lr": {"value": 0.02, "default": 0.01},
        "method.decay": {"value": 0.9, "default": 0.99},
        "method.loss": {"value": "bce_dice", "default": "dice_ce"},
        "term.consistency.ramp.end": {"value": 1.5, "default": 1.0},
        "term.consistency.active": {"value": [0.05, None], "default": [1 / 30, None]},
    }


@pytest.mark.parametrize(
    "names",
    [
        {"protocol": "synthetic", "dataset": "tus", "recipe": "smoke"},
        {"protocol": "similar", "dataset": "busi", "method": "supervised", "recipe": "smoke"},
        {"protocol": "umda", "dataset": "mmwhs", "recipe": "smoke"},
        {"protocol": "semi-mdg", "dataset": "mnms", "recipe": "smoke"},
        {"protocol": "ssmis", "dataset": "la", "method": "mean-teacher", "recipe": "smoke"},
    ],
    ids=lambda names: names["protocol"],
)
def test_names_alone_change_nothing(names: dict[str, Any]) -> None:
    assert changed_settings(resolve(Request(**names, phantom="always"))) == {}


def test_an_own_recipe_is_compared_with_the_recipe_of_the_paper() -> None:
    request = Request(
        protocol="ssmis",
        dataset="acdc",
        method="mean-teacher",
        dims=2,
        recipe="own",
        preset="ssl4mis",
        phantom="always",
    )
    resolved = resolve(request)
    changed = {name: (change.value, change.default) for name, change in changed_settings(resolved).items()}
    assert changed == {
        "recipe.iterations": (30000, 44100),
        "recipe.labeled_batch": (12, 8),
        "recipe.unlabeled_batch": (12, 8),
        "recipe.patch": ([256, 256], [224, 224]),
    }
    assert resolved.spec.recipe.name == "own"
