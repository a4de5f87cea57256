"""Which runs a reader asks for. Light: the options of the commands are generated from it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel

from semibench.run.options import Option
from semibench_leaderboards.panels import WHICH

OF_TRACK = ("protocol", "dataset", "recipe", "track", "phantom")
"""Fields that select whole tracks."""


class RunFilter(BaseModel, frozen=True, extra="forbid"):
    """Selects runs: every field that is set must match.

    protocol, dataset, recipe, method, backbone: short or full name. track, row, key: beginning of the digest. phantom: only
    phantom data (True), or only real data (False).
    """

    protocol: Annotated[str | None, Option("Protocol of the track.", ("--protocol", "-p"), WHICH)] = None
    dataset: Annotated[str | None, Option("Data set of the track.", ("--dataset", "-d"), WHICH)] = None
    recipe: Annotated[str | None, Option("Recipe of the track.", ("--recipe", "-r"), WHICH)] = None
    method: Annotated[str | None, Option("Method.", ("--method", "-m"), WHICH)] = None
    backbone: Annotated[str | None, Option("Backbone.", ("--backbone", "-b"), WHICH)] = None
    track: Annotated[str | None, Option("Beginning of the track's digest.", panel=WHICH, metavar="DIGEST")] = None
    row: Annotated[str | None, Option("Beginning of the row's digest.", panel=WHICH, metavar="DIGEST")] = None
    key: str | None = None
    phantom: Annotated[bool | None, Option("Only phantom data, or only real data.", ("--phantom/--real",), WHICH)] = (
        None
    )

    @property
    def conditions(self) -> dict[str, Any]:
        """The fields that are set, by name."""
        return self.model_dump(exclude_none=True)

    def of_tracks(self) -> RunFilter:
        """The filter for all runs of the same tracks, whatever their method, backbone, row and key."""
        return RunFilter(**{name: value for name, value in self.conditions.items() if name in OF_TRACK})
