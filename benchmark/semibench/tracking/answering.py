"""Ask briefly whether a store can be reached, before MLflow does: its own retries take minutes, and a server that takes connections
and never answers would hold a run for ever."""

from __future__ import annotations

import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

SECONDS = 3.0
"""How long a store may take to answer."""

ENTERING = 10.0
"""How long a data base may take to let a client in: the driver is imported, and others may have to check a password."""

PORTS = {
    "http": 80, "https": 443, "postgresql": 5432, "cockroachdb": 26257, "mysql": 3306, "mariadb": 3306, "mssql": 1433,
    "oracle": 1521,
}  # fmt: skip


def why_unreachable(uri: str, seconds: float = SECONDS, entering: float = ENTERING) -> str | None:
    """Return why a server doesn't answer; None if it does, or if the address names no server.

    Whatever an HTTP server answers counts. A data base must let a client in or refuse it: one that takes connections and says
    nothing would hold its driver, which may wait without an end.

    Args:
        uri: address of an MLflow store or of a data base.
        seconds: how long an HTTP server or the port of a data base may take.
        entering: how long a data base may take to let a client in.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port or PORTS.get(parts.scheme.split("+")[0])
    except ValueError as error:
        return f"the address is wrong: {error}"
    if host is None:
        return None
    waited = f"no answer within {seconds:g} s"
    if parts.scheme in ("http", "https"):
        return _within(seconds, lambda: _http(parts, seconds), waited)
    reason = None if port is None else _within(seconds, lambda: _port(host, port, seconds), waited)
    return reason or _within(
        entering, lambda: _enter(uri), f"it takes connections and lets no client in within {entering:g} s"
    )


def _within(seconds: float, question: Callable[[], str | None], late: str) -> str | None:
    """Return the answer to a question; `late` if there is none in time.

    A thread asks, because name servers and drivers of data bases know no limit."""
    found: list[str | None] = []
    asking = threading.Thread(target=lambda: found.append(question()), name="store probe", daemon=True)
    asking.start()
    asking.join(seconds)
    return found[0] if found else late


def _http(parts: SplitResult, seconds: float) -> str | None:
    place = parts.netloc.rpartition("@")[2]
    request = urllib.request.Request(f"{parts.scheme}://{place}{parts.path.rstrip('/')}/health", method="GET")
    try:
        with urllib.request.urlopen(request, timeout=seconds):
            return None
    except urllib.error.HTTPError:
        return None
    except urllib.error.URLError as error:
        return None if isinstance(error.reason, ssl.SSLError) else _words(error.reason, seconds)
    except (OSError, ValueError) as error:
        return _words(error, seconds)
    except Exception as error:  # something answers that speaks no HTTP
        return f"the answer is not HTTP ({type(error).__name__})"


def _port(host: str, port: int, seconds: float) -> str | None:
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return None
    except (OSError, UnicodeError) as error:
        return _words(error, seconds)


def _enter(uri: str) -> None:
    """Connect to a data base once. Whatever its driver raises is an answer, which opening the store tells in full."""
    from sqlalchemy import NullPool, create_engine

    with suppress(Exception):
        create_engine(uri, poolclass=NullPool).connect().close()


def _words(reason: object, seconds: float) -> str:
    return f"no answer within {seconds:g} s" if isinstance(reason, TimeoutError) else str(reason)
