"""Stores in SQLite files: their addresses, and what is wrong with a file before MLflow spends minutes on it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from semibench.contracts.errors import SemibenchError

PREFIX = "sqlite:///"
RESERVED = "%?#"
"""Letters of a path that have another meaning in an address."""


def sqlite_uri(file: Path) -> str:
    """Return the address of a SQLite store; letters of the path that an address reads otherwise are escaped."""
    if not any(letter in str(file) for letter in RESERVED):
        return f"{PREFIX}{file}"
    from sqlalchemy.engine import URL

    return URL.create("sqlite", database=str(file)).render_as_string()


def sqlite_file(uri: str) -> Path | None:
    """Return the absolute path of a SQLite store's file; None for a server or another data base."""
    if not uri.startswith("sqlite:"):
        return None
    text = uri.split("?", 1)[0].removeprefix(PREFIX)
    if not text or text.startswith(("sqlite:", ":memory:")):
        raise SemibenchError(f"expected a SQLite store as sqlite:///path/to/mlflow.db, found {uri!r}")
    if "%" in text:
        from sqlalchemy.engine import make_url

        text = make_url(uri).database or text
    return Path(text).absolute()


def mend(file: Path) -> str | None:
    """Make a SQLite store usable, or say why it isn't; call it under the store's lock.

    A store whose creation was cut off holds no run and can't be completed: MLflow stops at its leftovers. It is moved aside, so
    that a new one is made in its place.

    Returns:
        A note about what was moved; None if nothing was.

    Raises:
        SemibenchError: if the file is no data base, can't be written, or was cut off while it was changed and holds runs.
    """
    if not file.exists():
        return None
    if file.is_dir():
        raise SemibenchError(
            f"{file} is a folder; expected the file of an MLflow store. Move it away, or name another store"
        )
    try:
        with closing(sqlite3.connect(file, timeout=10)) as connection:
            tables = {
                str(name) for (name,) in connection.execute("select name from sqlite_master where type = 'table'")
            }
            runs = int(connection.execute("select count(*) from runs").fetchone()[0]) if "runs" in tables else 0
            versions = (
                connection.execute("select version_num from alembic_version").fetchall()
                if "alembic_version" in tables
                else []
            )
            connection.execute("begin immediate")
            connection.rollback()
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):  # another process writes: it is a store
            return None
        raise SemibenchError(f"{file} can't be used as an MLflow store: {error}") from error
    left = sorted(name for name in tables if name.startswith("_alembic_tmp_"))
    if not tables or (versions and not left):
        return None
    if runs:
        raise SemibenchError(
            f"{file} was cut off while MLflow changed its tables ({', '.join(left) or 'no version'}), and holds {runs} runs. "
            "Move this file away: the run folders hold everything, and `bench leaderboard --sync` writes them to a new store"
        )
    aside = _unused(file)
    file.rename(aside)
    for ending in ("-journal", "-wal", "-shm"):
        Path(f"{file}{ending}").unlink(missing_ok=True)
    return f"the creation of the MLflow store {file} had been cut off; it held no run and is now {aside.name}. A new one is made"


def _unused(file: Path) -> Path:
    """Return a name beside the file that no other file has."""
    number = 1
    while (aside := file.with_name(f"{file.name}.cut-{number}")).exists():
        number += 1
    return aside
