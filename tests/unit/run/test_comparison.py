"""Which runs a first run is shown beside."""

from __future__ import annotations

from typing import Any

import pytest

from semibench.contracts.cases import Split
from semibench.discovery.registry import registry
from semibench.run.comparison import comparison
from semibench.run.prepare import draw_split
from semibench.run.request import Request
from semibench.run.resolve import resolve


def rows(**fields: Any) -> dict[str, Request]:
    request = Request(**{"dataset": "tus", "recipe": "smoke", "phantom": "always"} | fields)
    return {row.title: row.request for row in comparison(request, registry())}


def test_the_synthetic_protocol_stands_beside_labels_alone_and_the_method_without_synthetic_images() -> None:
    found = rows(
        protocol="synthetic", seed=3, settings=("count=8", "lr=0.02", "term.consistency=2", "phantom.cases=40")
    )
    assert list(found) == ["labels alone", "mgcc, self", "mgcc, synthetic"]
    labels, without, own = (resolve(request) for request in found.values())
    assert [item.names.method.name for item in (labels, without, own)] == ["supervised", "mgcc", "mgcc"]
    assert [item.names.protocol.name for item in (labels, without, own)] == ["self", "self", "synthetic"]
    assert {item.names.backbone.name for item in (labels, without, own)} == {"mgcc-net"}
    assert {item.spec.replicate.seed for item in (labels, without, own)} == {3}
    recipes = [item.spec.recipe.options for item in (labels, without, own)]
    assert recipes[0] == recipes[1] == recipes[2] and recipes[0]["lr"] == 0.02
    assert without.spec.entry == own.spec.entry, "the same method with the same weights"
    assert found["labels alone"].settings == ("lr=0.02", "phantom.cases=40"), (
        "it has neither synthetic images nor terms"
    )


def values(request: Request) -> dict[str, Any]:
    return {name: value for name, value in resolve(request).spec.recipe.options.items() if name != "name"}


@pytest.mark.parametrize("settings", [(), ("recipe.iterations=7",)])
def test_what_a_recipe_sets_for_one_protocol_holds_for_every_row(settings: tuple[str, ...]) -> None:
    found = rows(protocol="synthetic", recipe="quick", settings=settings)
    recipes = [values(request) for request in found.values()]
    assert recipes[0] == recipes[1] == recipes[2]
    assert recipes[0] != values(Request(protocol="self", dataset="tus", recipe="quick", phantom="always")), (
        "quick has fewer iterations where a generator is trained, too"
    )


def test_all_rows_have_the_same_labels_and_the_same_test_cases() -> None:
    splits: list[Split] = [draw_split(resolve(request))[0] for request in rows(protocol="synthetic").values()]
    assert len({(split.labeled, split.validation, split.test) for split in splits}) == 1


@pytest.mark.parametrize(
    ("fields", "titles"),
    [
        ({"protocol": "self"}, ["labels alone", "mgcc"]),
        ({"protocol": "self", "method": "cps"}, ["labels alone", "cps"]),
        ({"protocol": "self", "method": "supervised"}, ["supervised"]),
        ({"protocol": "ssmis", "dataset": "la"}, ["labels alone", "mean-teacher"]),
        ({"protocol": "similar"}, ["labels alone", "mgcc, self", "mgcc, similar"]),
    ],
)
def test_what_each_protocol_is_shown_beside(fields: dict[str, Any], titles: list[str]) -> None:
    assert list(rows(**fields)) == titles


def test_a_preset_stays_with_its_method() -> None:
    found = rows(protocol="similar", method="cps", preset="mgcc-2023")
    assert [request.preset for request in found.values()] == [None, "mgcc-2023", "mgcc-2023"]
    assert [request.method for request in found.values()][-1] == "cps"
