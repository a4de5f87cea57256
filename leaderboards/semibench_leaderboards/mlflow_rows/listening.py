"""Listener that updates the rows of a track in MLflow after each run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semibench.reporting import Reporter
from semibench.runfolder.reading import RunFolder
from semibench_leaderboards.mlflow_rows.sync import sync


def update(folders: Sequence[Path], *, tracking_uri: str | None, reporter: Reporter) -> None:
    """Syncs the tracks of some run folders, with one sync for each parent folder."""
    tracks: dict[Path, list[str]] = {}
    for folder in folders:
        tracks.setdefault(folder.parent, []).append(RunFolder(folder).spec.track.digest())
    for runs, digests in tracks.items():
        sync(runs, tracking_uri, tracks=digests, reporter=_Quiet(reporter))


class _Quiet(Reporter):
    """Forwards notes and warnings and shows no progress, since the run's own progress has ended."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    def note(self, text: str) -> None:
        self.reporter.note(text)

    def warn(self, text: str) -> None:
        self.reporter.warn(text)
