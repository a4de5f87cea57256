"""How long work tells about itself. The harness calls a `Reporter`; the command line draws it, tests collect it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

log = logging.getLogger("semibench")


class Reporter:
    """Receives progress; every method does nothing by default, notes and warnings go to the log."""

    def phase(self, name: str, total: int) -> None:
        """A piece of work of `total` units begins ("decode", "fit generator", "train", "score last" ...)."""

    def advance(self, done: int, values: Mapping[str, float] | None = None) -> None:
        """`done` units of the current phase are finished; values: latest figures to show (loss terms, Dice)."""

    def end(self) -> None:
        """The current phase is finished."""

    def close(self) -> None:
        """Every phase that is still open is over, as after an error."""

    def note(self, message: str) -> None:
        """Something worth one line."""
        log.info(message)

    def warn(self, message: str) -> None:
        """Something the user must see."""
        log.warning(message)
