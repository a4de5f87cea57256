"""Set-up of a process: variables that the user set, signals, and that it costs no import."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading

import pytest

from semibench.process import NEW_OBJECTS, STOP, importing, interrupt, on_signals, stopping


def python(code: str, **variables: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_variables_of_the_user_are_kept_but_telemetry_is_off() -> None:
    code = (
        "import os, sys; from semibench.process import environment; environment()\n"
        "print(*(os.environ[name] for name in ('OMP_WAIT_POLICY', 'HF_HUB_OFFLINE', 'MLFLOW_DISABLE_TELEMETRY', 'DO_NOT_TRACK')),\n"
        "      *(name for name in ('torch', 'mlflow', 'numpy', 'pydantic') if name in sys.modules))"
    )
    told = python(code, OMP_WAIT_POLICY="active", HF_HUB_OFFLINE="0", MLFLOW_DISABLE_TELEMETRY="false")
    assert told == "active 0 true true"


def test_signals_call_the_action_and_the_earlier_handlers_come_back() -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("only the main thread receives signals")
    before = {number: signal.getsignal(number) for number in STOP}
    calls: list[int] = []
    with pytest.raises(ZeroDivisionError), stopping(lambda: calls.append(1)):
        for number in STOP:
            signal.raise_signal(number)
        assert calls == [1, 1]
        raise ZeroDivisionError
    assert {number: signal.getsignal(number) for number in STOP} == before


def test_a_termination_can_be_an_interruption() -> None:
    code = (
        "import os, signal, time; from semibench.process import interrupt, on_signals\n"
        "on_signals(interrupt, signal.SIGTERM)\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)\nexcept KeyboardInterrupt:\n    print('interrupted')"
    )
    assert python(code) == "interrupted"


def test_another_thread_changes_no_handler() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def work() -> None:
        restore = on_signals(interrupt, signal.SIGTERM)
        seen.append(signal.getsignal(signal.SIGTERM))
        restore()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before] and signal.getsignal(signal.SIGTERM) == before


def test_cycles_are_seldom_sought_while_packages_are_imported() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with pytest.raises(ImportError), importing():
        assert gc.get_threshold()[0] == NEW_OBJECTS > 100 * before[0] and gc.isenabled()
        raise ImportError
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == frozen, "a process that goes on, as this one, frees its cycles"
    frozen_after = """
import gc
from semibench.process import ends_with_its_work, importing
ends_with_its_work()
with importing(): {}
print(gc.get_freeze_count())
"""
    assert int(python(frozen_after.format("import sqlite3"))) > 1000
    assert int(python(frozen_after.format("pass"))) == 0, (
        "nothing was imported: what a run leaves behind stays to be freed"
    )
