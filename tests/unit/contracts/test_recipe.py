"""What a recipe sets for networks and methods."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from support.training_toys import recipe

from semibench import Confidence, MethodOptions, Ramp, Term
from semibench.contracts.recipe import Recipe, limited_confidence, network_options
from semibench.contracts.schedule import ramped


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
    assert network_options({}, "unet", {"width"}) == {"width": 1.0}
    assert network_options({}, "unet", set()) == {}, "a network that has no width gets none"


def test_a_recipe_ramps_terms_on_unlabeled_samples_that_have_no_ramp_of_their_own() -> None:
    own = Term(0.1, Ramp("linear", end=0.5), unlabeled=True)
    terms = {"sup": Term(2.0), "pseudo": Term(0.5, search=(0.1, 1.0), unlabeled=True), "own": own}
    assert ramped(terms, 0.0) == terms, "a recipe without the ramp changes nothing"
    made = ramped(terms, 0.8)
    assert made["sup"] == terms["sup"] and made["own"] == own
    # exp(-5 (1 - t)^2) with t = progress / 0.8, worked by hand: e^-5, e^-1.25, 1
    found = [made["pseudo"].at(progress) for progress in (0.0, 0.4, 0.8, 1.0)]
    assert found == pytest.approx([0.5 * 0.0067379, 0.5 * 0.2865048, 0.5, 0.5], abs=1e-6)
    assert made["pseudo"].search == (0.1, 1.0)


def test_a_recipe_limits_the_confidence_that_a_label_needs() -> None:
    class Options(MethodOptions, frozen=True, extra="forbid"):
        threshold: Confidence = 0.95
        low: Confidence = 0.6
        share: float = 0.99

    assert limited_confidence(Options, 0.8) == {"threshold": 0.8}
    assert limited_confidence(Options, 1.0) == {}
