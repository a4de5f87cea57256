"""A pytest plugin: `pytest -p semibench.conformance.plugin --semibench-method NAME` runs only the battery of a plug-in.

`--semibench-backbone`, `-dataset`, `-protocol`, `-generator`, `-convention`, `-split` and `-recipe` work alike. To run the
battery along with other tests, use `semibench.conformance.parametrize_checks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

KINDS = ("method", "backbone", "dataset", "protocol", "generator", "convention", "split", "recipe")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the repeatable options --semibench-KIND, which take a name or "all", and --semibench-slow."""
    group = parser.getgroup("semibench", "conformance of Semibench plug-ins")
    for kind in KINDS:
        group.addoption(f"--semibench-{kind}", action="append", default=[], metavar="NAME", help=f"a {kind}, or all")
    group.addoption("--semibench-slow", action="store_true", help="also check whether methods learn (minutes)")


class Fact(pytest.Item):
    """One check as a test. A known failure is expected to fail."""

    def __init__(self, *, check: Any, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.check = check
        if check.known:
            self.add_marker(pytest.mark.xfail(reason=check.known, strict=True))

    def runtest(self) -> None:
        """Runs the check on one thread; more threads only cost time at these sizes."""
        import torch

        torch.set_num_threads(1)
        self.check()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Returns the reason in one line for a broken fact, and the traceback for other errors."""
        if excinfo.errisinstance(AssertionError):
            return f"{self.name}: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Replaces the collected tests by the battery if a plug-in is named."""
    names_by_kind = {kind: list(config.getoption(f"--semibench-{kind}")) for kind in KINDS}
    if not any(names_by_kind.values()):
        return
    from semibench.conformance.battery import battery

    selected = {kind: None if "all" in names else names for kind, names in names_by_kind.items() if names}
    checks = battery(selected, slow=bool(config.getoption("--semibench-slow")))
    items[:] = [Fact.from_parent(session, name=str(check), check=check) for check in checks]
