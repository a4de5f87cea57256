"""After a run: its row, and with it the ranks of its track, are brought up to date in MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semibench.reporting import Reporter
from semibench.runfolder.reading import RunFolder
from semibench_leaderboards.mlflow_rows.sync import sync


def update(folders: Sequence[Path], *, tracking_uri: str | None, reporter: Reporter) -> None:
    """Syncs the tracks of some run folders; one sync for each folder of runs they lie in."""
    tracks: dict[Path, list[str]] = {}
    for folder in folders:
        tracks.setdefault(folder.parent, []).append(RunFolder(folder).spec.track.digest())
    for runs, digests in tracks.items():
        sync(runs, tracking_uri, tracks=digests, reporter=_Quiet(reporter))


class _Quiet(Reporter):
    """Passes warnings on and draws no progress: the run's own is over."""

    def __init__(self, told: Reporter) -> None:
        self.told = told

    def note(self, text: str) -> None:
        self.told.note(text)

    def warn(self, text: str) -> None:
        self.told.warn(text)
