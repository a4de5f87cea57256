"""What a study makes of torn journals, wrong data bases, dead machines and trials that are all equal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from semibench.cli import tune_command
from semibench.contracts.errors import SemibenchError, UsageError
from semibench.reporting import Reporter
from semibench.run.request import Cell
from semibench.run.tuned import TUNED, find_tuned, read_tuned
from semibench.tuning import study as module
from semibench.tuning.mlflow_runs import StudyMirror
from semibench.tuning.space import Dimension
from semibench.tuning.spec import StudySpec
from semibench.tuning.storage import JOURNAL
from semibench.tuning.study import STUDY, Study, work


class Told(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)

    warn = note


def spec(name: str = "s", **more: Any) -> StudySpec:
    weight = Dimension(name="weight", setting="term.consistency.weight", low=0.01, high=1.0, log=True, default=0.1)
    return StudySpec(
        name=name, request=Cell(protocol="self", dataset="tus", method="mean-teacher"), space=(weight,), labels=4,
        labels_from="unlabeled", phantom=True, method="mean-teacher", backbone="unet", iterations=10, **more,
    )  # fmt: skip


@pytest.fixture
def values(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The values of the next trials, in order; no trial trains."""
    upcoming: list[float] = []

    def run_trial(*_: Any) -> dict[str, float]:
        return {"value": upcoming.pop(0)}

    monkeypatch.setattr(module, "run_trial", run_trial)
    return upcoming


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_torn_last_line_of_the_journal_is_dropped(kept: int, values: list[float], tmp_path: Path) -> None:
    values += [0.25, 0.5, 0.75]
    assert work(Study.open(spec(), tmp_path), 1) == 1
    journal = tmp_path / "s" / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(
        b"".join(lines) + lines[-1][:kept]
    )  # a last line that lacks its end: by -1, only the line break
    again = Study.join("s", tmp_path)
    assert work(again, 3) == 2
    assert [trial.value for trial in again.optuna.get_trials()] == [0.25, 0.5, 0.75]
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())


def test_a_damaged_line_before_the_end_is_named(values: list[float], tmp_path: Path) -> None:
    values += [0.5]
    work(Study.open(spec(), tmp_path), 1)
    journal = tmp_path / "s" / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], lines[2][:20], *lines[3:]]))
    before = journal.read_bytes()
    with pytest.raises(SemibenchError, match=r"line 3 of .*journal\.log is not JSON"):
        Study.join("s", tmp_path)
    assert journal.read_bytes() == before


@pytest.mark.parametrize(
    "url", ["nonsense://x", "no url", "postgresql+nodriver://me:secret@host/x", "sqlite:////nowhere/at/all/trials.db"]
)
def test_a_wrong_storage_is_an_error_that_leaves_nothing_behind(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--storage .* can't be opened.*sqlite:///trials\.db") as caught:
        Study.open(spec(storage=url), tmp_path)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    Study.open(spec(storage=f"sqlite:///{tmp_path / 'trials.db'}"), tmp_path)
    assert (tmp_path / "s" / STUDY).is_file()


def test_a_changed_definition_is_named(tmp_path: Path) -> None:
    Study.open(spec(), tmp_path)
    file = tmp_path / "s" / STUDY
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | {"labels": "many"}), encoding="utf-8")
    with pytest.raises(SemibenchError, match=r"study\.json is not the definition of a study: labels"):
        Study.join("s", tmp_path)


def running_elsewhere(study: Study, **attributes: Any) -> float:
    """Leaves a trial running that another machine began; returns the value that it tries."""
    trial = study.optuna.ask()
    value = study.spec.space[0].suggest(trial)
    for name, attribute in {
        "process": 4242,
        "process_started": 1.0,
        "host": "f00",
        "machine": "node17",
        **attributes,
    }.items():
        trial.set_user_attr(name, attribute)
    return float(value)


def test_the_trial_of_a_dead_machine_is_named_and_given_up_on_request(values: list[float], tmp_path: Path) -> None:
    values += [0.5, 0.75, 0.25]
    study, told = Study.open(spec(), tmp_path), Told()
    tried = running_elsewhere(study)
    assert work(study, 2, reporter=told) == 1  # the second of two trials may still end
    (held,) = study.held()
    assert (held.number, held.machine, held.gone) == (0, "node17", None)
    assert "trial 0 has been running on node17 since 20" in str(held)
    assert work(study, 2, reporter=told, give_up="node18") == 0 and not told.lines
    assert work(study, 2, reporter=told, give_up="node17") == 1
    assert told.lines == ["trial 0 was killed while running on node17; its values are tried again"]
    assert [trial.state.name for trial in study.optuna.get_trials()] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert study.optuna.get_trials()[2].params == {"weight": tried}


