"""Mirrors the leaderboards of run folders in an MLflow store. Idempotent, and safe to run in several processes at once.

report = sync(Path("runs"))
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semibench.contracts.errors import BusyError, SemibenchError
from semibench.contracts.identity import SHORT
from semibench.reporting import Reporter
from semibench.tracking.store import needing_store, open_store, sqlite_file, store_uri
from semibench_leaderboards.mlflow_rows.content import BOARD, FINGERPRINT, fingerprint, track_content
from semibench_leaderboards.mlflow_rows.store import RowStore, StoredTrack

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from semibench_leaderboards.ranking.boards import Board
    from semibench_leaderboards.ranking.ranks import Ranking
    from semibench_leaderboards.reading.records import RunRecord

LOCK_SECONDS = 600.0
"""How long a sync waits for another one on the same store."""

DIAGRAMS = 8
"""Most boards for which one sync draws the critical-difference diagram, which takes a fifth of a second each."""


@dataclass
class SyncReport:
    """What a sync did."""

    tracks: int = 0
    """Tracks that were written."""
    unchanged: int = 0
    """Tracks that were up to date."""
    rows: int = 0
    """Rows of the tracks that were written."""
    runs: int = 0
    """Runs of the tracks that were written."""
    mirrored: int = 0
    """Runs that the store didn't have, or had in another state."""
    warnings: list[str] = field(default_factory=list)
    """What could not be written, and why."""


def sync(
    runs: Path, uri: str | None = None, *, tracks: Iterable[str] | None = None, force: bool = False,
    reporter: Reporter | None = None,
) -> SyncReport:  # fmt: skip
    """Writes the rows of the tracks under a folder of runs to MLflow: parent runs, nesting, notes, tables, plots.

    Runs that the store doesn't have are mirrored first. A track that can't be read becomes a warning and the others are
    written. Two syncs of one store wait for each other, with a lock beside a SQLite file or else in the folder of the runs.

    Args:
        runs: folder of the run folders.
        uri: address of the store (default: MLFLOW_TRACKING_URI, else mlflow.db in the working directory).
        tracks: full digests of the tracks to write; None for all.
        force: also write tracks whose runs haven't changed since the last sync.
        reporter: receives progress and warnings.

    Raises:
        BusyError: another sync of the store took longer than ten minutes.
        SemibenchError: the store can't be opened, or goes away.
    """
    reporter = reporter or Reporter()
    address = store_uri(uri)
    client = open_store(address)
    store = RowStore(client)
    report = SyncReport()
    with _locked(address, runs), needing_store(address):
        by_track, bounds = _records_by_track(runs, tracks)
        stored = store.read(by_track)
        if _mirror_missing(by_track, stored, address, report, reporter):
            stored = store.read(by_track)
        outdated = [
            track
            for track, records in by_track.items()
            if track in stored and (force or not _up_to_date(stored[track], records, bounds.get(track, ())))
        ]
        report.unchanged = len(stored) - len(outdated)
        reporter.phase("leaderboards", len(outdated))
        for number, track in enumerate(outdated, 1):
            lent = bounds.get(track, ())
            _write(store, client, stored[track], by_track[track], lent, report, diagram=len(outdated) <= DIAGRAMS)
            reporter.advance(number)
        reporter.end()
    for text in report.warnings:
        reporter.warn(text)
    return report


def _records_by_track(
    runs: Path, tracks: Iterable[str] | None
) -> tuple[dict[str, list[RunRecord]], dict[str, list[RunRecord]]]:
    """The runs of each track, and those with all labels that other tracks lend to it.

    A track that lends its runs to others brings these along, since their boards show them.
    """
    from semibench_leaderboards.ranking.bounds import bounds_by_family, family
    from semibench_leaderboards.reading.records import read_runs, related_runs
    from semibench_leaderboards.reading.run_filter import RunFilter

    if tracks is None:
        records = read_runs(runs)
    else:
        wanted = [record for track in dict.fromkeys(tracks) for record in read_runs(runs, RunFilter(track=track))]
        records = list({record.folder: record for record in (*wanted, *related_runs(runs, wanted))}.values())
    by_track: dict[str, list[RunRecord]] = {}
    for record in records:
        by_track.setdefault(record.track, []).append(record)
    lent = bounds_by_family(records)
    families = {track: family(members[0].spec.track) for track, members in by_track.items()}
    bounds = {
        track: [record for record in lent.get(name, ()) if record.track != track] for track, name in families.items()
    }
    if tracks is not None:
        asked = {record.track for record in wanted}
        lenders = {families[record.track] for members in lent.values() for record in members if record.track in asked}
        by_track = {track: runs for track, runs in by_track.items() if track in asked or families[track] in lenders}
    return by_track, bounds


