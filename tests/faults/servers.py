"""Tracking servers that hang, refuse, fail, or go away in the middle: runs take little longer and lose nothing."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.trials import Line, command, digits, ended

KIND = "mean teacher"
LONGER = 60.0
"""Seconds that a run may take longer because of its tracking server."""


def absent(place: Path) -> Iterator[Line]:
    """Yields a line for each kind of bad server."""
    whole, cache = place / "whole", place / "cache"
    whole.mkdir(parents=True)
    ended(command(KIND), whole, cache)
    right = digits(whole / "runs")
    normal = ended(command(KIND, "--force"), whole, cache).seconds
    for name, server in {
        "that never answers": hanging,
        "that can't be reached": refusing,
        "that answers with errors": failing,
        "that goes away after ten answers": leaving,
    }.items():
        line = Line(f"tracking server {name}")
        folder = place / name.replace(" ", "-").replace("'", "")
        folder.mkdir()
        with server() as address:
            done = ended(command(KIND, "--tracking-uri", address), folder, cache, limit=normal + 600)
        well = done.code == 0 and done.seconds < normal + LONGER and "Traceback" not in done.text
        line.add(
            well,
            digits(folder / "runs") == right,
            f"{done.code} in {done.seconds:.0f} s (without: {normal:.0f} s) {done.text[-400:]!r}",
            done.seconds,
        )
        yield line


@contextmanager
def hanging() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def refusing() -> Iterator[str]:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def failing() -> Iterator[str]:
    """A server with an error for everything."""
    with _served(answers=10**9, status=500) as address:
        yield address


@contextmanager
def leaving() -> Iterator[str]:
    """A server that is gone after ten answers."""
    with _served(answers=10, status=200) as address:
        yield address


@contextmanager
def _served(answers: int, status: int) -> Iterator[str]:
    given = 0

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            nonlocal given
            given += 1
            if given > answers:
                self.connection.close()
                return
            body = b'{"experiments": [], "runs": [], "experiment_id": "1", "experiment": {"experiment_id": "1", "name": "x"}}'
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = answer

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
