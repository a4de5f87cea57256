"""Output in any encoding: letters that it lacks are replaced in text and escaped in JSON; no command fails over a dash."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from support.command_line import bench_process

from semibench.cli.console import emit, stdout, tolerant_streams


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_commands_print_in_the_encoding_of_the_output(encoding: str, tmp_path: Path) -> None:
    environment = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    listed = bench_process("list", "methods", folder=tmp_path, environment=environment)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "mean-teacher" in listed.stdout


def test_json_keeps_letters_that_the_output_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"device": "Gerät ±1 – µm", "file": "cut\udcff.png"}
    for encoding in ("ascii", "cp1252", "utf-8"):
        buffer = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding=encoding))
        emit(record)
        assert json.loads(buffer.getvalue().decode(encoding)) == record, encoding


def test_text_replaces_them(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    tolerant_streams()
    stdout().show("0.81 ± 0.04, cut\udcff.png")
    assert buffer.getvalue().decode("ascii").strip() == "0.81 ? 0.04, cut?.png"
