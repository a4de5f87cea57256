"""Brings the leaderboards in an MLflow store to what the run folders say; as often as wanted, by several at once.

report = sync(Path("runs"))
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semibench.contracts.errors import BusyError, SemibenchError
from semibench.contracts.identity import SHORT
from semibench.reporting import Reporter
from semibench.tracking.store import open_store, sqlite_file, store_uri
from semibench_leaderboards.mlflow_rows.content import BOARD, TrackContent, fingerprint, track_content
from semibench_leaderboards.mlflow_rows.store import ClientStore, RowStore, Standing

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from semibench_leaderboards.ranking.boards import Board
    from semibench_leaderboards.ranking.ranking import Ranking
    from semibench_leaderboards.reading.records import RunRecord

LOCK_SECONDS = 600.0
"""How long a sync waits for another one on the same store."""

AT_ONCE = 10
"""Tracks in one transaction: other writers of the store wait no longer than that takes."""

DIAGRAMS = 8
"""Most boards for which a sync draws the critical-difference diagram (a fifth of a second each)."""


@dataclass
class SyncReport:
    """tracks: written; unchanged: tracks that needed nothing; rows, runs: of the written tracks; mirrored: runs that the store
    didn't have; warnings: what couldn't be done."""

    tracks: int = 0
    unchanged: int = 0
    rows: int = 0
    runs: int = 0
    mirrored: int = 0
    bulk: bool = False
    warnings: list[str] = field(default_factory=list)


def sync(
    runs: Path, uri: str | None = None, *, tracks: Iterable[str] | None = None, force: bool = False, bulk: bool = True,
    reporter: Reporter | None = None,
) -> SyncReport:  # fmt: skip
    """Writes the rows of all tracks under a folder of runs to MLflow: parents, nesting, notes, tables, plots.

    uri: of the store (default: MLFLOW_TRACKING_URI, else mlflow.db in the working directory). tracks: digests in full; None: all.
    force: also tracks whose runs haven't changed since. bulk: write a SQLite store's tables directly where that is safe.

    Runs the store doesn't have are mirrored first. A track that can't be read is a warning, the others are written. Two syncs
    of one store wait for each other (a lock beside a SQLite file, else in the folder of the runs). Raises
    BusyError where that takes longer than ten minutes, SemibenchError where the store can't be opened.
    """
    from semibench_leaderboards.reading.records import read_runs

    reporter = reporter or Reporter()
    address = store_uri(uri)
    client = open_store(address)
    report = SyncReport()
    with _locked(address, runs):
        wanted = None if tracks is None else list(dict.fromkeys(tracks))
        records = (
            read_runs(runs)
            if wanted is None
            else [record for track in wanted for record in read_runs(runs, track=track)]
        )
        by_track: dict[str, list[RunRecord]] = {}
        for record in records:
            by_track.setdefault(record.track, []).append(record)
        with _store(client, address, bulk=bulk) as store:
            report.bulk = not isinstance(store, ClientStore)
            standings = store.standings(by_track)
            if _mirror_missing(by_track, standings, address, report, reporter):
                standings = store.standings(by_track)
            todo = [
                track
                for track, members in by_track.items()
                if track in standings and (force or not _done(standings[track], members))
            ]
            report.unchanged = len(standings) - len(todo)
            store.load([standings[track] for track in todo])
            reporter.phase("leaderboards", len(todo))
            for start in range(0, len(todo), AT_ONCE):
                part = todo[start : start + AT_ONCE]
                _write(store, client, [(standings[track], by_track[track]) for track in part], len(todo), report)
                reporter.advance(start + len(part))
            reporter.end()
    for text in report.warnings:
        reporter.warn(text)
    return report


def _done(standing: Standing, members: Sequence[RunRecord]) -> bool:
    from semibench_leaderboards.mlflow_rows.content import FINGERPRINT

    rows_of = {record.key: record.row[:SHORT] for record in members}
    return standing.tags.get(FINGERPRINT) == fingerprint(members) and standing.whole(
        len(set(rows_of.values())), rows_of
    )


@contextmanager
def _locked(address: str, runs: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    file = sqlite_file(address)
    lock = Path(f"{file}.rows.lock") if file is not None else runs / ".rows.lock"
    try:
        with FileLock(lock, timeout=LOCK_SECONDS):
            yield
    except Timeout as error:
        raise BusyError(
            f"waited {LOCK_SECONDS:.0f} s for another process that writes the leaderboards of {address}; if there is none, "
            f"delete {lock}"
        ) from error


@contextmanager
def _store(client: MlflowClient, address: str, *, bulk: bool) -> Iterator[RowStore]:
    file = sqlite_file(address) if bulk else None
    if file is not None:
        from semibench_leaderboards.mlflow_rows.bulk import open_bulk

        opened = open_bulk(file)
        if opened is not None:
            with opened:
                yield opened
            return
    yield ClientStore(client)


def _mirror_missing(
    by_track: dict[str, list[RunRecord]], standings: dict[str, Standing], address: str, report: SyncReport,
    reporter: Reporter,
) -> int:  # fmt: skip
    """Mirrors the runs that ended and that the store doesn't have, or has in another state; returns how many."""
    from semibench.tracking import mirror

    missing = []
    for track, members in by_track.items():
        standing = standings.get(track)
        there = {(child.key, child.code, child.state) for child in standing.children} if standing else set()
        missing += [
            record
            for record in members
            if record.state != "running" and (record.key, record.code, record.state) not in there
        ]
    if not missing:
        return 0
    reporter.phase("mirror", len(missing))
    failed: list[str] = []
    for number, record in enumerate(missing, 1):
        try:
            mirror(record.folder, address, reporter)
        except Exception as error:  # the store may be full, or a folder damaged: the others go on
            failed.append(f"{record.folder.name}: {type(error).__name__}: {error}")
        reporter.advance(number)
    reporter.end()
    report.mirrored = len(missing) - len(failed)
    if failed:
        report.warnings.append(f"{len(failed)} runs could not be mirrored, e.g. {failed[0]}")
    return report.mirrored


