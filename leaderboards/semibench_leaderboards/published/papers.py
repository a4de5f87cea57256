"""Facts about each paper as a whole: its tables, how it scores, and how it chose the weights that it scored."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal

import yaml
from pydantic import BaseModel

from semibench_leaderboards.published.sources import text_of
from semibench_leaderboards.published.values import Value

Selection = Literal["test", "validation", "last", "unknown"]


class Paper(BaseModel, frozen=True, extra="forbid"):
    """A paper whose tables are here."""

    name: str
    """As in the values."""
    title: str
    citation: str
    url: str = ""
    conventions: Mapping[str, tuple[str, ...]]
    """Data set (or "*") -> conventions that score as the paper does, the best one first."""
    selection: Selection
    """Where the scored weights were chosen."""
    selection_note: str
    spread: str
    """What the printed deviations are over."""
    tables: Mapping[str, str]
    """Number -> subject."""

    def conventions_for(self, dataset: str) -> tuple[str, ...]:
        """Names of the conventions that score a data set (by its name in the tables) as the paper does."""
        return tuple(self.conventions.get(dataset, self.conventions.get("*", ())))


@cache
def papers() -> Mapping[str, Paper]:
    """The five papers by name."""
    records = yaml.safe_load(text_of("papers.yaml"))
    return {name: Paper(name=name, **record) for name, record in records.items()}


def own_convention(value: Value, available: Mapping[str, object] | set[str] | tuple[str, ...]) -> str | None:
    """The convention of a value's paper among the available ones (short names); None where there is none."""
    return next((name for name in papers()[value.paper].conventions_for(value.dataset) if name in available), None)
