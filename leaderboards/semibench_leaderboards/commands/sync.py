"""`bench leaderboard --sync`: mirrors the rows of boards in MLflow."""

from __future__ import annotations

import time
from pathlib import Path

from semibench.cli.console import duration, stderr, stdout
from semibench.cli.progress import reporter_for
from semibench.tracking import store_uri
from semibench_leaderboards.mlflow_rows.sync import sync
from semibench_leaderboards.ranking.selecting import chosen_runs
from semibench_leaderboards.reading.run_filter import RunFilter


def sync_tracks(runs: Path, run_filter: RunFilter, tracking_uri: str | None) -> None:
    """Syncs the tracks of the runs that match, and prints what was written. Raises UsageError where no run matches."""
    start = time.perf_counter()
    matching = chosen_runs(runs, run_filter, scores=False)
    tracks = list(dict.fromkeys(record.track for record in matching)) if run_filter.conditions else None
    reporter = reporter_for(stderr())
    try:
        report = sync(runs, tracking_uri, tracks=tracks, reporter=reporter)
    finally:
        reporter.close()
    parts = [
        f"{report.tracks} tracks written ({report.rows} rows of {report.runs} runs)",
        f"{report.unchanged} unchanged",
    ]
    if report.mirrored:
        parts.append(f"{report.mirrored} runs mirrored first")
    seconds = duration(time.perf_counter() - start)
    stdout().show(f"{store_uri(tracking_uri)}: {', '.join(parts)}, {seconds}. To look at it: bench ui", soft_wrap=True)
