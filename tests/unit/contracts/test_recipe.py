"""What a recipe sets for networks."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from support.training_toys import recipe

from semibench.contracts.recipe import Recipe, network_options


def test_a_recipe_sets_options_of_networks() -> None:
    networks = {"*": {"norm": "instance", "depths": (1, 2)}, "vnet": {"norm": "group", "has_dropout": False}}
    made = recipe(widths={"*": 0.5, "mgcc-net": 0.125}, networks=networks)
    known = {"width", "norm"}
    record = made.model_dump(mode="json")
    assert network_options(record, "unet", known) == {"width": 0.5, "norm": "instance"}, (
        "unknown options of * are left out"
    )
    assert network_options(record, "mgcc-net", known)["width"] == 0.125
    assert network_options(record, "vnet", known) == {"width": 0.5, "norm": "group", "has_dropout": False}, (
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


def test_a_record_from_before_a_field_existed_still_says_what_its_networks_had() -> None:
    assert network_options({"widths": {"*": 0.5}}, "unet", {"width", "norm"}) == {"width": 0.5}
    assert network_options({}, "unet", set()) == {"width": 1.0}
