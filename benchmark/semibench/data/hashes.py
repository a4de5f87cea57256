"""What the data are: hashes of files, remembered, and the digest of all cases a protocol may use."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock

from semibench.contracts.cases import CaseRef, Dataset
from semibench.contracts.errors import CaseError
from semibench.contracts.identity import canonical, sha256
from semibench.data.roots import cache_dir
from semibench.reporting import Reporter

FRESH = 2_000_000_000
"""Nanoseconds: a file changed less than this ago is hashed but not remembered, for it may change again unseen."""


class HashMemory:
    """sha256 of files, remembered by (path, size, modification time) in a small SQLite file; safe for several processes.

    file: default `<cache>/hashes.sqlite`."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = cache_dir() / "hashes.sqlite" if file is None else file
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.file}.lock"), self._open() as base:
            base.execute(
                "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, sha256 TEXT)"
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.file, timeout=60.0)) as base, base:
            yield base

    def known(self, path: Path) -> str | None:
        """The remembered hash of a file whose size and time are unchanged, or None."""
        state = path.stat()
        with self._open() as base:
            row = base.execute(
                "SELECT size, changed, sha256 FROM files WHERE path = ?", (str(path.resolve()),)
            ).fetchone()
        return row[2] if row is not None and row[:2] == (state.st_size, state.st_mtime_ns) else None

    def sha256(self, path: Path, *, reread: bool = False) -> str:
        """The sha256 of a file's bytes; reread: don't trust the memory. Raises OSError where it can't be read."""
        return self.many([path], reread=reread)[path]

    def many(self, paths: Iterable[Path], *, reread: bool = False, reporter: Reporter | None = None) -> dict[Path, str]:
        """Hashes of many files with two transactions; a phase "hash" is reported where files must be read."""
        wanted = list(dict.fromkeys(paths))
        full = {path: str(path.resolve()) for path in wanted}
        states = {path: path.stat() for path in wanted}
        with self._open() as base:
            memory = {}
            for path in wanted:
                row = base.execute("SELECT size, changed, sha256 FROM files WHERE path = ?", (full[path],)).fetchone()
                if row is not None and row[:2] == (states[path].st_size, states[path].st_mtime_ns):
                    memory[path] = row[2]
        result = {} if reread else dict(memory)
        todo = [path for path in wanted if path not in result]
        if todo and reporter:
            reporter.phase("hash", len(todo))
        rows = []
        for done, path in enumerate(todo, 1):
            with path.open("rb") as stream:
                result[path] = hashlib.file_digest(stream, "sha256").hexdigest()
            state = path.stat()
            if time.time_ns() - state.st_mtime_ns > FRESH:
                rows.append((full[path], state.st_size, state.st_mtime_ns, result[path]))
            if reporter:
                reporter.advance(done)
        if rows:
            with self._open() as base:
                base.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)
        if todo and reporter:
            reporter.end()
        return {path: result[path] for path in wanted}


def case_content(dataset: Dataset, ref: CaseRef, memory: HashMemory, *, reread: bool = False) -> str:
    """Identity of one case's content: of its files' bytes in the order of `files(ref)`, or of fingerprint and id."""
    return case_contents({ref.dataset: dataset}, [ref], memory, reread=reread)[ref.key]


def case_contents(
    datasets: Mapping[str, Dataset],
    refs: Iterable[CaseRef],
    memory: HashMemory,
    *,
    reread: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, str]:
    """`case_content` of many cases, by case key. Raises CaseError for a missing file, or a case without files in a data
    set without a fingerprint."""
    chosen = list(dict.fromkeys(refs))
    files: dict[str, tuple[Path, ...]] = {}
    content: dict[str, str] = {}
    for ref in chosen:
        dataset = datasets[ref.dataset]
        if dataset.fingerprint is not None:
            content[ref.key] = sha256(canonical(["fingerprint", dataset.fingerprint, ref.id]))
            continue
        files[ref.key] = dataset.files(ref)
        if not files[ref.key]:
            raise CaseError(
                f"case {ref.key}: files() names no file and {type(dataset).__name__} has no fingerprint, so its content "
                "can't be identified. A data set of files lists them; a procedural one sets `fingerprint`."
            )
        for path in files[ref.key]:
            if not path.is_file():
                raise CaseError(f"case {ref.key}: expected the file {path}, found none. See `bench data verify`.")
    hashes = memory.many((p for paths in files.values() for p in paths), reread=reread, reporter=reporter)
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
    """sha256 over the sorted (dataset, id, content) of every case a protocol may use; no path enters (architecture.md,
    section 4), so that the same data at two places agree. reread: read every file again instead of trusting the memory."""
    chosen = list(dict.fromkeys(refs))
    memory = HashMemory() if memory is None else memory
    content = case_contents(datasets, chosen, memory, reread=reread, reporter=reporter)
    return sha256(canonical(sorted([ref.dataset, ref.id, content[ref.key]] for ref in chosen)))
