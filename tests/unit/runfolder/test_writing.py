"""The status of a run where the disk is full, and what status and log don't say."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from semibench.runfolder.records import Status
from semibench.runfolder.writing import BLOCK, StatusFile, logged


def no_room_for_drafts(folder: Path) -> Path:
    """A folder in the place of the draft of status.json, so that the file can't be replaced; returns it."""
    blocking = folder / f".status.json.{os.getpid()}.tmp"
    blocking.mkdir()
    return blocking


@pytest.mark.parametrize("state", ["failed", "interrupted", "done"])
def test_a_status_that_cannot_be_replaced_is_overwritten(tmp_path: Path, state: str) -> None:
    status = StatusFile(tmp_path)
    status.write("running")
    before = (tmp_path / "status.json").stat().st_ino
    no_room_for_drafts(tmp_path)
    status.write(state, "OSError: [Errno 28] No space left on device" if state == "failed" else None)  # type: ignore[arg-type]
    now = Status.from_disk(tmp_path)
    assert now is not None and now.state == state and now.ended is not None
    assert (tmp_path / "status.json").stat().st_ino == before


def test_an_overwritten_status_takes_no_more_room(tmp_path: Path) -> None:
    status = StatusFile(tmp_path)
    status.write("running")
    no_room_for_drafts(tmp_path)
    status.write("failed", "why " * 5000)
    now = Status.from_disk(tmp_path)
    assert now is not None and now.error is not None and now.error.startswith("why why")
    assert (tmp_path / "status.json").stat().st_size <= BLOCK


def test_a_run_does_not_start_without_a_status(tmp_path: Path) -> None:
    no_room_for_drafts(tmp_path)
    with pytest.raises(OSError, match=r"status\.json"):
        StatusFile(tmp_path).write("running")


def test_passwords_reach_neither_the_status_nor_the_log(tmp_path: Path) -> None:
    address = "postgresql://ada:lovelace@db.example/mlflow"
    StatusFile(tmp_path).write("failed", f"MlflowException: no answer from {address}")
    with logged(tmp_path / "log.txt"):
        try:
            raise RuntimeError(address)
        except RuntimeError:
            logging.getLogger("semibench").exception("the store %s", address)
    for name in ("status.json", "log.txt"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "lovelace" not in text and "db.example" in text
    assert "db.example" in json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))["error"]


def test_a_log_without_room_costs_its_lines_only(capsys: pytest.CaptureFixture[str]) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with logged(full):
        logging.getLogger("semibench").warning("a line")
    assert capsys.readouterr().err == ""
