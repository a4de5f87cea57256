"""Progress reporting for long-running work. The harness calls a `Reporter`; the command line draws it, tests collect it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

log = logging.getLogger("semibench")


class Reporter:
    """Receives progress. By default its methods do nothing, except that notes and warnings go to the log."""

    def phase(self, name: str, total: int) -> None:
        """Begin a phase of `total` units of work ("decode", "fit generator", "train", "score last" ...)."""

    def advance(self, done: int, values: Mapping[str, float] | None = None) -> None:
        """Report that `done` units of the current phase are finished, with the latest values to show (loss terms, Dice)."""

    def end(self) -> None:
        """End the current phase."""

    def close(self) -> None:
        """End every open phase, as after an error."""

    def note(self, message: str) -> None:
        """Show a remark, in one line."""
        log.info(message)

    def warn(self, message: str) -> None:
        """Show a warning that the user must see."""
        log.warning(message)
