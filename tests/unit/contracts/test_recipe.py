"""What a recipe sets for networks."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from support.training_toys import recipe

from semibench.contracts.recipe import Recipe


def test_a_recipe_sets_options_of_networks() -> None:
    networks = {"*": {"norm": "instance", "depths": (1, 2)}, "vnet": {"norm": "group", "has_dropout": False}}
    made = recipe(widths={"*": 0.5, "mgcc-net": 0.125}, networks=networks)
    known = {"width", "norm"}
    assert made.network_options("unet", known) == {"width": 0.5, "norm": "instance"}, (
        "unknown options of * are left out"
    )
    assert made.network_options("mgcc-net", known)["width"] == 0.125
    assert made.network_options("vnet", known) == {"width": 0.5, "norm": "group", "has_dropout": False}, (
        "an entry for one network is passed on whole, so that a wrong name in it is an error"
    )


def test_a_changed_recipe_names_its_fields() -> None:
    base = recipe()
    changed = recipe(warm_up=0.1, networks={"*": {"norm": "instance"}})
    assert changed.changed(base) == {"warm_up": 0.1, "networks": {"*": {"norm": "instance"}}}


@pytest.mark.parametrize("warm_up", [-0.1, 1.0])
def test_the_warm_up_is_a_share(warm_up: float) -> None:
    with pytest.raises(ValidationError, match="warm_up"):
        Recipe.model_validate({**recipe().model_dump(), "warm_up": warm_up})
