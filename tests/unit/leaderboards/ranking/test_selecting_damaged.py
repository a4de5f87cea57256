"""A folder whose runs can't be read is not a folder without runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.leaderboard_toys import write_run

from semibench.contracts.errors import UsageError
from semibench_leaderboards.ranking.selecting import chosen_runs
from semibench_leaderboards.reading.run_filter import RunFilter


@pytest.mark.parametrize("lost", ["result.json", "scores.parquet", "split.json", "provenance.json"])
def test_one_unreadable_run_alone_is_named_with_the_reason(tmp_path: Path, lost: str) -> None:
    folder = write_run(tmp_path, [0.5, 0.7])
    (folder / lost).unlink()
    with pytest.raises(UsageError) as refused:
        chosen_runs(tmp_path, RunFilter())
    message = str(refused.value)
    assert "can be read" in message and folder.name in message and lost in message
    assert "no runs yet" not in message


def test_an_empty_folder_holds_no_runs_yet(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no runs yet"):
        chosen_runs(tmp_path, RunFilter())
