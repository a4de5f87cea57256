"""Open where a study keeps its trials: Optuna's journal in the study's folder, mended if a kill tore its end, or a data base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from semibench.contracts.errors import SemibenchError, UsageError, one_line
from semibench.tracking.answering import why_unreachable

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

JOURNAL = "journal.log"


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """Return the trials of a study.

    Args:
        folder: the study's folder, which holds the journal.
        url: URL of a data base; None: the journal.

    Raises:
        UsageError: if the data base can't be opened.
        SemibenchError: if the journal is damaged before its end.
    """
    return _database(url) if url is not None else _journal(folder / JOURNAL)


def _database(url: str) -> BaseStorage:
    from optuna.storages import RDBStorage, get_storage

    from semibench.tuning.answering import answering

    reason = why_unreachable(url)
    if reason is not None:
        raise UsageError(_refused(url, reason))
    try:
        return answering(get_storage(RDBStorage(url)), shown_url(url))
    except Exception as error:  # no such driver, a wrong password, tables of another program
        raise UsageError(_refused(url, f"{type(error).__name__}: {one_line(error)[:300]}")) from error


def _refused(url: str, reason: str) -> str:
    return (
        f"--storage {shown_url(url)} can't be opened: {reason.rstrip('.')}. Expected the URL of a data base that answers, such as "
        "sqlite:///trials.db or postgresql+psycopg2://user@host/name; without --storage the study's folder keeps the trials"
    )


def shown_url(url: str) -> str:
    """Return the URL of a data base without its password; only its beginning where it isn't one."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return repr(url.partition("://")[0])


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    from optuna.storages.journal._file import get_lock_file

    lock = JournalFileOpenLock(str(path))
    if path.is_file():
        with get_lock_file(lock):
            mend_journal(path)
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except OSError:
        raise
    except Exception as error:
        raise SemibenchError(
            f"{path} is not a journal of Optuna ({type(error).__name__}: {one_line(error)[:200]}); it was changed by hand. Put a "
            "copy back, or move the study's folder away and start it again"
        ) from error


def mend_journal(path: Path) -> None:
    """Drop a last line that was cut off while it was written; call it while no other process can write.

    What the line was to record, such as one validation of a trial, is lost; the study goes on.

    Raises:
        SemibenchError: if an earlier line is damaged; names it.
    """
    content = path.read_bytes()
    whole, _, rest = content.rpartition(b"\n")
    for number, line in enumerate(whole.split(b"\n") if whole else (), 1):
        if not _is_record(line):
            raise SemibenchError(
                f"line {number} of {path} is not JSON: {line[:60]!r}; it was cut off or changed by hand. Remove this line, and the "
                "study goes on without what it recorded"
            )
    if rest:
        with path.open("rb+") as journal:
            if _is_record(rest):
                journal.seek(0, 2)
                journal.write(b"\n")
            else:
                journal.truncate(len(content) - len(rest))


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
