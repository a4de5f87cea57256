"""The identity of the data: remembered hashes of files, and the digest of all cases that a protocol may use."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from semibench.contracts.cases import CaseRef, Dataset
from semibench.contracts.errors import CaseError
from semibench.contracts.identity import canonical, sha256
from semibench.data.roots import cache_dir
from semibench.discovery.guard import calling
from semibench.reporting import Reporter

FRESH = 2_000_000_000
"""Nanoseconds. A file that changed more recently is hashed but not remembered, because it may change again unnoticed."""


QUERY = "SELECT size, changed, sha256 FROM files WHERE path = ?"


class HashMemory:
    """Remembers the sha256 of files by (path, size, modification time) in a small SQLite file. Several processes may use it.

    A damaged file is made anew. Where the file can't be written, what it holds is used and nothing is added.

    Args:
        file: the SQLite file; `<cache>/hashes.sqlite` by default.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = cache_dir() / "hashes.sqlite" if file is None else file
        self._mode = "rwc"
        self._note = ""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.file}.lock"):
                try:
                    self._create()
                except sqlite3.OperationalError:
                    raise
                except sqlite3.DatabaseError as error:
                    self._make_anew(error)
        except (OSError, sqlite3.OperationalError):  # a shared cache that only its owner may write
            self._mode = "ro"

    def _create(self) -> None:
        self.file.touch()  # with the umask's permissions, which SQLite would restrict
        with self._open() as base:
            base.execute(
                "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, sha256 TEXT)"
            )

    def _make_anew(self, error: sqlite3.Error) -> None:
        self._note = f"{self.file} was damaged ({error}); it is made anew, so the files are hashed again"
        self.file.unlink(missing_ok=True)
        Path(f"{self.file}-journal").unlink(missing_ok=True)
        self._create()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        uri = f"{self.file.absolute().as_uri()}?mode={self._mode}"
        with closing(sqlite3.connect(uri, timeout=60.0, uri=True)) as base, base:
            yield base

    def _remembered(self, paths: Iterable[Path]) -> dict[Path, tuple[int, int, str]]:
        """Return size, time and hash by path, as far as the memory has them and can be read."""
        rows = {}
        try:
            with self._open() as base:
                for path in paths:
                    row = base.execute(QUERY, (str(path.resolve()),)).fetchone()
                    if row is not None:
                        rows[path] = row
        except sqlite3.OperationalError:  # locked for a minute, or there is none in a folder that can't be written
            return rows
        except sqlite3.DatabaseError as error:
            if self._mode != "ro":
                with FileLock(f"{self.file}.lock"):
                    self._make_anew(error)
            return {}
        return rows

    def _remember(self, rows: list[tuple[str, int, int, str]]) -> None:
        """Store rows; a memory that can't be written is not worth an error."""
        if rows and self._mode != "ro":
            with suppress(sqlite3.DatabaseError), self._open() as base:
                base.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)

    def known(self, path: Path) -> str | None:
        """Return the remembered hash of a file if its size and time are unchanged, else None."""
        state = path.stat()
        row = self._remembered([path]).get(path)
        return row[2] if row is not None and row[:2] == (state.st_size, state.st_mtime_ns) else None

    def sha256(self, path: Path, *, reread: bool = False) -> str:
        """Return the sha256 of a file's bytes; with `reread`, ignore the memory. Raise OSError if it cannot be read."""
        return self.many([path], reread=reread)[path]

    def many(self, paths: Iterable[Path], *, reread: bool = False, reporter: Reporter | None = None) -> dict[Path, str]:
        """Hash many files with two transactions; report a phase "hash" if files must be read."""
        paths = list(dict.fromkeys(paths))
        states = {path: path.stat() for path in paths}
        memory = {
            path: row[2]
            for path, row in self._remembered(paths).items()
            if row[:2] == (states[path].st_size, states[path].st_mtime_ns)
        }
        if self._note and reporter:
            reporter.note(self._note)
            self._note = ""
        result = {} if reread else dict(memory)
        todo = [path for path in paths if path not in result]
        if todo and reporter:
            reporter.phase("hash", len(todo))
        rows = []
        for done, path in enumerate(todo, 1):
            with path.open("rb") as stream:
                result[path] = hashlib.file_digest(stream, "sha256").hexdigest()
            state = path.stat()
            if time.time_ns() - state.st_mtime_ns > FRESH:
                rows.append((str(path.resolve()), state.st_size, state.st_mtime_ns, result[path]))
            if reporter:
                reporter.advance(done)
        self._remember(rows)
        if todo and reporter:
            reporter.end()
        return {path: result[path] for path in paths}


def case_content(dataset: Dataset, ref: CaseRef, memory: HashMemory, *, reread: bool = False) -> str:
    """Return a digest of a case's content: its files' bytes in the order of `files(ref)`, or fingerprint and id."""
    return case_contents({ref.dataset: dataset}, [ref], memory, reread=reread)[ref.key]


def case_contents(
    datasets: Mapping[str, Dataset],
    refs: Iterable[CaseRef],
    memory: HashMemory,
    *,
    reread: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, str]:
    """Return `case_content` of many cases, by case key.

    Raise CaseError for a missing file, or for a case without files in a data set without a fingerprint.
    """
    files: dict[str, tuple[Path, ...]] = {}
    content: dict[str, str] = {}
    for ref in dict.fromkeys(refs):
        dataset = datasets[ref.dataset]
        if dataset.fingerprint is not None:
            content[ref.key] = sha256(canonical(["fingerprint", dataset.fingerprint, ref.id]))
            continue
        with calling(dataset, "files"):
            files[ref.key] = tuple(dataset.files(ref))
        if not files[ref.key]:
            raise CaseError(
                f"case {ref.key}: files() lists no file and {type(dataset).__name__} has no fingerprint, so its content "
                "cannot be identified. A data set of files lists them; a procedural one sets `fingerprint`."
            )
        for path in files[ref.key]:
            if not path.is_file():
                raise CaseError(f"case {ref.key}: expected the file {path}, found none. See `bench data verify`.")
    try:
        hashes = memory.many((p for paths in files.values() for p in paths), reread=reread, reporter=reporter)
    except OSError as error:
        raise CaseError(f"{error.filename or 'a file'}: can't be read ({error.strerror}); make it readable") from error
    for key, paths in files.items():
        content[key] = sha256(canonical(["files", *(hashes[path] for path in paths)]))
    return content


def data_digest(
    datasets: Mapping[str, Dataset],
    refs: Iterable[CaseRef],
    *,
    reread: bool = False,
    memory: HashMemory | None = None,
    reporter: Reporter | None = None,
) -> str:
    """Digest the sorted (dataset, id, content) of every case that a protocol may use (architecture.md, section 4).

    Paths do not count, so that copies of the same data agree. With `reread` every file is read again.
    """
    refs = list(dict.fromkeys(refs))
    memory = HashMemory() if memory is None else memory
    content = case_contents(datasets, refs, memory, reread=reread, reporter=reporter)
    return sha256(canonical(sorted([ref.dataset, ref.id, content[ref.key]] for ref in refs)))
