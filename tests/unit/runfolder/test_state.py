"""The state of a run: processes that are gone, and what a plan for the same run says of a folder."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import split_file_protocol
from support.leaderboard_toys import spec_of, write_run

from semibench.discovery.registry import Source, also_registered
from semibench.files import read_json, write_json
from semibench.run.execute import execute
from semibench.run.prepare import prepare
from semibench.run.request import Request
from semibench.runfolder.reading import ABANDONED, RunFolder, planned_state
from semibench.runfolder.records import Provenance, Result, SplitRecord, Status
from semibench.runfolder.state import host_digest, is_abandoned, process_is_gone, this_process
from semibench.runfolder.writing import StatusFile
from semibench_leaderboards.reading.records import read_runs

HOLDER = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def ended() -> tuple[int, str]:
    """Id of a process of this host that has ended, and the digest of the host."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid, host_digest()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder whose lock another process holds."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        yield tmp_path
        holder.kill()


def test_a_process_is_known_by_its_number_its_start_and_its_host(ended: tuple[int, str]) -> None:
    process, started, host = this_process()
    assert process_is_gone(process, started, host) is False
    assert process_is_gone(process, started - 3600.0, host) is True, "another process has the number now"
    assert process_is_gone(process, None, host) is None
    assert process_is_gone(ended[0], started, ended[1]) is True
    assert process_is_gone(ended[0], started, "node17") is None
    assert process_is_gone(ended[0], None, None) is None


def test_a_process_that_nobody_waited_for_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()  # until it ends; its parent hasn't asked how
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process_is_gone(process.pid, None, host_digest()) is True
    process.wait()


def test_the_lock_decides_where_the_process_cannot_be_asked(
    locked: Path, ended: tuple[int, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    free = tmp_path_factory.mktemp("free")
    for process, started, host in ((None, None, None), (os.getpid(), None, None), (4242, 1.0, "node17")):
        assert not is_abandoned(locked, process, started, host)
        assert is_abandoned(free, process, started, host)
    assert not is_abandoned(locked, ended[0], 1.0, ended[1]), "a new attempt holds it"
    assert not is_abandoned(free, *this_process())


def test_a_status_names_the_process_that_wrote_it(tmp_path: Path) -> None:
    StatusFile(tmp_path).write("running")
    status = Status.from_disk(tmp_path)
    assert status is not None
    assert (status.process, status.process_started, status.host) == this_process()
    assert status.ended is None and status.started is not None


def test_no_record_of_a_process_names_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "ward-7.hospital.example")
    StatusFile(tmp_path).write("running")
    text = (tmp_path / "status.json").read_text(encoding="utf-8")
    assert "ward-7" not in text and "hospital" not in text
    status = Status.from_disk(tmp_path)
    assert status is not None and status.host == hashlib.sha256(b"ward-7.hospital.example").hexdigest()[:12]
    monkeypatch.setattr(socket, "gethostname", lambda: "ward-8.hospital.example")
    assert status.process is not None
    assert process_is_gone(status.process, status.process_started, status.host) is None, "another host"


def test_a_run_whose_process_is_gone_is_interrupted_everywhere(tmp_path: Path, ended: tuple[int, str]) -> None:
    folder = write_run(tmp_path, state="running")
    status = read_json(folder / "status.json")
    write_json(folder / "status.json", status | {"process": ended[0], "host": ended[1], "process_started": 1.0})
    run = RunFolder(folder)
    assert (run.state, run.error) == ("interrupted", ABANDONED)
    (record,) = read_runs(tmp_path)
    assert (record.state, record.error) == ("interrupted", ABANDONED)
    assert planned_state(folder, spec_of(), run.provenance, SplitRecord())[0] == "interrupted"
    StatusFile(folder).write("running")
    assert RunFolder(folder).state == read_runs(tmp_path)[0].state == "running"
    assert planned_state(folder, spec_of(), run.provenance, SplitRecord())[0] == "running"


@pytest.mark.parametrize("state", ["failed", "interrupted"])
def test_with_a_checkpoint_a_run_is_resumable(tmp_path: Path, state: str) -> None:
    folder = write_run(tmp_path, state=state)
    now = RunFolder(folder).provenance, SplitRecord()
    assert planned_state(folder, spec_of(), *now) == (state, [])
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.pt").write_bytes(b"weights")
    assert planned_state(folder, spec_of(), *now) == ("resumable", [])


def test_a_folder_without_records_is_new(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("begun")
    assert planned_state(tmp_path, spec_of(), Provenance(), SplitRecord()) == ("new", [])
    assert planned_state(tmp_path / "none", spec_of(), Provenance(), SplitRecord()) == ("new", [])


# ---- the drawn split -----------------------------------------------------------------------------------------------


@pytest.fixture
def split_file(tmp_path: Path) -> Iterator[Path]:
    """Where a split lies; the protocol that reads it is installed."""
    source = Source("tests", "1.0", "tests", split_file_protocol.__name__, lambda: split_file_protocol)
    with also_registered(source):
        yield tmp_path / "split.json"


def write_split(file: Path, test: range) -> None:
    ids = [f"phantom-{number:05d}" for number in range(16)]
    rest = [name for number, name in enumerate(ids) if number not in test]
    split = {"labeled": rest[:4], "unlabeled": rest[4:-1], "validation": rest[-1:]}
    file.write_text(json.dumps({**split, "test": [ids[number] for number in test]}), encoding="utf-8")


@pytest.mark.slow
def test_a_run_on_another_split_is_stale_and_run_again(split_file: Path) -> None:
    write_split(split_file, range(3))
    values: dict[str, Any] = {
        "recipe": "smoke", "method": "supervised", "phantom": "always", "runs": split_file.parent / "runs",
        "settings": ("phantom.cases=16", f"protocol.file={split_file}"), "track": False, "pictures": False,
        "keep_predictions": False,
    }  # fmt: skip
    request = Request(protocol="split-file", dataset="busi", **values)
    planned_before = prepare(request, estimate=False)
    first = execute(prepare(request, estimate=False))
    assert first.new and not execute(planned_before).new, "it has been done since that plan was made"
    plan = prepare(request, estimate=False)
    assert (plan.state, plan.reasons) == ("done", [])
    assert first.record.split == SplitRecord.of(plan.split).digest

    write_split(split_file, range(8, 12))
    changed = prepare(request, estimate=False)
    assert changed.key == plan.key and changed.state == "stale"
    assert changed.reasons == [
        "the protocol now draws another split (labeled: 3 cases removed, 3 added; unlabeled: 4 cases removed, 3 added; "
        "test: 3 cases removed, 4 added)"
    ]
    again = execute(changed)
    assert again.new and max(score.n for score in again.record.scores) == 4
    stored = Result.from_disk(again.folder)
    assert stored is not None and stored.split == SplitRecord.of(changed.split).digest != first.record.split
    assert prepare(request, estimate=False).state == "done"
