"""Reads the data files of this package."""

from __future__ import annotations

from importlib import resources

from semibench.contracts.errors import SemibenchError


class PublishedDataError(SemibenchError):
    """A file of published values is damaged or contradicts itself; the message names the file and the line."""


def text_of(name: str) -> str:
    """The content of a file in `published/data`."""
    return resources.files(__package__).joinpath("data", name).read_text(encoding="utf-8")
