"""Loads suites by name (those of this package) or by path."""

from __future__ import annotations

from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from semibench.contracts.errors import UnknownNameError, UsageError
from semibench.documents import parse_document, read_document
from semibench_leaderboards.suites.schema import Suite

ENDINGS = (".yaml", ".yml")


@cache
def names() -> tuple[str, ...]:
    """Names of the suites of this package, "paper-table", in the order of the papers and their tables."""
    from semibench_leaderboards.published.papers import papers

    order = [suite_name(paper, number) for paper in papers() for number in papers()[paper].tables]
    present = {entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml")}
    return tuple(name for name in order if name in present) + tuple(sorted(present - set(order)))


def suite_name(paper: str, table: str) -> str:
    """ "mgcc", "I" -> "mgcc-i": the name of the suite of a table."""
    return f"{paper}-{table.lower()}"


def load(name_or_path: str | Path) -> Suite:
    """Loads a suite by a name of `names()` (case is ignored) or by the path of a YAML file.

    Raises UnknownNameError for an unknown name, and UsageError with file and line for a wrong file.
    """
    path = Path(name_or_path)
    if isinstance(name_or_path, Path) or path.suffix in ENDINGS or "/" in str(name_or_path):
        return read_document(path, Suite)
    name = str(name_or_path).lower().replace(" ", "-")
    if name not in names():
        raise UnknownNameError("suite", str(name_or_path), names())
    return _packaged(name)


@cache
def _packaged(name: str) -> Suite:
    text = _folder().joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    suite = parse_document(text, Suite, f"{name}.yaml")
    if suite.name != name:
        raise UsageError(f"{name}.yaml: expected a suite with the name {name!r}, found {suite.name!r}")
    return suite


def _folder() -> Traversable:
    return resources.files(__package__).joinpath("tables")
