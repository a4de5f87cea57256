"""Bound the time in which a data base with the trials of a study must answer, so that `bench tune` never waits for ever."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from optuna.storages import BaseStorage

from semibench.contracts.errors import SemibenchError

PATIENCE = 60.0
"""Seconds in which the data base must answer. A busy one takes seconds."""


class _Caller:
    """Makes calls in a thread of its own, which ends with the process even if a call never returns."""

    def __init__(self, shown: str, patience: float) -> None:
        self.shown, self.patience = shown, patience
        self.calls: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], Any, Any]] = queue.SimpleQueue()
        self.stuck = False
        threading.Thread(target=self._work, name="storage of the study", daemon=True).start()

    def _work(self) -> None:
        while True:
            future, function, arguments, options = self.calls.get()
            try:
                future.set_result(function(*arguments, **options))
            except BaseException as error:  # belongs to the thread that waits
                future.set_exception(error)

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Return what a function returns, or raise what it raises. Raise SemibenchError if it doesn't end in time."""
        future: Future[Any] = Future()
        if not self.stuck:
            self.calls.put((future, function, arguments, options))
            try:
                return future.result(self.patience)
            except TimeoutError:
                if future.done():  # the function raised it
                    raise
                self.stuck = True
        raise SemibenchError(
            f"--storage {self.shown} has not answered for {self.patience:.0f} s. When it answers again, the same command goes on "
            "with the study; the trial that ran is tried again"
        )


def answering(storage: BaseStorage, shown: str, patience: float = PATIENCE) -> BaseStorage:
    """Return a storage that passes all calls on and raises an error if one isn't answered in time.

    After that, all calls raise it at once.

    Args:
        storage: a storage of Optuna.
        shown: its URL without the password, for the message.
        patience: seconds.
    """
    caller = _Caller(shown, patience)

    def passed_on(name: str) -> Callable[..., Any]:
        def method(self: BaseStorage, *arguments: Any, **options: Any) -> Any:
            return caller.call(getattr(storage, name), *arguments, **options)

        return method

    names = [name for name in dir(BaseStorage) if not name.startswith("_") and callable(getattr(BaseStorage, name))]
    bounded: type[BaseStorage] = type("AnsweringStorage", (BaseStorage,), {name: passed_on(name) for name in names})
    return bounded()
