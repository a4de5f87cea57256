"""--set: parsing, assignment to parts, and messages."""

from __future__ import annotations

import datetime
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from semibench import Term, UsageError
from semibench.run.settings import assign, build, merge, parse, term_records, texts, write

PARTS = {"recipe": ["lr", "weak"], "method": ["decay", "width"], "backbone": ["width"], "term": ["sup", "consistency"]}


class Options(BaseModel, frozen=True, extra="forbid"):
    decay: float = Field(0.99, ge=0, le=1)
    kind: str = "a"


def test_values_are_yaml_and_exponents_are_numbers() -> None:
    parsed = parse(["a=1", "b=1e-3", "c=[64, 64]", "d=true", "e=text", "f=[1e-3, x]", "g=null"])
    assert parsed == {"a": 1, "b": 0.001, "c": [64, 64], "d": True, "e": "text", "f": [0.001, "x"], "g": None}


def test_quotes_keep_a_text_that_looks_like_a_number() -> None:
    assert parse(["a='1e-3'", "b=-.5", "c=1E5", "d=089", "e=1.", "f={x: 1e-3}"]) == {
        "a": "1e-3", "b": -0.5, "c": 1e5, "d": "089", "e": 1.0, "f": {"x": 0.001},
    }  # fmt: skip


TRICKY = (
    "1e-3", "-.5", "yes", "null", "010", "1:30", "2001-01-01", "<<", "=", "~", "", " a ", "a: b", "#c", "a\n\nb", "\x85", "\u2028",
    "\ufeff", "\ud800", "\U0001f600", "\\",
)  # fmt: skip
PLAIN_VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.sampled_from(TRICKY)
)
KEYS = st.text() | st.integers() | st.booleans() | st.sampled_from(TRICKY)
VALUES = st.recursive(PLAIN_VALUES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=8)


def same(first: Any, second: Any) -> bool:
    """Equal in type and value, all the way down; NaN is the same as NaN."""
    if type(first) is not type(second):
        return False
    if isinstance(first, float) and math.isnan(first):
        return math.isnan(second)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict):
        return len(first) == len(second) and all(map(same, [*first, *first.values()], [*second, *second.values()]))
    return bool(first == second)


@pytest.mark.slow
@settings(deadline=None)
@given(VALUES)
def test_every_value_comes_back(value: Any) -> None:
    text = write(value)
    assert "\n" not in text
    assert same(parse([f"part.name={text}"])["part.name"], value)


def test_what_people_would_write_is_written() -> None:
    values = {"lr": 0.02, "patch": (32, 64), "edition": "default", "on": "on", "term.a": {"ramp": {"end": math.inf}}}
    assert texts(values) == (
        "lr=0.02", "patch=[32, 64]", "edition=default", 'on="on"', "term.a={ramp: {end: .inf}}",
    )  # fmt: skip
    assert write(datetime.date(2001, 2, 3)) == "2001-02-03"


@pytest.mark.slow
@pytest.mark.parametrize("text", ["a=2001-13-45", "a=!!int ''", "a=" + "[" * 2000, "a={[1]: 2}", "a=!!python/none 1"])
def test_what_yaml_cannot_read_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a YAML value"):
        parse([text])


@pytest.mark.parametrize("text", ["lr", "=3", "a=[1"])
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        parse([text])


def test_names_find_their_part() -> None:
    given = assign({"lr": 1, "backbone.width": 2, "consistency": 0.5, "term.sup.ramp.end": 0.4, "weak.flip": 0}, PARTS)
    assert given["recipe"] == {"lr": 1, "weak": {"flip": 0}}
    assert given["backbone"] == {"width": 2}
    assert given["method"] == {}
    assert given["term"] == {"consistency": 0.5, "sup": {"ramp": {"end": 0.4}}}


def test_a_name_of_two_parts_must_be_qualified() -> None:
    with pytest.raises(UsageError, match=r"method\.width, backbone\.width"):
        assign({"width": 2}, PARTS)


@pytest.mark.parametrize(("name", "near"), [("consistncy", "consistency"), ("method.decya", "method.decay")])
def test_a_misspelt_name_says_what_was_meant(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean '{near}'"):
        assign({name: 1}, PARTS)


def test_build_names_every_wrong_field() -> None:
    with pytest.raises(UsageError) as caught:
        build(Options, "method 'x'", {"decay": 2, "knd": "b"})
    message = str(caught.value)
    assert "method 'x'" in message
    assert "decay" in message
    assert "found 2" in message
    assert "did you mean 'kind'" in message


def test_later_layers_win_and_mappings_merge() -> None:
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": 4}) == {"a": {"b": 3, "c": 2}, "d": 4}


def test_terms_take_a_weight_or_a_record() -> None:
    records = term_records(
        {"sup": Term(), "cons": Term(0.1)}, {"cons": 7, "sup": {"ramp": {"kind": "linear", "end": 0.5}}}
    )
    assert records["cons"]["weight"] == 7.0
    assert records["sup"]["ramp"] == {"kind": "linear", "end": 0.5, "levels": 0}


@pytest.mark.parametrize("change", [{"conss": 1}, {"cons": "much"}, {"cons": {"wight": 1}}])
def test_wrong_terms_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="term"):
        term_records({"cons": Term()}, change)
