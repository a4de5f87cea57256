"""Ask briefly whether a store can be reached, before MLflow does: its own retries take minutes, and a server that takes connections
and never answers would hold a run for ever."""

from __future__ import annotations

import socket
import ssl
import threading
import urllib.error
import urllib.request
from urllib.parse import SplitResult, urlsplit

SECONDS = 3.0
"""How long a store may take to answer."""

PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def why_unreachable(uri: str, seconds: float = SECONDS) -> str | None:
    """Return why a server doesn't answer; None if it does, or if the address names no server.

    Whatever an HTTP server answers counts, and so does an open port of a data base.

    Args:
        uri: address of an MLflow store or of a data base.
        seconds: how long to wait in all.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port or PORTS.get(parts.scheme.split("+")[0])
    except ValueError as error:
        return f"the address is wrong: {error}"
    if host is None or port is None:
        return None
    found: list[str | None] = []

    def ask() -> None:
        found.append(_http(parts, seconds) if parts.scheme in ("http", "https") else _port(host, port, seconds))

    asking = threading.Thread(
        target=ask, name="store probe", daemon=True
    )  # a name server may take longer than its socket
    asking.start()
    asking.join(seconds)
    return found[0] if found else f"no answer within {seconds:g} s"


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


def _words(reason: object, seconds: float) -> str:
    return f"no answer within {seconds:g} s" if isinstance(reason, TimeoutError) else str(reason)