def test_a_working_process_of_this_machine_is_never_given_up(values: list[float], tmp_path: Path) -> None:
    study = Study.open(spec(), tmp_path)
    trial = study.ask(1)
    assert trial is not None
    (held,) = study.held()
    assert held.gone is False and held.process == os.getpid()
    assert work(study, 1, give_up=held.machine) == 0
    with pytest.raises(UsageError, match=f"found: trial 0 has been running on {held.machine}"):
        tune_command._check_given_up(study, held.machine)


def test_a_trial_without_a_process_was_cut_off_before_it_began(values: list[float], tmp_path: Path) -> None:
    values += [0.5]
    study = Study.open(spec(sampler="grid"), tmp_path)
    study.optuna.ask()  # killed here: it took the first of five points
    values += [0.5, 0.5, 0.5, 0.5]
    work(study, 100)
    tried = sorted(t.params["weight"] for t in study.optuna.get_trials() if t.state.name == "COMPLETE")
    assert tried == pytest.approx(study.spec.space[0].grid())


def test_a_trial_that_another_process_gave_up_meanwhile_is_dropped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from optuna.trial import TrialState

    study, told = Study.open(spec(), tmp_path), Told()
    ends: Iterator[float] = iter([0.5, 0.75])

    def run_trial(*_: Any) -> dict[str, float]:
        value = next(ends)
        if value == 0.5:
            study.optuna.tell(0, state=TrialState.FAIL)
        return {"value": value}

    monkeypatch.setattr(module, "run_trial", run_trial)
    assert work(study, 1, reporter=told) == 1
    assert told.lines == ["trial 0 was given up by another process while it ran here; its result is dropped"]
    assert [trial.value for trial in study.optuna.get_trials()] == [None, 0.75]


@pytest.mark.slow
def test_equal_trials_have_no_best(values: list[float], tmp_path: Path) -> None:
    values += [0.5, 0.5, 0.5, 0.75]
    study = Study.open(spec(), tmp_path)
    work(study, 1)
    assert study.freeze() is not None and study.progress().best == 0.5
    work(study, 3)
    progress = study.progress()
    assert (progress.best, progress.equal, progress.value) == (None, True, 0.5)
    assert study.freeze() is None and not (tmp_path / "s" / TUNED).exists()
    work(study, 4)
    tuned = study.freeze()
    assert tuned is not None and tuned.best_trial == 3 and not study.progress().equal
    assert (tuned.validation, tuned.trials, tuned.labels_from) == (0.75, 4, "unlabeled")
    assert read_tuned(find_tuned("s", tmp_path)) == tuned


@pytest.mark.slow
def test_a_study_notes_its_store_without_a_password_and_however_it_is_named(
    values: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values += [0.5, 0.25]
    study = Study.open(spec(), tmp_path)
    assert "hidden" not in StudyMirror(study, "http://me:hidden@tracking.example/x?token=hidden", Told()).store
    monkeypatch.chdir(tmp_path)
    for address in ("sqlite:///mlflow.db", f"sqlite:///{tmp_path / 'mlflow.db'}"):
        work(study, 1)
        mirror = StudyMirror(study, address, Told())
        mirror.finish(done=False)
        assert not mirror.broken
    note = json.loads((tmp_path / "s" / "mlflow.json").read_text())
    assert list(note) == [f"sqlite:///{tmp_path / 'mlflow.db'}"]
    experiment = note[mirror.store]["experiment"]
    parents = mirror.client.search_runs([experiment], "tags.`semibench.kind` = 'study'")
    assert [run.info.run_id for run in parents] == [note[mirror.store]["run"]]


@pytest.mark.parametrize("name", ["", ".", "..", "../../elsewhere", "a/b", "/tmp/a", "a\0b", "\x1b[31mred", "x" * 300])
def test_the_name_of_a_study_is_the_name_of_a_folder(name: str, tmp_path: Path) -> None:
    studies = tmp_path / "inside" / "studies"
    for act in (lambda: Study.open(spec(name), studies), lambda: Study.join(name, studies)):
        with pytest.raises(UsageError, match="expected the name of a study"):
            act()
    assert not list(tmp_path.iterdir())
