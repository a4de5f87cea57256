"""What is known of each paper as a whole: its tables, its way to score, on what it chose the weights it scored."""

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
    """name: as in the values. conventions: data set (or "*") -> conventions that score as the paper does, the best first.
    selection: where the weights that were scored had been chosen. spread: what the printed deviations are over.
    tables: number -> subject."""

    name: str
    title: str
    citation: str
    url: str = ""
    conventions: Mapping[str, tuple[str, ...]]
    selection: Selection
    selection_note: str
    spread: str
    tables: Mapping[str, str]

    def conventions_for(self, dataset: str) -> tuple[str, ...]:
        """Names of the conventions that score a data set (as the tables call it) in the paper's way."""
        return tuple(self.conventions.get(dataset, self.conventions.get("*", ())))


@cache
def papers() -> Mapping[str, Paper]:
    """The five papers by name."""
    records = yaml.safe_load(text_of("papers.yaml"))
    return {name: Paper(name=name, **record) for name, record in records.items()}


def own_convention(value: Value, available: Mapping[str, object] | set[str] | tuple[str, ...]) -> str | None:
    """The convention of a value's paper among those available (short names), None where there is none."""
    return next((name for name in papers()[value.paper].conventions_for(value.dataset) if name in available), None)
