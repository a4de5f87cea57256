"""Servers that trouble a client: one that takes connections and never answers, and one that answers to its probe only."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def stuck_server(*, answers: int = 0, asked: list[object] | None = None) -> Iterator[str]:
    """Yields the address of a server that answers its first requests and leaves all later ones waiting.

    answers: how many requests get an answer. asked: receives each connection.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop, left = threading.Event(), [answers]
        waiting: list[socket.socket] = []

        def serve() -> None:
            server.settimeout(0.1)
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = server.accept()
                    waiting.append(connection)
                    if asked is not None:
                        asked.append(connection)
                    if left[0] > 0:
                        left[0] -= 1
                        connection.recv(65536)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK")
                        connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()
            for connection in waiting:
                connection.close()
