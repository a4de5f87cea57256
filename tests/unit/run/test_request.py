"""Requests: the same as record, command line and stored spec; one mention of each field."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semibench import UsageError
from semibench.cli.app import build
from semibench.contracts.identity import RunSpec
from semibench.matrix.cells import AXES, Group, as_groups
from semibench.run.options import Option
from semibench.run.request import Cell, Execution, Request, merge_settings, parts_of
from semibench.run.resolve import resolve

WORDS = st.text("abc-_.:/= '\"$", min_size=1, max_size=8).map(lambda text: f"x{text}")
NAMES = st.none() | WORDS
PATHS = st.none() | WORDS.map(Path)
NUMBERS = st.integers(0, 99)
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "protocol": WORDS, "dataset": WORDS, "method": NAMES, "backbone": NAMES, "recipe": WORDS, "preset": NAMES,
    "dims": st.sampled_from([None, 2, 3]), "weights": PATHS, "tuned": PATHS, "draw": NUMBERS, "fold": st.none() | NUMBERS,
    "seed": NUMBERS, "settings": st.lists(WORDS).map(tuple), "split": PATHS, "data_root": PATHS,
    "control": st.booleans(), "phantom": st.sampled_from(["auto", "always", "never"]), "conventions": st.lists(WORDS).map(tuple),
}  # fmt: skip
EXECUTIONS: dict[str, st.SearchStrategy[Any]] = {
    "device": WORDS, "memory_format": st.sampled_from(["recipe", "auto", "contiguous", "channels_last"]),
    "threads": st.none() | NUMBERS, "runs": WORDS.map(Path), "tracking_uri": NAMES,
    **{name: st.booleans() for name in ("resume", "force", "keep_predictions", "pictures", "track")},
}  # fmt: skip
REQUESTS = st.fixed_dictionaries(CELLS | EXECUTIONS).map(lambda fields: Request(**fields))


def typed(words: list[str]) -> Request:
    """What `bench run` is asked by these words."""
    seen: list[Request] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semibench.cli.run_command._one", lambda request, *_, **__: seen.append(request))
        build()(args=words, standalone_mode=False)
    return seen[0]


def test_every_field_has_an_option_and_the_request_adds_none() -> None:
    assert set(CELLS) == set(Cell.model_fields) and set(EXECUTIONS) == set(Execution.model_fields)
    assert list(Request.model_fields) == [*Cell.model_fields, *Execution.model_fields]
    assert set(Option.fields(Request)) == set(Request.model_fields)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(REQUESTS)
def test_the_command_line_asks_for_the_same(request_: Request) -> None:
    words = shlex.split(request_.to_command())
    assert words[:2] == ["bench", "run"]
    assert typed(words[1:]) == request_


def test_a_command_names_what_is_not_the_default_and_the_recipe_and_the_seed() -> None:
    cell = Cell(
        protocol="self", dataset="tus", method="cps", dims=2, settings=("lr=0.02", "patch=[32, 32]"), phantom="never"
    )
    assert cell.to_command() == (
        "bench run -p self -d tus -m cps -r quick --dims 2 --seed 0 --set lr=0.02 --set 'patch=[32, 32]' --no-phantom"
    )
    request = cell.request(runs=Path("elsewhere"), track=False, resume=False)
    assert request.to_command(leave_out=("settings",)).endswith("--no-phantom --runs elsewhere --restart --no-track")


@pytest.mark.parametrize(
    ("field", "value"), [("dims", 4), ("draw", -1), ("fold", -1), ("seed", -2), ("phantom", "maybe"), ("sead", 1)]
)
def test_wrong_values_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        Cell(**{"protocol": "self", "dataset": "tus", field: value})


ASKED = [
    Cell(
        protocol="self", dataset="tus", method="cps", settings=("phantom.cases=20", "lr=0.05", "term.cross.weight=0.3")
    ),
    Cell(protocol="self", dataset="bus-bra", method="fixmatch", draw=1, fold=2, seed=3, settings=("folds=5",)),
    Cell(protocol="synthetic", dataset="tus", method="mean-teacher", recipe="smoke", settings=("phantom.cases=20",)),
    Cell(protocol="self", dataset="tus", method="mgcc", recipe="own", preset="code", settings=("phantom.cases=20",)),
    Cell(
        protocol="ssmis", dataset="la", method="mean-teacher", backbone="vnet", recipe="smoke", settings=("labeled=8",)
    ),
]


@pytest.mark.parametrize("asked", ASKED, ids=[cell.label for cell in ASKED])
def test_a_spec_gives_back_the_request(asked: Cell) -> None:
    spec = resolve(asked.model_copy(update={"phantom": "always"}).request()).spec
    stored = RunSpec.model_validate(json.loads(json.dumps(spec.model_dump(mode="json"))))
    again = Request.from_spec(stored, device="cpu")
    assert again.device == "cpu" and again.phantom == "always"
    assert resolve(again).spec.key == spec.key
    assert resolve(typed(shlex.split(again.to_command())[1:])).spec.key == spec.key


def test_a_spec_from_before_a_recipe_had_a_field_asks_for_its_default() -> None:
    spec = resolve(Request(protocol="ssmis", dataset="synapse", recipe="smoke", phantom="always")).spec
    recipe = dict(spec.recipe.options)
    assert recipe["weak"]["gamma"][0] > 0, "the data set's recipe changes intensities"
    recipe["weak"] = {name: recipe["weak"][name] for name in ("flip", "rotate90", "rotate", "scale", "crop")}
    del recipe["warm_up"]
    part = spec.recipe.model_copy(update={"options": recipe})
    older = spec.model_copy(update={"track": spec.track.model_copy(update={"recipe": part})})
    values = parts_of(older)["recipe"]
    assert values["weak"]["gamma"] == [0.0, 1.0, 1.0] and values["warm_up"] == 0.0
    assert values["weak"]["scale"] == recipe["weak"]["scale"]


def test_a_spec_that_no_request_can_have_is_refused() -> None:
    spec = resolve(ASKED[0].model_copy(update={"phantom": "always"}).request()).spec
    broken = spec.model_copy(update={"replicate": spec.replicate.model_copy(update={"seed": -5})})
    with pytest.raises(UsageError, match="seed"):
        Cell.from_spec(broken)


def test_groups_have_the_fields_of_a_cell() -> None:
    assert set(Group.model_fields) - {"set"} == {AXES.get(name, name) for name in Cell.model_fields} - {"settings"}
    cells = [
        Cell(protocol="self", dataset="tus", seed=seed, draw=draw, settings=("lr=0.02", "edition=default"), preset="x")
        for draw in (0, 2)
        for seed in (0, 1)
    ]
    other = Cell(protocol="ssmis", dataset="la", fold=1, phantom="never")
    groups = as_groups([*cells, other])
    assert groups[0]["set"] == {"lr": 0.02, "edition": "default"} and groups[0]["seeds"] == [0, 1]
    assert [cell for group in groups for cell in Group.model_validate(group).cells()] == [*cells, other]


def test_later_settings_take_the_place_of_earlier_ones() -> None:
    assert merge_settings(("a=1", "b=2"), ("a =3", "c=4")) == ("a =3", "b=2", "c=4")
