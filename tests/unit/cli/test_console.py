"""Output in any encoding: letters that it lacks are replaced in text and escaped in JSON; no command fails over a dash."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from support.command_line import bench_process
from support.places import with_tests

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
    stdout().show("0.81 ± 0.04")
    assert buffer.getvalue().decode("ascii").strip() == "0.81 ? 0.04"


CHATTY = """
import os
print("a banner")
os.write(1, b"a banner of a C library\\n")
from semibench import MethodCard, hookimpl

@hookimpl
def semibench_methods():
    os.write(1, b"a banner of a hook\\n")
    return [MethodCard(name="mean-teacher", title="Another", load="chatty_cards:Nothing")]
"""


@pytest.mark.slow
def test_a_plug_in_that_prints_and_takes_a_name_leaves_results_and_built_ins_alone(tmp_path: Path) -> None:
    info = tmp_path / "site" / "chatty-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: chatty\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[semibench]\nchatty = chatty_cards\n", encoding="utf-8")
    (tmp_path / "site" / "chatty_cards.py").write_text(CHATTY, encoding="utf-8")
    environment = {"PYTHONPATH": with_tests(tmp_path / "site")}
    shown = bench_process("show", "method", "mean-teacher", "--json", folder=tmp_path, environment=environment)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["full_name"] == "semibench:mean-teacher"
    assert shown.stderr.count("a banner") == 3
    suites = bench_process("suite", "list", "--json", folder=tmp_path, environment=environment)  # a plug-in's command
    assert "a banner of a hook" in suites.stderr and json.loads(suites.stdout)
    listed = bench_process("list", "methods", "--json", folder=tmp_path, environment=environment)
    names = [item["full_name"] for item in json.loads(listed.stdout) if item["name"] == "mean-teacher"]
    assert names == ["semibench:mean-teacher", "chatty:mean-teacher"]
    assert "chatty: see `bench doctor`" in listed.stderr
