"""Finds published values by name. An unknown name is an error that lists the known ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel

from semibench.contracts.errors import UnknownNameError, UsageError
from semibench.run.options import Option
from semibench_leaderboards.published.values import Value, values

ALIASES = {"jaccard": "iou", "dsc": "dice", "95hd": "hd95", "hd": "hd95", "isic2018": "isic18", "amos22": "amos"}
"""Names in papers or in the harness -> names in the tables."""


class ValueSearch(BaseModel, frozen=True, extra="forbid"):
    """What to look for among the published values: every field that is set must match.

    Case is ignored; a method is found by its slug or its printed name; the data set mmwhs matches both directions.
    """

    paper: Annotated[str | None, Option("mgcc, diff-cl, csc-pa, semsim or dtlp.")] = None
    table: Annotated[str | None, Option("Number of the table, as printed: I, 3.")] = None
    dataset: Annotated[str | None, Option("Data set.", ("--dataset", "-d"))] = None
    setting: Annotated[str | None, Option("Setting or block: self, labeled-5pct, uda.")] = None
    method: Annotated[str | None, Option("Method: slug or printed name.", ("--method", "-m"))] = None
    group: Annotated[str | None, Option("mean, or a class or domain.")] = None
    metric: Annotated[str | None, Option("dice, iou, hd95, asd ...")] = None
    role: Annotated[str | None, Option("proposed, baseline, lower-bound, upper-bound, variant.")] = None


def find(search: ValueSearch | None = None, among: Sequence[Value] | None = None) -> list[Value]:
    """The values that match a search, in the order of the tables.

    Args:
        search: what to look for; None: every value.
        among: values to choose from; None: those of all papers.

    Raises:
        UnknownNameError: no value has one of the names.
        UsageError: no value has the combination.
    """
    chosen = list(values() if among is None else among)
    everything = list(chosen)
    wanted: dict[str, str] = (search or ValueSearch()).model_dump(exclude_none=True)
    for name, text in wanted.items():
        low = text.lower()
        low = ALIASES.get(low, low)
        if not any(_fits(value, name, low) for value in everything):
            raise UnknownNameError(_called(name), text, _known(everything, name, wanted))
        chosen = [value for value in chosen if _fits(value, name, low)]
    if not chosen:
        combination = ", ".join(f"{name} {text!r}" for name, text in wanted.items())
        paper = wanted.get("paper")
        within = find(ValueSearch(paper=paper) if len(wanted) > 1 else None, everything)
        last = list(wanted)[-1]
        raise UsageError(
            f"no published value has {combination}. {_called(last).capitalize()}s"
            + (f" of {paper}" if paper else "")
            + f": {', '.join(sorted(_known(within, last, {})))}"
        )
    return chosen


def _fits(value: Value, name: str, low: str) -> bool:
    if name == "method":
        return low in (value.method, value.alias.lower())
    if name == "dataset":
        return value.dataset == low or value.dataset.startswith(f"{low}-")
    if name == "setting":
        return low in (value.setting.lower(), value.block.lower())
    return str(getattr(value, name)).lower() == low


def _known(given: Sequence[Value], name: str, wanted: dict[str, str]) -> set[str]:
    """Names that a user may type; of tables, only those of the paper that was named."""
    if name == "table" and "paper" in wanted:
        given = [value for value in given if value.paper == wanted["paper"].lower()]
    if name == "setting":
        return {value.block for value in given} | {value.setting for value in given}
    return {str(getattr(value, name)) for value in given} - {""}


def _called(name: str) -> str:
    return {"dataset": "published data set", "paper": "paper", "role": "role"}.get(name, f"published {name}")
