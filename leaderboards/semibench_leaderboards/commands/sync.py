"""`bench leaderboard --sync`: rows as parent runs in MLflow."""

from __future__ import annotations

import time
from pathlib import Path

from semibench.cli.console import duration, stderr, stdout
from semibench.cli.progress import reporter_for
from semibench.tracking import store_uri
from semibench_leaderboards.mlflow_rows.sync import sync
from semibench_leaderboards.ranking.selecting import Filters, chosen_runs


def sync_tracks(runs: Path, filters: Filters, tracking_uri: str | None) -> None:
    """Syncs the tracks of the runs that fit, and says what was written where. Raises UsageError where no run fits."""
    start = time.perf_counter()
    tracks = None
    if any(value is not None for value in filters.values()):
        tracks = list(dict.fromkeys(record.track for record in chosen_runs(runs, filters, scores=False)))
    else:
        chosen_runs(runs, filters, scores=False)
    reporter = reporter_for(stderr())
    try:
        report = sync(runs, tracking_uri, tracks=tracks, reporter=reporter)
    finally:
        reporter.close()
    told = [
        f"{report.tracks} tracks written ({report.rows} rows of {report.runs} runs)",
        f"{report.unchanged} unchanged",
    ]
    if report.mirrored:
        told.append(f"{report.mirrored} runs mirrored first")
    seconds = duration(time.perf_counter() - start)
    stdout().show(f"{store_uri(tracking_uri)}: {', '.join(told)}, {seconds}. Look at it: bench ui", soft_wrap=True)
