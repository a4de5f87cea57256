"""A reference that can't start beside a run is told, and nobody waits for it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from semibench.cli.compared_runs import References
from semibench.reporting import Reporter
from semibench.run.comparison import Compared
from semibench.run.request import Request


class Notes(Reporter):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def test_a_place_that_can_t_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uncaught: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", uncaught.append)
    (tmp_path / "runs").write_text("a file in the place of the folder", encoding="utf-8")
    notes = Notes()
    row = Compared("labels alone", Request(protocol="self", dataset="tus", runs=tmp_path / "runs"))
    references = References([row], notes)
    references.start()
    references.wait(row)
    references.stop()
    assert uncaught == []
    assert any(
        "labels alone can't run beside the run and follows it: " in text and "runs" in text for text in notes.texts
    )
