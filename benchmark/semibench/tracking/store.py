"""Open an MLflow store. A new SQLite store is created under a file lock, because concurrent creation would corrupt it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from semibench.contracts.errors import SemibenchError
from semibench.process import quiet_mlflow

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

LOCK_SECONDS = 300.0
"""How long to wait for another process that creates or migrates the store; a busy machine takes a minute."""


def store_uri(uri: str | None = None, folder: Path | None = None) -> str:
    """Return the store to use: the argument, else MLFLOW_TRACKING_URI, else mlflow.db in `folder` (the working directory)."""
    given = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        return given
    return f"sqlite:///{(folder or Path.cwd()).absolute() / 'mlflow.db'}"


def sqlite_file(uri: str) -> Path | None:
    """Return the absolute path of a SQLite store's file; None for a server or another data base."""
    if not uri.startswith("sqlite:"):
        return None
    text = uri.split("?", 1)[0].removeprefix("sqlite:///")
    if not text or text.startswith(("sqlite:", ":memory:")):
        raise SemibenchError(f"expected a SQLite store as sqlite:///path/to/mlflow.db, found {uri!r}")
    return Path(text).absolute()


def artifact_root(uri: str) -> Path | None:
    """Return where artifacts of new experiments go: `mlartifacts` beside a SQLite file; None: the server decides."""
    file = sqlite_file(uri)
    return None if file is None else file.parent / "mlartifacts"


_opened: set[str] = set()


def open_store(uri: str) -> MlflowClient:
    """Return a client of the store; afterwards the store exists and responds. Imports mlflow.

    A process first opens the store under `<file>.lock`, because creating or migrating a SQLite store is not safe for several
    processes. Raise SemibenchError with the store's address if it cannot be opened.
    """
    quiet_mlflow()
    import logging

    for name in ("mlflow", "alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    from filelock import FileLock, Timeout
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    file = sqlite_file(uri)
    try:
        if file is None or str(file) in _opened:
            return _probe(MlflowClient(tracking_uri=uri))
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock", timeout=LOCK_SECONDS):
            client = _probe(MlflowClient(tracking_uri=uri))
        _opened.add(str(file))
        return client
    except Timeout as error:
        raise SemibenchError(
            f"waited {LOCK_SECONDS:.0f} s for another process to open the MLflow store {uri}; if none is running, "
            f"delete {file}.lock"
        ) from error
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise SemibenchError(
            f"the MLflow store {uri} cannot be opened: {str(error).splitlines()[0]}. Give another with --tracking-uri or "
            "MLFLOW_TRACKING_URI; run folders are complete without it"
        ) from error


def _probe(client: MlflowClient) -> MlflowClient:
    """Make one small call, which creates the tables and detects a wrong address."""
    client.search_experiments(max_results=1)
    return client