def _up_to_date(stored: StoredTrack, records: Sequence[RunRecord], lent: Sequence[RunRecord]) -> bool:
    rows_of = {record.key: record.row[:SHORT] for record in records}
    current = stored.tags.get(FINGERPRINT) == fingerprint([*records, *lent])
    return current and stored.complete(len(set(rows_of.values())), rows_of)


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


def _mirror_missing(
    by_track: Mapping[str, Sequence[RunRecord]], stored: Mapping[str, StoredTrack], address: str, report: SyncReport,
    reporter: Reporter,
) -> int:  # fmt: skip
    """Mirrors the runs that ended and that the store doesn't have, or has in another state; returns how many."""
    from semibench.tracking import mirror

    missing = []
    for track, records in by_track.items():
        children = stored[track].children if track in stored else []
        mirrored = {(child.key, child.code, child.state) for child in children}
        missing += [
            record
            for record in records
            if record.state != "running" and (record.key, record.code, record.state) not in mirrored
        ]
    if not missing:
        return 0
    reporter.phase("mirror", len(missing))
    failures: list[str] = []
    for number, record in enumerate(missing, 1):
        try:
            mirror(record.folder, address, reporter)
        except Exception as error:  # the store may be full, or a folder damaged: the others go on
            failures.append(f"{record.folder.name}: {type(error).__name__}: {error}")
        reporter.advance(number)
    reporter.end()
    report.mirrored = len(missing) - len(failures)
    if failures:
        report.warnings.append(f"{len(failures)} runs could not be mirrored, e.g. {failures[0]}")
    return report.mirrored


def _write(
    store: RowStore, client: MlflowClient, stored: StoredTrack, records: Sequence[RunRecord], lent: Sequence[RunRecord],
    report: SyncReport, *, diagram: bool,
) -> None:  # fmt: skip
    from semibench_leaderboards.ranking.boards import boards
    from semibench_leaderboards.ranking.ranks import rank
    from semibench_leaderboards.reading.records import damaged_among

    try:
        board = next(iter(boards(records, others=lent)), None)
        damaged = damaged_among(records)
        if board is None:
            reasons = "; ".join(["none of its runs can be read", *damaged])
            report.warnings.append(f"track {stored.track[:SHORT]} is left as it was: {reasons}")
            return
        report.warnings += damaged
        ranking = rank(board)
        content = track_content(board, ranking, records, lent)
    except SemibenchError as error:
        report.warnings.append(f"track {stored.track[:SHORT]} is left as it was: {error}")
        return
    report.tracks += 1
    report.rows += len(board.own_rows)
    report.runs += len(records)
    store.write(stored, content)
    files: dict[str, Callable[[Path], Any]] = {name: partial(_write_text, text) for name, text in content.files.items()}
    if diagram and len(ranking.average) > 1:
        files["critical-difference.svg"] = partial(_draw_diagram, board, ranking)
    _upload(client, stored.parents[BOARD].run_id, files)
    store.finish(stored, content)


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _draw_diagram(board: Board, ranking: Ranking, path: Path) -> None:
    from semibench_leaderboards.showing.diagrams import critical_difference

    critical_difference(board, ranking, path)


def _upload(client: MlflowClient, run_id: str, files: Mapping[str, Callable[[Path], Any]]) -> None:
    with tempfile.TemporaryDirectory(prefix="semibench-board-") as folder:
        for name, write in files.items():
            write(Path(folder) / name)
        client.log_artifacts(run_id, folder)
