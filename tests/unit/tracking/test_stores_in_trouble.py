"""Stores that hang, can't be reached, go away, or were cut off while they were made: no run waits, and nothing is lost."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.command_line import bench
from support.leaderboard_toys import spec_of, write_run
from support.store_support import put_store
from support.stuck_servers import stuck_server
from support.waiting_driver import NAME

from semibench.contracts.errors import SemibenchError, UsageError
from semibench.reporting import Reporter
from semibench.tracking import is_mirrored, open_store, store_uri
from semibench.tracking.answering import why_unreachable
from semibench.tracking.beside import MirrorBeside, mirroring
from semibench.tracking.sqlite_files import mend, sqlite_file, sqlite_uri
from semibench.tracking.unmirrored import FOLDER, remember, unmirrored
from semibench.tuning.storage import open_storage


class Told(Reporter):
    """Keeps notes and warnings."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def closed() -> Iterator[str]:
    """The address of a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


# ---- one short question --------------------------------------------------------------------------------------------


def test_what_answers_and_what_does_not(closed: str) -> None:
    with stuck_server() as stuck, stuck_server(answers=1) as healthy:
        assert why_unreachable(healthy) is None
        assert why_unreachable(stuck, seconds=0.5) == "no answer within 0.5 s"
        assert (
            why_unreachable(healthy.replace("http", "postgresql")) is None
        )  # its port is open, and there is no driver
    assert "refused" in str(why_unreachable(closed))
    assert "refused" in str(why_unreachable(closed.replace("http", "postgresql+psycopg2")))
    assert why_unreachable("http://no-such-host.invalid:5000") is not None
    assert "wrong" in str(why_unreachable("http://host:port"))
    for local in ("sqlite:////tmp/mlflow.db", "file:///tmp/mlruns", "databricks"):
        assert why_unreachable(local) is None


def test_a_data_base_must_let_its_clients_in(closed: str) -> None:
    """Its driver waits for it without a limit, also in `bench tune`, whose trials may be in one."""
    with stuck_server() as stuck:
        address = stuck.replace("http", NAME)
        assert why_unreachable(address, entering=0.5) == "it takes connections and lets no client in within 0.5 s"
        with pytest.raises(SemibenchError, match=r"lets no client in within 10 s.*run folders are complete without it"):
            open_store(address)
        with pytest.raises(
            UsageError, match=r"--storage .*lets no client in within 10 s.*the study's folder keeps the trials"
        ):
            open_storage(Path("study"), address)
    with pytest.raises(UsageError, match=r"--storage .*refused"):
        open_storage(Path("study"), closed.replace("http", NAME))


def test_the_page_of_a_server_that_never_answers_is_an_error(closed: str) -> None:
    with stuck_server() as stuck, stuck_server(answers=1) as healthy:
        for address in (stuck, closed):
            answer = bench("ui", "--tracking-uri", address)
            assert answer.exit_code == 1 and "doesn't answer" in answer.stderr and "--tracking-uri" in answer.stderr
        assert bench("ui", "--tracking-uri", healthy).exit_code == 0


def test_a_store_that_never_answers_is_an_error_within_seconds() -> None:
    asked: list[object] = []
    message = r"no answer within 3 s.*run folders are complete without it"
    with stuck_server(asked=asked) as stuck, pytest.raises(SemibenchError, match=message):
        open_store(stuck)
    assert len(asked) == 1, "one question, and none that MLflow repeats"


# ---- beside a run --------------------------------------------------------------------------------------------------


def test_a_run_goes_on_without_a_store_that_does_not_answer(tmp_path: Path) -> None:
    told, folder = Told(), write_run(tmp_path / "runs", [0.5, 0.75], spec=spec_of())
    asked: list[object] = []
    with stuck_server(asked=asked) as stuck:
        with mirroring(stuck, told) as mirror:
            mirror.put(folder)
            assert not mirror.works
            mirror.put(folder, ended=True)
        assert len(asked) == 1, "one question for the whole run"
        assert unmirrored(tmp_path / "runs", stuck) == [folder]
        assert unmirrored(tmp_path / "runs", "http://another") == []
    (warning,) = told.warnings
    assert (
        "can't be reached (no answer within 3 s)" in warning
        and "the next command with this store mirrors it" in warning
    )


@pytest.mark.slow
def test_a_store_that_goes_away_is_told_once_and_its_runs_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    told = Told()
    folders = [write_run(tmp_path / "runs", [0.5, 0.75], spec=spec_of(seed=seed)) for seed in range(3)]
    with stuck_server(answers=1) as stuck, mirroring(stuck, told) as mirror:
        for folder in folders:
            mirror.put(folder, ended=True)
        assert mirror.works and not told.warnings  # nobody has waited for it yet
    (warning,) = told.warnings
    assert warning.startswith("MLflow could not be written: 3 runs missed, e.g. ")
    assert sorted(unmirrored(tmp_path / "runs", stuck)) == sorted(folders)


@pytest.mark.slow
def test_the_next_command_mirrors_what_a_store_missed(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    first, second = (write_run(runs, [0.5, 0.75], spec=spec_of(seed=seed)) for seed in range(2))
    file = tmp_path / "mlflow.db"
    file.mkdir()  # a folder in place of the file
    uri, told = f"sqlite:///{file}", Told()
    with mirroring(uri, told) as mirror:
        mirror.put(first, ended=True)
    (warning,) = told.warnings
    assert f"{file} is a folder; expected the file of an MLflow store" in warning
    assert unmirrored(runs, uri) == [first]
    file.rmdir()
    put_store(tmp_path)
    again = Told()
    with mirroring(uri, again) as mirror:
        mirror.put(second, ended=True)
    assert again.warnings == []
    assert again.notes[-1] == "MLflow: 1 earlier run that the store had missed now mirrored"
    assert is_mirrored(first, uri) and is_mirrored(second, uri)
    assert unmirrored(runs, uri) == [] and not (runs / FOLDER).exists()
    client = open_store(uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    keys = [run.data.tags.get("semibench.key") for run in client.search_runs(ids) if "semibench.key" in run.data.tags]
    assert len(keys) == len(set(keys)) == 2


@pytest.mark.slow
def test_a_process_that_hangs_gives_up_and_remembers(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", [0.5, 0.75], spec=spec_of())
    code = "import sys; from semibench.tracking import worker; worker.QUIET_SECONDS = 1.0; worker.main(sys.argv[1])"
    job = {"folder": str(folder), "ended": True, "missing_only": False, "catch_up": False}
    with stuck_server(answers=1) as stuck:
        done = subprocess.run(
            [sys.executable, "-c", code, stuck], input=json.dumps(job) + "\n", capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        records = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 1
        assert records[-1] == {"failed": str(folder), "why": "MLflow did not get on for 1 s"}
        assert unmirrored(tmp_path / "runs", stuck) == [folder]


def test_a_worker_that_is_killed_is_told(tmp_path: Path) -> None:
    told, folder = Told(), write_run(tmp_path / "runs", [0.5, 0.75], spec=spec_of())
    with stuck_server(answers=1) as stuck, mirroring(stuck, told) as mirror:
        mirror.put(folder, ended=True)
        assert isinstance(mirror, MirrorBeside) and mirror._process is not None
        mirror._process.kill()
    assert "the process that mirrors runs was stopped" in told.warnings[0]
    assert unmirrored(tmp_path / "runs", stuck) == [folder]


def test_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    remember(tmp_path / "runs" / "gone", "http://here")
    assert unmirrored(tmp_path / "runs", "http://here") == []
    assert not (tmp_path / "runs" / FOLDER).exists()


# ---- SQLite files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run%20one", "what?", "no#1", "a b", "é"])
def test_a_working_folder_of_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / name
    folder.mkdir()
    put_store(folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = store_uri()
    assert sqlite_file(uri) == folder / "mlflow.db"
    before = {path.name for path in tmp_path.iterdir()}
    client = open_store(uri)
    assert client.search_experiments()
    client.create_experiment("written here")
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        assert connection.execute("select count(*) from experiments where name = 'written here'").fetchone() == (1,)
    assert {path.name for path in tmp_path.iterdir()} == before


def test_an_ordinary_path_stays_as_it_is() -> None:
    assert sqlite_uri(Path("/home/é b/mlflow.db")) == "sqlite:////home/é b/mlflow.db"


def cut_store(file: Path, *, runs: int) -> None:
    """A store as a kill in one of MLflow's migrations leaves it."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("create table experiments (name text)")
        connection.execute("create table runs (run_uuid text)")
        connection.execute("create table _alembic_tmp_jobs (id text)")
        connection.executemany("insert into runs values (?)", [(str(number),) for number in range(runs)])
        connection.commit()


@pytest.mark.slow
def test_a_store_whose_creation_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    file, told = tmp_path / "mlflow.db", Told()
    cut_store(file, runs=0)
    assert open_store(f"sqlite:///{file}", told).search_experiments()
    assert [path.name for path in tmp_path.glob("mlflow.db.cut*")] == ["mlflow.db.cut-1"]
    assert "had been cut off; it held no run and is now mlflow.db.cut-1" in told.notes[0]


def test_a_cut_store_that_holds_runs_stays_and_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    cut_store(file, runs=2)
    before = file.read_bytes()
    with pytest.raises(SemibenchError, match=r"_alembic_tmp_jobs.*holds 2 runs.*bench leaderboard --sync"):
        mend(file)
    assert file.read_bytes() == before


def test_a_healthy_or_empty_store_is_left_alone(tmp_path: Path) -> None:
    put_store(tmp_path)
    (tmp_path / "empty.db").touch()
    for name in ("mlflow.db", "empty.db", "none.db"):
        assert mend(tmp_path / name) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.db", "mlflow.db"]
