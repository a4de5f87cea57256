"""What the operating system refuses ends in one line; the server of `bench ui` ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.command_line import bench
from support.places import with_tests

from semibench.files import explain, write_atomically


@pytest.mark.parametrize("words", [("runs", "--runs", "{file}/runs"), ("leaderboard", "--runs", "{file}")])
def test_a_file_in_the_place_of_a_folder_is_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("x")
    answer = bench(*(word.format(file=tmp_path / "file") for word in words))
    assert answer.exit_code in (1, 2) and "Traceback" not in answer.stderr and "file" in answer.stderr


def test_runs_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    answer = bench(
        "run", "--protocol", "self", "--dataset", "tus", "--recipe", "smoke", "--method", "supervised", "--set", "phantom.cases=20",
        "--set", "phantom.scale=0.1", "--no-track", "--runs", str(tmp_path / "file"),
    )  # fmt: skip
    assert answer.exit_code == 1 and str(tmp_path / "file") in answer.stderr and "Not a directory" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_full_disk_says_what_to_do() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OSError, match="No space left") as full, Path("/dev/full").open("w", encoding="utf-8") as file:
        file.write("x" * 100_000)
    assert "free some space" in explain(full.value)


def test_a_failed_write_names_the_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "kept.txt"
    file.write_text("old")

    def fail(draft: Path) -> None:
        draft.write_text("half", encoding="utf-8")
        os.write(os.open("/dev/full", os.O_WRONLY), b"x")

    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OSError, match=r"kept\.txt"):
        write_atomically(file, fail)
    assert file.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


SERVE = """
import sys
from semibench.cli.ui_command import serve
child = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)']); time.sleep(300)"
try:
    serve([sys.executable, "-c", child], {})
except KeyboardInterrupt:
    sys.exit(7)
"""


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_server_and_its_workers_end_with_the_command(sign: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", SERVE], env={**os.environ, "PYTHONPATH": with_tests()})
    try:
        started = time.monotonic()
        while (
            len(family := psutil.Process(process.pid).children(recursive=True)) < 2 and time.monotonic() - started < 60
        ):
            time.sleep(0.1)
        assert len(family) == 2
        process.send_signal(sign)
        assert process.wait(60) == 7
        assert not psutil.wait_procs(family, timeout=20)[1]
    finally:
        process.kill()
