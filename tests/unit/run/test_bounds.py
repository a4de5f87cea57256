"""Values that no run can have are refused before anything is planned, with the name of the setting."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from semibench import Term, UsageError
from semibench.matrix.cells import Group
from semibench.run.request import Request
from semibench.run.resolve import resolve
from semibench.run.settings import parse, term_records

ENDLESS = (
    "nan",
    ".nan",
    ".inf",
    "-.inf",
    "1e400",
    "-1",
    "99999999999999999999",
    "[1]",
    "{a: 1}",
    "true",
    "2020-99-99",
    "much",
)
FIELDS = (
    "iterations",
    "lr",
    "labeled_batch",
    "unlabeled_batch",
    "weight_decay",
    "backbone.width",
    "phantom.scale",
    "phantom.cases",
    "evaluate_every",
    "clip_norm",
    "clip_value",
    "power",
    "momentum",
)
OTHERS = (
    "iterations=0",
    "iterations=2.5",
    "patch=[0, 0]",
    "patch=[64]",
    "patch=[64, -64]",
    "patch=[100000, 100000]",
    "patch=[9999999, 1]",
    "slab=0",
    "betas=[1, 0.5]",
    "betas=[0.9]",
    "weak.flip=1.5",
    "weak.flip=.nan",
    "weak.rotate=[2, 5]",
    "weak.rotate=[0.5, .inf]",
    "weak.scale=[1, 2, 1]",
    "weak.blur=[0.5, -1, 1]",
    "weak.gamma=[0.5, 0, 2]",
    "strong.blur=[0.5, -1]",
    "strong.noise=[.nan, 1]",
    "widths={'*': 0}",
    "widths={unet: .nan}",
    "backbone.width=0",
    "phantom.scale=0",
    "phantom.scale=200",
    "phantom.cases=0",
    "phantom.cases=1000000000",
    "dataset.size=[0, 64]",
    "dataset.size=[1000000, 1000000]",
    "term.consistency=.inf",
    "term.consistency=1e400",
    "term.consistency.ramp=3",
    "term.consistency.ramp.kind=step",
    "term.consistency.ramp.end=0",
    "term.consistency.ramp.levels=-1",
    "term.consistency.active=[2, 1]",
    "term.consistency.active=[1]",
    "term.consistency.weight=heavy",
    "method.decay=.nan",
    "recipe.dims=3",
    "recipe.name=paper",
    "networks=3",
)


def settled(*settings: str) -> Any:
    return resolve(
        Request(
            protocol="self", dataset="tus", method="mean-teacher", recipe="smoke", settings=settings, phantom="always"
        )
    )


@pytest.mark.parametrize("field", FIELDS)
def test_numbers_out_of_bounds_are_refused(field: str) -> None:
    for value in ENDLESS if field == "lr" else (".nan", "-1", "99999999999999999999"):
        with pytest.raises(UsageError) as refused:
            settled(f"{field}={value}")
        message = str(refused.value)
        assert field.rpartition(".")[2] in message and len(message) < 1000, (field, value)


def test_values_that_nothing_can_run_with_are_refused() -> None:
    for text in OTHERS:
        with pytest.raises(UsageError):
            settled(text)


def test_what_can_be_run_is_still_taken() -> None:
    spec = settled(
        "iterations=4.0", "lr=1e-3", "clip_norm=1", "weak.scale=[0.5, 0.8, 1.2]", "term.consistency.ramp.end=1.5"
    ).spec
    assert spec.recipe.options["iterations"] == 4 and spec.recipe.options["lr"] == 0.001
    assert spec.recipe.options["weak"]["scale"] == [0.5, 0.8, 1.2]
    assert spec.entry.terms["consistency"]["ramp"]["end"] == 1.5
    assert (
        settled("clip_norm=null", "phantom.cases=30", "term.consistency=0").spec.entry.terms["consistency"]["weight"]
        == 0.0
    )


def test_records_of_terms_stay_as_they_were_written() -> None:
    """Their texts are in the run key: a whole number must not become a fraction."""
    terms = {"sup": Term(), "unsup": Term(0.5, active=(0.25, math.inf))}
    records = term_records(terms, {"unsup": {"weight": 2, "ramp": {"end": 1}}})
    assert records["sup"] == terms["sup"].record()
    assert records["unsup"]["ramp"] == {"kind": "constant", "end": 1, "levels": 0}
    assert isinstance(records["unsup"]["ramp"]["end"], int) and records["unsup"]["active"] == [0.25, None]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "lr=&a [*a]",
        "lr=" + "[" * 5000,
        "lr=" + "9" * 100_000,
        "lr=\x00",
        "lr=!!bool x",
        "lr=[",
        "x" * 100_000,
        "lr={<<: 1}",
    ],
)
def test_settings_that_are_no_values_end_in_one_short_line(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse([text]) and settled(text)
    assert len(str(refused.value)) < 1000 and "\n" not in str(refused.value)


@pytest.mark.parametrize("field", ["data_root", "weights", "tuned", "dataset", "conventions", "runs"])
def test_no_text_of_a_request_holds_nul(field: str) -> None:
    value = ("a\0b",) if field == "conventions" else "a\0b"
    with pytest.raises(ValidationError, match="without the character NUL"):
        Request(**{"protocol": "self", "dataset": "tus", field: value})
    if field in ("data_root", "weights"):
        with pytest.raises(ValidationError, match="without the character NUL"):
            Group(**{"protocols": "self", "datasets": "tus", field: value})
