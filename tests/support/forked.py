"""`bench` in processes that begin with everything imported: one process imports it and forks for each command.

Importing takes three seconds of the processor, longer than most commands of the tests work. What begins with the interpreter is
therefore not tested here: bench_process of command_line.py starts one.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

LONGEST = 1 << 20
"""Bytes of a request."""

spent = 0.0
"""Seconds of CPU of the commands that have ended."""


class Forked:
    """A command that runs; as far as tests need it, this is subprocess.Popen.

    out, err: files for its output; None: a pipe. Standard input is empty. module: what `python -m` would run. seconds: of CPU, once
    the command has ended."""

    def __init__(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str],
        out: IO[str] | None = None, err: IO[str] | None = None, module: str = "semibench.cli",
    ) -> None:  # fmt: skip
        self.args, self.returncode = list(words), None
        self.stdout, out_end = _pipe(out)
        self.stderr, err_end = _pipe(err)
        status, status_end = os.pipe()
        request = {
            "module": module, "words": self.args, "folder": str(folder.absolute()), "environment": dict(environment),
        }  # fmt: skip
        socket.send_fds(_server(), [json.dumps(request).encode()], [status_end, out_end, err_end])
        os.close(status_end)
        for given, end in ((out, out_end), (err, err_end)):
            if given is None:
                os.close(end)
        self._status = os.fdopen(status)
        self.pid = int(self._status.readline())

    returncode: int | None
    seconds: float

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            global spent
            code, seconds = self._status.readline().split()
            self.returncode, self.seconds = int(code), float(seconds)
            spent += self.seconds
            self._status.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            select.select([self._status], [], [], timeout)
            if self.poll() is None:
                assert timeout is not None
                raise subprocess.TimeoutExpired(self.args, timeout)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[Any, Any]:
        texts: dict[str, str] = {}

        def read(name: str, stream: IO[str] | None) -> None:
            if stream is not None:
                texts[name] = stream.read()

        readers = [
            threading.Thread(target=read, args=(name, stream), daemon=True)
            for name, stream in (("out", self.stdout), ("err", self.stderr))
        ]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join()
        return texts.get("out"), texts.get("err")

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


def _pipe(given: IO[str] | None) -> tuple[IO[str] | None, int]:
    """Returns the end to read from, and the file descriptor that the command writes to."""
    if given is not None:
        return None, given.fileno()
    read, write = os.pipe()
    return os.fdopen(read, encoding="utf-8"), write


@functools.cache
def _server() -> socket.socket:
    """Starts the process that forks, once in the process of the tests."""
    from support.places import with_tests

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LONGEST)
    command = [sys.executable, "-m", "support.forked", str(theirs.fileno())]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": with_tests()},
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# ---- the process that forks ----------------------------------------------------------------------------------------


def serve(control: socket.socket) -> dict[str, Any] | None:
    """Forks for each request. Returns the request in a child, and None in the server once nobody can ask any more."""
    importlib.import_module("semibench.matrix.warm")
    importlib.import_module("semibench.cli.app").build()  # imports the modules of the commands
    importlib.import_module("semibench.run.late_compiler").import_late()  # as every command that trains
    gc.collect()
    gc.freeze()
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, int] = {}
    while True:
        ready = select.select([control, woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            _tell_ends(children)
        if control in ready:
            message, (*ends,), _, _ = socket.recv_fds(control, LONGEST, 3)
            if not message:
                return None
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(
                    signal.SIGINT, signal.default_int_handler
                )  # the tests may run in the background, where it is ignored
                control.close()
                os.dup2(ends[1], 1)
                os.dup2(ends[2], 2)
                for end in (*ends, *children.values(), woken, waker):
                    os.close(end)
                return dict(json.loads(message))
            os.write(ends[0], f"{pid}\n".encode())
            children[pid] = ends[0]
            os.close(ends[1])
            os.close(ends[2])


def _tell_ends(children: dict[int, int]) -> None:
    """Tells exit codes and seconds of CPU of the children that have ended."""
    while children:
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if pid == 0:
            return
        end = children.pop(pid)
        code, seconds = os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
        with contextlib.suppress(BrokenPipeError):  # a test that doesn't wait
            os.write(end, f"{code} {seconds}\n".encode())
        os.close(end)


def become(request: Mapping[str, Any]) -> None:
    """Runs the module as `python -m` in its folder and environment would."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    first = [request["folder"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.path[:] = [*first, *(path for path in sys.path[1:] if path not in first)]
    importlib.invalidate_caches()
    out, err = sys.stdout, sys.stderr
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", encoding=out.encoding, errors=out.errors, closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, encoding=err.encoding, errors=err.errors, closefd=False)
    sys.argv = [request["module"], *request["words"]]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    asked = serve(socket.socket(fileno=int(sys.argv[1])))
    if asked is not None:
        become(asked)