def _write(
    store: RowStore, client: MlflowClient, work: Sequence[tuple[Standing, Sequence[RunRecord]]], total: int, report: SyncReport
) -> None:  # fmt: skip
    from semibench_leaderboards.ranking.boards import boards
    from semibench_leaderboards.ranking.ranking import rank

    made: list[tuple[Standing, TrackContent]] = []
    ranked: list[tuple[Board, Ranking]] = []
    for standing, members in work:
        try:
            found = boards(members)
            if not found:
                report.warnings.append(
                    f"track {standing.track[:SHORT]} is left as it was: none of its runs can be read"
                )
                continue
            board = found[0]
            ranking = rank(board)
            made.append((standing, track_content(board, ranking, members)))
        except SemibenchError as error:
            report.warnings.append(f"track {standing.track[:SHORT]} is left as it was: {error}")
            continue
        ranked.append((board, ranking))
        report.tracks += 1
        report.rows += len(board.rows)
        report.runs += len(members)
    store.write(made)
    for (standing, content), (board, ranking) in zip(made, ranked, strict=True):
        files: dict[str, Callable[[Path], Any]] = {name: partial(_put, text) for name, text in content.files.items()}
        if total <= DIAGRAMS and len(ranking.average) > 1:
            files["critical-difference.svg"] = partial(_diagram, board, ranking)
        _upload(client, standing.parents[BOARD].run_id, files)
    store.finish(made)


def _put(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _diagram(board: Board, ranking: Ranking, path: Path) -> None:
    from semibench_leaderboards.showing.diagram import critical_difference

    critical_difference(board, ranking, path)


def _upload(client: MlflowClient, run_id: str, files: dict[str, Callable[[Path], Any]]) -> None:
    with tempfile.TemporaryDirectory(prefix="semibench-board-") as folder:
        for name, write in files.items():
            write(Path(folder) / name)
        client.log_artifacts(run_id, folder)
