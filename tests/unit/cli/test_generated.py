"""Options made from the fields of records: types, limits, switches, what is required, and what the command gets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import AfterValidator, BaseModel, Field
from typer.testing import CliRunner

from semibench.cli.generated import Fields, with_options
from semibench.run.options import Option


def _even(number: int) -> int:
    if number % 2:
        raise ValueError(f"expected an even number of seats, found {number}")
    return number


class Order(BaseModel, frozen=True):
    """Fields of every kind."""

    dish: Annotated[str, Option("What to cook.", ("--dish", "-d"))]
    count: Annotated[int, Field(ge=1, le=9), Option("How many.", panel="Amount")] = 2
    spice: Annotated[tuple[str, ...], Option("Repeatable.", metavar="NAME")] = ()
    place: Annotated[Path | None, Option("Where.")] = None
    hot: Annotated[bool, Option("Hot, or not.", ("--hot/--cold",))] = True
    salt: Annotated[
        Literal["some", "much", "none"], Option("Salt.", ("--salt/--no-salt",), switch=("much", "none"))
    ] = "some"
    days: Annotated[tuple[str, ...], Option("With commas.", commas=True)] = ()


class Table(BaseModel, frozen=True):
    """A record that refuses some values, and a field without an option."""

    seats: Annotated[int, AfterValidator(_even), Option("Seats.", ("--seats", "-s"), "Room")] = 2
    cloth: Annotated[str, Option("Cloth.")] = ""
    room: str = "hall"


SEEN: list[Any] = []


@with_options
def whole(order: Order, loud: bool = False) -> None:
    """Cooks."""
    SEEN.append((order, loud))


@with_options
def values(given: Annotated[dict[str, Any], Fields(Order)]) -> None:
    SEEN.append(given)


@with_options
def laid(
    table: Annotated[
        Table,
        Fields(Table, only=("seats",), panel="Guests", texts={"seats": "How many sit there."}),
        Fields(Table, only=("cloth",)),
    ],
) -> None:
    SEEN.append(table)


@with_options
def bare(table: Table) -> None:
    SEEN.append(table)


def call(command: Any, *words: str) -> Any:
    """What the command got; the result of the runner where it got nothing."""
    SEEN.clear()
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command()(command)
    result = CliRunner(env={"COLUMNS": "120", "TERMINAL_WIDTH": "120"}).invoke(app, list(words))
    return SEEN[0] if SEEN else result


def test_a_record_is_made_of_the_options() -> None:
    assert call(whole, "-d", "soup") == (Order(dish="soup"), False)
    words = (
        "--dish",
        "pie",
        "--count",
        "9",
        "--spice",
        "a",
        "--spice",
        "b",
        "--place",
        "x/y",
        "--cold",
        "--no-salt",
        "--loud",
    )
    made = Order(dish="pie", count=9, spice=("a", "b"), place=Path("x/y"), hot=False, salt="none")
    assert call(whole, *words) == (made, True)
    assert call(whole, "-d", "pie", "--salt")[0].salt == "much"


def test_values_are_those_of_the_options_and_defaults_and_nothing_is_required() -> None:
    assert call(values) == {"count": 2, "hot": True}
    assert call(values, "-d", "x", "--days", "mon,tue") == {"dish": "x", "count": 2, "hot": True, "days": "mon,tue"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Missing option '--dish' / '-d'"),
        (("-d", "x", "--count", "10"), "less than or equal to 9"),
        (("-d", "x", "--count", "0"), "greater than or equal to 1"),
        (("-d", "x", "--count", "many"), "valid integer"),
        (("-d", "x", "--coutn", "1"), "--count"),
    ],
)
def test_wrong_options_are_wrong_usage(words: tuple[str, ...], message: str) -> None:
    result = call(whole, *words)
    assert result.exit_code == 2 and message in " ".join(result.output.replace("│", " ").split())


def test_the_help_shows_panels_limits_and_defaults_that_say_something() -> None:
    text = call(whole, "--help").output
    for word in ("Amount", "1<=x<=9", "[default: 2]", "NAME", "--hot", "--cold", "[required]", "Cooks.", "--loud"):
        assert word in text
    assert not {"[default: hot]", "[default: some]", "[default: None]"} & set(re.findall(r"\[default: \w+\]", text))


def test_several_marks_make_one_record_and_show_its_fields_in_different_panels() -> None:
    assert call(laid, "-s", "4", "--cloth", "red") == Table(seats=4, cloth="red")
    assert call(laid) == Table()
    text = call(laid, "--help").output
    guests = text[text.index("─ Guests") :]
    assert "How many sit there." in guests and "[default: 2]" in guests and "--cloth" not in guests
    assert "--cloth" in text and "Room" not in text and "Seats." not in text


def test_a_field_without_an_option_keeps_its_default() -> None:
    assert call(bare, "--seats", "6") == Table(seats=6)
    text = call(bare, "--help").output
    assert "Room" in text and "--room" not in text and "[default: ]" not in text


def test_what_a_record_refuses_is_wrong_usage() -> None:
    result = call(bare, "--seats", "3")
    text = " ".join(result.output.replace("│", " ").split())
    assert result.exit_code == 2 and "Invalid value for --seats: expected an even number of seats, found 3" in text
