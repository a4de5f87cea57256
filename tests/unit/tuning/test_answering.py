"""A data base that stops answering in the middle of a study ends the command with a sentence; one that answers isn't noticed."""

from __future__ import annotations

import threading
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage

from semibench.contracts.errors import SemibenchError
from semibench.tuning.answering import answering


class Hanging(InMemoryStorage):
    """Answers until it hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs, self.released = False, threading.Event()

    def get_all_trials(self, *arguments: Any, **options: Any) -> Any:
        if self.hangs:
            self.released.wait()
        return super().get_all_trials(*arguments, **options)


def trials(storage: optuna.storages.BaseStorage) -> list[tuple[float | None, dict[str, Any]]]:
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=3))
    study.optimize(lambda trial: (trial.suggest_float("x", -1, 1) - 0.3) ** 2, n_trials=8)
    return [(trial.value, trial.params) for trial in study.trials]


def test_a_storage_that_answers_gives_the_same_study() -> None:
    assert trials(answering(InMemoryStorage(), "x")) == trials(InMemoryStorage())


def test_a_storage_that_hangs_is_left_after_its_time() -> None:
    storage = Hanging()
    study = optuna.create_study(storage=answering(storage, "postgresql://lab/studies", patience=0.2))
    trial = study.ask()
    storage.hangs = True
    with pytest.raises(SemibenchError, match=r"postgresql://lab/studies has not answered for .*the same command"):
        study.trials
    with pytest.raises(SemibenchError, match="has not answered"):  # at once, though this call wouldn't hang
        trial.set_user_attr("seconds", 1.0)
    storage.released.set()


def test_errors_of_the_storage_are_its_own() -> None:
    storage = answering(InMemoryStorage(), "x")
    with pytest.raises(KeyError):
        storage.get_study_id_from_name("nobody")

    class Late(InMemoryStorage):
        def get_all_studies(self) -> Any:
            raise TimeoutError("the driver's own")

    with pytest.raises(TimeoutError, match="the driver's own"):
        answering(Late(), "x").get_all_studies()
