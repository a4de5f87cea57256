"""Open an MLflow store. A new SQLite store is created under a file lock, because concurrent creation would corrupt it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from semibench.contracts.errors import SemibenchError, one_line
from semibench.process import quiet_mlflow
from semibench.reporting import Reporter
from semibench.tracking.answering import why_unreachable
from semibench.tracking.sqlite_files import PREFIX, mend, sqlite_file, sqlite_uri
from semibench.untrusted import without_secrets

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

LOCK_SECONDS = 300.0
"""How long to wait for another process that creates or migrates the store; a busy machine takes a minute."""


def store_uri(uri: str | None = None, folder: Path | None = None) -> str:
    """Return the store to use: the argument, else MLFLOW_TRACKING_URI, else mlflow.db in `folder` (the working directory)."""
    given = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        return given
    return sqlite_uri((folder or Path.cwd()).absolute() / "mlflow.db")


def artifact_root(uri: str) -> Path | None:
    """Return where artifacts of new experiments go: `mlartifacts` beside a SQLite file; None: the server decides."""
    file = sqlite_file(uri)
    return None if file is None else file.parent / "mlartifacts"


_opened: set[str] = set()


def open_store(uri: str, reporter: Reporter | None = None) -> MlflowClient:
    """Return a client of the store; afterwards the store exists and responds. Imports mlflow.

    A server is asked for a few seconds first. A process opens a SQLite store under `<file>.lock`, because creating or migrating
    one is not safe for several processes; a store whose creation was cut off is moved aside and made anew.

    Args:
        uri: address of the store.
        reporter: receives a note about a store that was moved aside.

    Raises:
        SemibenchError: if the store can't be opened; names its address.
    """
    quiet_mlflow()
    import logging

    from filelock import FileLock, Timeout

    for name in ("mlflow", "alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    file = sqlite_file(uri)
    try:
        if file is None and uri not in _opened:
            reason = why_unreachable(uri)
            if reason is not None:
                raise SemibenchError(reason)
        if file is None or str(file) in _opened:
            client = _client(uri)
            _opened.add(uri)
            return client
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock", timeout=LOCK_SECONDS):
            moved = mend(file)
            if moved is not None:
                (reporter or Reporter()).note(moved)
            client = _client(uri)
        _opened.add(str(file))
        return client
    except Timeout as error:
        raise SemibenchError(
            f"waited {LOCK_SECONDS:.0f} s for another process to open the MLflow store {uri}; if none is running, "
            f"delete {file}.lock"
        ) from error
    except Exception as error:  # of MLflow, SQLAlchemy or the file system
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SemibenchError(
            f"the MLflow store {uri} cannot be opened: {lines[0].rstrip('.')}. Give another with --tracking-uri or "
            "MLFLOW_TRACKING_URI; run folders are complete without it"
        ) from error


@contextlib.contextmanager
def needing_store(uri: str) -> Iterator[None]:
    """Within the block, a command that can't do without its store uses it.

    Raises:
        SemibenchError: if the store fails, as one does that goes away; names its address.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        raise SemibenchError(
            f"the MLflow store {uri} failed: {one_line(error)[:500]}; the same command goes on once it works again"
        ) from error


def _client(uri: str) -> MlflowClient:
    """Return a client that has answered. MLflow makes a folder named after the escaped path, which is removed."""
    from mlflow.tracking import MlflowClient

    file = sqlite_file(uri)
    stray = None if file is None else Path(uri.split("?", 1)[0].removeprefix(PREFIX)).absolute().parent
    if file is None or stray is None or stray == file.parent or stray.exists():
        return _probe(MlflowClient(tracking_uri=uri))
    try:
        return _probe(MlflowClient(tracking_uri=uri))
    finally:
        with contextlib.suppress(OSError):
            stray.rmdir()


def _probe(client: MlflowClient) -> MlflowClient:
    """Make one small call, which creates the tables and detects a wrong address."""
    client.search_experiments(max_results=1)
    return client


def store_name(address: str) -> str:
    """Return a store's address without a password, independent of the working directory."""
    file = sqlite_file(address)
    return f"sqlite:///{file}" if file is not None else without_secrets(address, mark="")
