"""Set-up of the current process: environment variables for heavy packages, and what stop signals do.

Imports the standard library only.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout

from semibench.installed_packages import hide_damaged_packages_from_mlflow

MLFLOW = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
"""Settings of MLflow. A request of its own would wait 120 s and be repeated seven times; run folders wait for nothing."""

PR_SET_PDEATHSIG = 1

STOP = (signal.SIGINT, signal.SIGTERM)
"""The signals that ask a process to stop: Ctrl-C, and the time limit of a scheduler."""


def quiet_mlflow() -> None:
    """Turns off MLflow's telemetry and background jobs; call it before mlflow is imported.

    Values set by the user are kept, except for the two that turn telemetry off."""
    for name, value in MLFLOW.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    hide_damaged_packages_from_mlflow()


def environment() -> None:
    """Sets the environment variables that must be in place before heavy packages are imported.

    They turn off telemetry and downloads, and let waiting threads sleep: two spinning threads took 1.4 times as long on an idle
    machine with two cores, and 1.75 times as long beside a busy process (speed/thread_waiting.py). A value of
    OMP_WAIT_POLICY that the user set is kept."""
    quiet_mlflow()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


NEW_OBJECTS = 500_000
"""New objects after which Python looks for cycles while packages are imported; its default is 700."""


_short_lived = False


def ends_with_its_work() -> None:
    """Notes that this process ends once it has done one command, so that it needs to free little.

    At its end the interpreter would look through every object of torch and MLflow for cycles to free, which takes more than a
    second of the processor (a user who pressed Ctrl-C waits for it) and frees nothing that the end of the process doesn't free."""
    global _short_lived
    _short_lived = True
    atexit.register(gc.freeze)


@contextmanager
def importing() -> Iterator[None]:
    """Within the block, Python seldom looks for cycles of objects to free.

    Importing makes many objects and leaves few to free; looking takes a tenth of the time of importing torch and a fifth of
    MLflow's (speed/start_up.py). In a process that ends with its work, it looks once at the end, and never again through what was
    imported."""
    before, modules = gc.get_threshold(), len(sys.modules)
    gc.set_threshold(NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        if _short_lived and len(sys.modules) > modules:
            gc.collect()  # a cycle that is frozen is never freed
            gc.freeze()
        gc.set_threshold(*before)


@contextmanager
def prints_to_stderr() -> Iterator[None]:
    """Send what a plugin prints to standard error within the block: standard output holds results only.

    Prints of C libraries and child processes, too, unless a test has replaced the stream.
    """
    with redirect_stdout(sys.stderr), ExitStack() as stack:
        output, errors = sys.__stdout__, sys.__stderr__
        if output is not None and errors is not None and sys.stdout is errors:
            output.flush()
            kept = os.dup(output.fileno())
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, output.fileno())
            os.dup2(errors.fileno(), output.fileno())
        yield


def interrupt() -> None:
    """Raises KeyboardInterrupt, as Ctrl-C does."""
    raise KeyboardInterrupt


def on_signals(action: Callable[[], None], *numbers: signal.Signals) -> Callable[[], None]:
    """Calls `action` whenever one of the signals arrives.

    Returns a function that puts the earlier handlers back. Only the main thread receives signals, so a call from another
    thread changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    earlier = {number: signal.signal(number, lambda *_: action()) for number in numbers}

    def restore() -> None:
        for number, handler in earlier.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    return restore


@contextmanager
def stopping(action: Callable[[], None]) -> Iterator[None]:
    """Within the block, SIGINT and SIGTERM call `action` instead of ending the process."""
    restore = on_signals(action, *STOP)
    try:
        yield
    finally:
        restore()


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel for a signal when the parent process ends for any reason (Linux only)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def own_cores() -> int:
    """The number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
