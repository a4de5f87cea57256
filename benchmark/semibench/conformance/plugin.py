"""A pytest plugin: `pytest -p semibench.conformance.plugin --semibench-method NAME` runs the battery on a registered plugin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """--semibench-method and --semibench-backbone, each as often as wanted; "all" for every registered one."""
    group = parser.getgroup("semibench", "conformance of Semibench plugins")
    group.addoption("--semibench-method", action="append", default=[], metavar="NAME")
    group.addoption("--semibench-backbone", action="append", default=[], metavar="NAME")


class Battery(pytest.Collector):
    """Collects one item for each check."""

    def collect(self) -> Iterator[pytest.Item]:
        from semibench.conformance.battery import battery
        from semibench.registry import registry

        names: dict[str, list[str]] = {}
        for kind in ("method", "backbone"):
            given = self.config.getoption(f"--semibench-{kind}")
            known = [item.name for item in registry().cards(f"{kind}s")]
            names[f"{kind}s"] = known if "all" in given else given
        for check in battery(**names):
            yield Fact.from_parent(self, name=str(check), check=check)


class Fact(pytest.Item):
    """One check."""

    def __init__(self, *, check: Any, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.check = check

    def runtest(self) -> None:
        self.check()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The reason in one line for a broken fact, the traceback for anything else."""
        if excinfo.errisinstance(AssertionError):
            return f"{self.name}: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


def pytest_collection(session: pytest.Session) -> None:
    """Adds the battery to what pytest collects."""
    if not any(session.config.getoption(f"--semibench-{kind}") for kind in ("method", "backbone")):
        return
    original = session.genitems

    def with_battery(node: Any) -> Iterator[pytest.Item]:
        yield from original(node)

    session.genitems = with_battery  # type: ignore[method-assign]
