"""The files of this package, and the error for a damaged one."""

from __future__ import annotations

from importlib import resources

from semibench.contracts.errors import SemibenchError


class PublishedDataError(SemibenchError):
    """A file of published values contradicts its own description; names the file and the line."""


def text_of(name: str) -> str:
    """The content of a file in `published/data`."""
    return resources.files(__package__).joinpath("data", name).read_text(encoding="utf-8")
