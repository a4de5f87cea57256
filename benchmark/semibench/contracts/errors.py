"""Every error that a user or plugin author can meet. A message says what was expected, what was found and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SemibenchError(Exception):
    """Base of all errors that the harness raises on purpose. The command line prints them without a traceback (exit code 1)."""


class UsageError(SemibenchError):
    """The request itself is wrong: unknown name, unknown option, impossible combination (exit code 2)."""


class UnknownNameError(UsageError):
    """No healthy plugin registered this name. The message lists the valid names and suggests the nearest.

    Args:
        kind: what was looked up, e.g. "method".
        name: the unknown name.
        known: the valid names.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        plain = {_plain(known_name): known_name for known_name in names}
        near = [plain[word] for word in difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.5)]
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"no {kind} is called {name!r}.{hint} Known: {', '.join(names) or 'none'}.")
        self.kind, self.name = kind, name


def _plain(name: str) -> str:
    """Returns a name without capitals and punctuation."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


class PluginError(SemibenchError):
    """A plugin is broken: its import, hook, card or class. The message names the distribution and the entry point."""


class LayoutError(SemibenchError):
    """The files of a data set are not where its official layout puts them.

    Args:
        message: shows the expected tree and what was found.
        brief: the same in one line, for lists of problems; by default the message without line breaks.
    """

    def __init__(self, message: str, brief: str | None = None) -> None:
        super().__init__(message)
        self.brief = " ".join(message.split()) if brief is None else brief


class CaseError(SemibenchError):
    """A case cannot be read. The message names the file."""


class UnsupportedError(SemibenchError):
    """A method, backbone or protocol declares that it cannot do this combination, and why. The run is skipped, not failed."""


class DivergedError(SemibenchError):
    """A loss became NaN or infinite. The message names the term, the step and the cases of the batch."""


class IdentityError(SemibenchError):
    """A run folder, checkpoint or artifact belongs to another spec than the requested one."""


class BusyError(SemibenchError):
    """Another process is working on the same run."""


def one_line(error: BaseException) -> str:
    """Returns the message of an error without line breaks; empty if it has none."""
    return " ".join(str(error).split())
