"""A pytest plugin: `pytest -p semibench.conformance.plugin --semibench-method NAME` runs the battery on a registered plugin
and nothing else; likewise `--semibench-backbone`, `-dataset`, `-protocol`, `-generator`. To run it beside other tests, use
`semibench.conformance.parametrize_checks`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

KINDS = ("method", "backbone", "dataset", "protocol", "generator")


def pytest_addoption(parser: pytest.Parser) -> None:
    """--semibench-KIND, each as often as wanted; "all" for every registered one. --semibench-slow: also whether methods
    learn."""
    group = parser.getgroup("semibench", "conformance of Semibench plugins")
    for kind in KINDS:
        group.addoption(f"--semibench-{kind}", action="append", default=[], metavar="NAME", help=f"a {kind}, or all")
    group.addoption("--semibench-slow", action="store_true", help="also train methods and see whether they learn")


class Fact(pytest.Item):
    """One check. A known failure is an expected one with its reason."""

    def __init__(self, *, check: Any, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.check = check
        if check.known:
            self.add_marker(pytest.mark.xfail(reason=check.known, strict=True))

    def runtest(self) -> None:
        """Runs it on one thread: the sizes are so small that more only cost."""
        import torch

        torch.set_num_threads(1)
        self.check()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The reason in one line for a broken fact, the traceback for anything else."""
        if excinfo.errisinstance(AssertionError):
            return f"{self.name}: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the battery in the place of what was collected, where one was asked for."""
    given = {kind: list(config.getoption(f"--semibench-{kind}")) for kind in KINDS}
    if not any(given.values()):
        return
    from semibench.conformance.battery import battery

    wanted = {kind: None if "all" in names else names for kind, names in given.items() if names}
    checks = battery(wanted, slow=bool(config.getoption("--semibench-slow")))
    items[:] = [Fact.from_parent(session, name=str(check), check=check) for check in checks]
