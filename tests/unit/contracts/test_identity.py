"""Identity: what enters a run key, and what does not."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import ValidationError

from semibench import Entry, Part, Ramp, Replicate, RunSpec, Term, Track
from semibench.contracts.identity import canonical, sha256


def spec(**changes: object) -> RunSpec:
    track = Track(
        protocol=Part(name="semibench:self", options={"labeled": 0.5}),
        dataset=Part(name="semibench:tus"),
        data="00",
        recipe=Part(name="quick"),
    )
    entry = Entry(method=Part(name="semibench:mgcc"), backbone=Part(name="semibench:unet"))
    return RunSpec(**{"track": track, "entry": entry, "replicate": Replicate(draw=0)} | changes)


def test_key_is_sha256_of_canonical_json() -> None:
    one = spec()
    expected = sha256(json.dumps(one.model_dump(mode="json"), sort_keys=True, separators=(",", ":")))
    assert one.key == expected


def test_key_does_not_depend_on_the_order_of_options() -> None:
    a = Part(name="x", options={"a": 1, "b": {"c": 2, "d": 3}})
    b = Part(name="x", options={"b": {"d": 3, "c": 2}, "a": 1})
    assert a.digest() == b.digest()


@pytest.mark.parametrize("field", ["draw", "fold", "seed"])
def test_replicates_share_a_row_and_differ_in_key(field: str) -> None:
    one, other = spec(), spec(replicate=Replicate(**{"draw": 0} | {field: 1}))
    assert one.row == other.row
    assert one.key != other.key


def test_another_entry_is_another_row_on_the_same_track() -> None:
    one = spec()
    other = one.model_copy(update={"entry": one.entry.model_copy(update={"init": "ff"})})
    assert one.track.digest() == other.track.digest()
    assert one.row != other.row


def test_specs_refuse_unknown_fields() -> None:
    with pytest.raises(ValidationError):
        Replicate(draws=1)  # type: ignore[call-arg]


def test_not_a_number_has_no_canonical_form() -> None:
    with pytest.raises(ValueError):
        canonical({"x": math.nan})


def test_own_recipe_comes_from_the_entry() -> None:
    own = spec().track.model_copy(update={"recipe": "own"})
    entry = spec().entry.model_copy(update={"recipe": Part(name="own", options={"lr": 1})})
    assert spec(track=own, entry=entry).recipe.options == {"lr": 1}
    with pytest.raises(ValueError, match="own"):
        _ = spec(track=own).recipe


@pytest.mark.parametrize(
    "term", [Term(), Term(0.1, Ramp("sigmoid", 0.4, 40), (1 / 30, math.inf)), Term(2, active=(0, 2 / 3))]
)
def test_term_record_round_trip(term: Term) -> None:
    record = json.loads(json.dumps(term.record()))
    assert Term.restore(record) == term


@pytest.mark.parametrize(
    ("ramp", "progress", "expected", "tolerance"),
    [
        (Ramp("sigmoid", 1.0, 200), 1000 / 30000, 0.00905, 5e-6),  # SSL4MIS: .1 * r = .000905
        (Ramp("sigmoid", 1.5, 200), 19999 / 20000, 3.99397 / 7, 1e-6),  # MGCC's code: never completed
        (Ramp("sigmoid", 0.4, 40), 3000 / 15000, 0.2865, 1e-4),  # MC-Net
        (Ramp("sigmoid"), 0.5, 0.2865, 1e-4),  # A&D at half
        (Ramp("cosine", 0.15), 0.0375, 0.1464, 1e-4),  # PS-MT at a quarter of the ramp
        (Ramp("sigmoid", 3.75), 1.0, 0.0680, 1e-4),  # SCP-Net's end: .1 * r = .0068
        (Ramp("decline"), 0.25, 0.75, 1e-12),
        (Ramp("linear", 0.5), 0.25, 0.5, 1e-12),
        (Ramp(), 0.3, 1.0, 0.0),
    ],
)
def test_ramps_give_the_papers_numbers(ramp: Ramp, progress: float, expected: float, tolerance: float) -> None:
    assert ramp(progress) == pytest.approx(expected, abs=tolerance)


def test_gates_are_closed_below_and_open_above() -> None:
    gated = Term(0.1, active=(1 / 30, 2 / 3))
    assert [gated.at(p) for p in (0.0, 1 / 30, 0.5, 2 / 3)] == [0.0, 0.1, 0.1, 0.0]
