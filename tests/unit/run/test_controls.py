"""Controls: the same request with the labeled images as the unlabeled ones, under every protocol."""

from __future__ import annotations

from typing import Any

import pytest

from semibench import UnsupportedError, UsageError
from semibench.contracts.identity import Entry, RunSpec
from semibench.run.prepare import draw_split
from semibench.run.request import Cell, Request
from semibench.run.resolve import resolve

ASKED: list[dict[str, Any]] = [
    {"protocol": "self", "dataset": "tus", "method": "mean-teacher"},
    {"protocol": "ssmis", "dataset": "acdc", "method": "cps"},
    {"protocol": "similar", "dataset": "tus", "method": "mean-teacher"},
    {"protocol": "synthetic", "dataset": "tus", "method": "mgcc"},
    {"protocol": "umda", "dataset": "mmwhs", "method": "adaoutput"},
    {"protocol": "semi-mdg", "dataset": "mnms", "method": "mean-teacher"},
]


def request(asked: dict[str, Any], **more: Any) -> Request:
    cases = {"mnms": 40, "tus": 120}.get(asked["dataset"], 60)
    settings = (f"phantom.cases={cases}", "phantom.scale=0.25", *more.pop("settings", ()))
    return Request(**asked, recipe="smoke", phantom="always", settings=settings, **more)


@pytest.mark.parametrize("asked", ASKED, ids=[asked["protocol"] for asked in ASKED])
def test_the_unlabeled_pool_is_the_labeled_one_and_nothing_else_changes(asked: dict[str, Any]) -> None:
    plain, control = resolve(request(asked)), resolve(request(asked, control=True))
    drawn, used = draw_split(plain)[0], draw_split(control)[0]
    assert used.unlabeled == used.labeled == drawn.labeled
    assert (used.validation, used.test, used.validation_from) == (drawn.validation, drawn.test, drawn.validation_from)
    assert set(drawn.unlabeled).isdisjoint(drawn.labeled) and drawn.unlabeled
    assert control.spec.track == plain.spec.track, "a board holds a method and its control"
    assert control.spec.replicate == plain.spec.replicate and control.spec.key != plain.spec.key
    assert control.spec.entry.model_copy(update={"unlabeled_from": None}) == plain.spec.entry
    assert control.data.synthesis is None, "a control needs no generator"


def test_the_setting_and_the_flag_are_one() -> None:
    asked = ASKED[0]
    flag = resolve(request(asked, control=True)).spec
    assert resolve(request(asked, settings=("unlabeled_from=labeled",))).spec == flag
    assert resolve(request(asked, settings=("protocol.unlabeled_from=labeled",))).spec == flag
    assert resolve(request(asked, settings=("unlabeled_from=split",))).spec == resolve(request(asked)).spec
    with pytest.raises(UsageError, match=r"expected 'split' .* or 'labeled' .*found 'all'"):
        resolve(request(asked, settings=("unlabeled_from=all",)))
    with pytest.raises(UsageError, match="leave out --set unlabeled_from=split"):
        resolve(request(asked, control=True, settings=("unlabeled_from=split",)))


def test_a_method_without_unlabeled_images_has_no_control() -> None:
    with pytest.raises(UnsupportedError, match="'supervised' uses no unlabeled images, so it is its own control"):
        resolve(request({"protocol": "self", "dataset": "tus", "method": "supervised"}, control=True))


def test_a_stored_control_comes_back_as_one() -> None:
    spec = resolve(request(ASKED[0], control=True)).spec
    assert RunSpec.model_validate_json(spec.model_dump_json(), strict=True) == spec
    cell = Cell.from_spec(spec)
    assert cell.control and "--control" in cell.to_command().split()
    assert resolve(cell.request()).spec == spec
    assert spec.name == "mean-teacher · unet · control · draw 0 · seed 0"


def test_other_entries_are_recorded_as_before() -> None:
    """The record, and with it the key, has no new field unless the run is a control."""
    entry = resolve(request(ASKED[0])).spec.entry
    assert "unlabeled_from" not in entry.model_dump() and "unlabeled_from" not in entry.model_dump_json()
    assert Entry(**entry.model_dump()).digest() == entry.digest()
