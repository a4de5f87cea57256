"""Run folders as records: the index is refreshed, shared by processes, and never more than a cache."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.leaderboard_toys import spec_of, three_seeds, write_run

from semibench.contracts.errors import UsageError
from semibench.contracts.identity import Score
from semibench.data.workers import over_all
from semibench_leaderboards.commands.naming import report_left_out
from semibench_leaderboards.ranking.boards import boards
from semibench_leaderboards.ranking.score_request import ScoreRequest
from semibench_leaderboards.ranking.selecting import chosen_boards
from semibench_leaderboards.reading import index as index_module
from semibench_leaderboards.reading.cases import CasesError, ScoredMetric, case_scores
from semibench_leaderboards.reading.index import NAME, Index
from semibench_leaderboards.reading.records import chosen_run, left_out, read_runs
from semibench_leaderboards.reading.run_filter import RunFilter

DICE = ScoredMetric(Score(checkpoint="last", predictor="main", convention="semibench-1"), "dice")


def test_a_record_says_what_the_folder_says(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [0.5, 0.7], spec_of("alpha", seed=3, phantom=True))
    (record,) = read_runs(tmp_path)
    assert (record.key, record.row, record.track) == (record.spec.key, record.spec.row, record.spec.track.digest())
    assert record.spec == spec_of("alpha", seed=3, phantom=True)
    assert (record.folder, record.state, record.phantom, record.recipe) == (folder, "done", True, "quick")
    assert (record.method, record.backbone, record.dataset, record.protocol) == ("alpha", "unet", "tus", "self")
    assert (record.replicate, record.draw_fold, record.device) == ((0, None, 3), (0, None), "AMD EPYC")
    assert record.scores[0].mean == pytest.approx(0.6)
    assert (record.label_budget, record.training.seconds, record.model.parameters) == (7, 13.0, 1000)


def test_the_index_follows_the_folders(tmp_path: Path) -> None:
    folder = write_run(tmp_path, state="running", spec=spec_of("alpha"))
    write_run(tmp_path, [0.5], spec_of("beta"))
    assert [record.state for record in read_runs(tmp_path)] == ["interrupted", "done"]
    write_run(tmp_path, [0.25], spec_of("alpha"))
    assert [record.scores[0].mean for record in read_runs(tmp_path)] == [0.25, 0.5]
    with Index.of(tmp_path) as index:
        assert index.refresh() == 0
    shutil.rmtree(folder)
    assert [record.method for record in read_runs(tmp_path)] == ["beta"]


def test_two_processes_read_folders_to_the_same_index_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged folders and copies, too."""
    for seed in range(4):
        write_run(tmp_path, [0.5, 0.1 * seed], spec_of("alpha", seed=seed))
    shutil.copytree(write_run(tmp_path, [0.5], spec_of("beta")), tmp_path / "copy")
    (write_run(tmp_path, [0.5], spec_of("gamma")) / "result.json").write_text("{}")
    dumps = []
    for fork in (False, True):
        if fork:
            over_all_in_forks = partial(over_all, worth=0.0)
            monkeypatch.setattr("semibench_leaderboards.reading.index.over_all", over_all_in_forks)
            monkeypatch.setattr("semibench_leaderboards.reading.index.READ_AT_ONCE", 2)
            monkeypatch.setenv("OMP_NUM_THREADS", "2")
        with Index(tmp_path, None) as index:
            assert index.refresh() == 7
            dumps.append(list(index.connection.iterdump()))
    assert dumps[0] == dumps[1]


def test_a_board_is_made_with_one_look_at_the_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look takes six system calls for each run, so that a second one would be felt with ten thousand runs."""
    three_seeds(tmp_path, "alpha", [[0.5], [0.6]])
    write_run(tmp_path, [0.5], spec_of("alpha", labeled=1.0))
    looks: list[str] = []
    plain = index_module._stamp
    monkeypatch.setattr(index_module, "_stamp", lambda folder: looks.append(folder) or plain(folder))
    track = spec_of("alpha").track.digest()
    (board,) = chosen_boards(tmp_path, RunFilter(track=track), ScoreRequest())
    report_left_out(tmp_path)
    assert len(board.own_rows) == 1 and sorted(looks) == sorted(
        {str(tmp_path / path.name) for path in tmp_path.glob("[!.]*")}
    )


def test_changed_cases_are_read_again(tmp_path: Path) -> None:
    write_run(tmp_path, [0.5, 0.7])
    (first,) = case_scores([(read_runs(tmp_path)[0], DICE)])
    (again,) = case_scores([(read_runs(tmp_path)[0], DICE)])  # from the index
    assert first.cases.digest == again.cases.digest
    np.testing.assert_array_equal(first.values, again.values)
    write_run(tmp_path, [0.1, 0.2, 0.3])
    (changed,) = case_scores([(read_runs(tmp_path)[0], DICE)])
    assert changed.values.ravel().tolist() == [0.1, 0.2, 0.3]


def test_filters_take_short_and_full_names(tmp_path: Path) -> None:
    three_seeds(tmp_path, "alpha", [[0.1], [0.2]])
    write_run(tmp_path, [0.3], spec_of("beta", dataset="la", phantom=True))
    assert (
        len(read_runs(tmp_path, RunFilter(method="alpha")))
        == len(read_runs(tmp_path, RunFilter(method="semibench:alpha")))
        == 2
    )
    assert len(read_runs(tmp_path, RunFilter(dataset="la", protocol="self"))) == 1
    assert len(read_runs(tmp_path, RunFilter(phantom=True))) == 1
    assert read_runs(tmp_path, RunFilter(method="alph")) == read_runs(tmp_path, RunFilter(method="%")) == []
    key = read_runs(tmp_path, RunFilter(dataset="la"))[0].key
    assert read_runs(tmp_path, RunFilter(key=key[:9]))[0].method == "beta"
    assert chosen_run(read_runs(tmp_path), key[:9]).method == "beta"
    with pytest.raises(UsageError, match="no run has a key"):
        chosen_run(read_runs(tmp_path), "zz")
    with pytest.raises(UsageError, match="3 runs have a key that begins with"):
        chosen_run(read_runs(tmp_path), "")


def test_older_code_is_stale_and_leaves_the_row(tmp_path: Path) -> None:
    write_run(tmp_path, [0.1], spec_of(seed=0), code="old", ended="2026-01-01T00:00:00+00:00")
    write_run(tmp_path, [0.2], spec_of(seed=1), code="new", ended="2026-01-03T00:00:00+00:00")
    write_run(tmp_path, state="failed", spec=spec_of(seed=2), code="newest", ended="2026-01-04T00:00:00+00:00")
    assert [record.stale for record in read_runs(tmp_path)] == [True, False, True]
    assert [record.counts for record in read_runs(tmp_path, scores=False)] == [False, True, False]


def test_broken_folders_are_named_and_harm_nothing(tmp_path: Path) -> None:
    write_run(tmp_path, [0.1])
    broken = write_run(tmp_path, [0.1], spec_of("broken"))
    (broken / "status.json").write_text("{", encoding="utf-8")
    (tmp_path / "notes").mkdir()
    other = write_run(tmp_path, [0.1], spec_of("cut"))
    (other / "result.json").unlink()
    assert len(read_runs(tmp_path)) == 1
    first, second = sorted(left_out(tmp_path), key=lambda line: other.name in line)
    assert first.startswith(f"left out: {broken}: status.json is not JSON")
    assert second.startswith(f"left out: {other}: the run is done but has no result.json")


def test_a_copied_folder_counts_once(tmp_path: Path) -> None:
    three_seeds(tmp_path, "alpha", [[0.1], [0.2], [0.6]])
    folder = write_run(tmp_path, [0.3], spec_of("beta"))
    shutil.copytree(folder, tmp_path / "a backup")
    shutil.copytree(folder, tmp_path / f"{folder.name} copy")
    assert [record.folder for record in read_runs(tmp_path, RunFilter(method="beta"))] == [folder]
    assert left_out(tmp_path) == [
        f"left out: {tmp_path / name} holds the same run as {folder}, which counts once"
        for name in sorted(["a backup", f"{folder.name} copy"])
    ]
    (board,) = boards(read_runs(tmp_path))
    assert {row.name: row.n for row in board.rows} == {"alpha": 3, "beta": 1}
    shutil.rmtree(folder)  # the first of those that are left stands for the run
    (record,) = read_runs(tmp_path, RunFilter(method="beta"))
    assert record.folder == tmp_path / min("a backup", f"{folder.name} copy")
    assert len(left_out(tmp_path)) == 1


def test_a_copy_with_other_code_makes_nothing_stale(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [0.3])
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    record = json.loads((copy / "provenance.json").read_text())
    record["plugins"]["method"]["source"] = "newer"
    (copy / "provenance.json").write_text(json.dumps(record))
    assert [(found.folder, found.stale) for found in read_runs(tmp_path)] == [(folder, False)]


def test_a_run_whose_cases_contradict_it_leaves_the_board_and_the_list(tmp_path: Path) -> None:
    write_run(tmp_path, [0.5, 0.7], spec_of("alpha"))
    odd = write_run(tmp_path, [0.5, 0.7], spec_of("beta"), stored_mean=0.9)
    (board,) = boards(read_runs(tmp_path))
    assert [row.name for row in board.rows] == ["alpha"]
    assert [record.method for record in read_runs(tmp_path)] == ["alpha"]
    (line,) = left_out(tmp_path)
    assert line.startswith(f"left out: {odd}: the cases of last/main/semibench-1/dice have the mean 0.600000")
    write_run(tmp_path, [0.5, 0.7], spec_of("beta"))  # mended
    assert left_out(tmp_path) == [] and len(boards(read_runs(tmp_path))[0].rows) == 2


def test_runs_of_one_place_on_other_splits_are_told_on_the_board(tmp_path: Path) -> None:
    write_run(tmp_path, [0.5, 0.7], spec_of("alpha"), cases=["a", "b"])
    write_run(tmp_path, [0.5, 0.7], spec_of("beta"), cases=["a", "c"])
    (board,) = boards(read_runs(tmp_path))
    assert any("different splits" in warning for warning in board.warnings)


def test_a_damaged_or_foreign_index_is_made_again(tmp_path: Path) -> None:
    write_run(tmp_path, [0.1])
    (tmp_path / NAME).write_bytes(b"no data base at all, but long enough to be read as one " * 50)
    assert len(read_runs(tmp_path)) == 1
    with Index.of(tmp_path) as index:
        index.connection.execute("PRAGMA user_version = 1")
    assert len(read_runs(tmp_path)) == 1


def test_a_folder_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, [0.1])
    monkeypatch.setattr("os.access", lambda path, mode: False)
    (record,) = read_runs(tmp_path)
    assert case_scores([(record, DICE)])[0].values.tolist() == [[0.1]]
    assert not (tmp_path / NAME).exists()


def test_no_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        read_runs(tmp_path / "gone")


@pytest.mark.slow
def test_processes_share_a_fresh_index(tmp_path: Path) -> None:
    for method in ("alpha", "beta", "gamma"):
        three_seeds(tmp_path, method, [[0.1, 0.2]] * 3)
    code = (
        "import sys; from pathlib import Path; from semibench_leaderboards.ranking.boards import boards\n"
        "from semibench_leaderboards.reading.records import read_runs\n"
        "for _ in range(5):\n"
        "    (board,) = boards(read_runs(Path(sys.argv[1])))\n"
        "    assert [row.n for row in board.rows] == [3, 3, 3], board\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


# ---- tables that contradict themselves ---------------------------------------------------------------------------


def refused(tmp_path: Path, match: str) -> None:
    with pytest.raises(CasesError, match=match):
        case_scores([(read_runs(tmp_path)[0], DICE)])


def test_a_mean_that_the_cases_do_not_have(tmp_path: Path) -> None:
    write_run(tmp_path, [0.5, 0.7], stored_mean=0.9)
    refused(tmp_path, r"have the mean 0\.600000, result\.json says 0\.900000")


def test_a_case_that_is_not_of_the_split(tmp_path: Path) -> None:
    write_run(tmp_path, [0.5, 0.7], cases=["a", "b"], split=["a"])
    refused(tmp_path, "not test cases of its split, e.g. tus/b")


def test_a_case_twice(tmp_path: Path) -> None:
    write_run(tmp_path, [0.5, 0.5], cases=["a", "a"])
    refused(tmp_path, "2 rows for 1 cases and 1 classes")


def test_no_table_and_a_torn_one(tmp_path: Path) -> None:
    write_run(tmp_path, [0.5])
    (write_run(tmp_path, [0.5], spec_of("beta")) / "scores.parquet").unlink()
    torn = write_run(tmp_path, [0.5], spec_of("gamma")) / "scores.parquet"
    torn.write_bytes(torn.read_bytes()[:300])
    assert [record.method for record in read_runs(tmp_path)] == ["alpha"]
    assert all("no whole scores.parquet" in line for line in left_out(tmp_path))


def test_dice_that_does_not_fit_its_iou(tmp_path: Path) -> None:
    import pandas as pd

    folder = write_run(tmp_path, [0.5, 0.8])
    table = pd.read_parquet(folder / "scores.parquet")
    iou = table.assign(metric="iou", value=[1 / 3, 0.5])  # the second belongs to a Dice of 2/3
    pd.concat([table, iou]).to_parquet(folder / "scores.parquet", index=False)
    refused(tmp_path, "violated in case 'case-01'")


def test_cases_without_a_score_are_missing(tmp_path: Path) -> None:
    write_run(tmp_path, [0.5, 0.7], cases=["a", "b"], split=["a", "b", "c"])
    (scores,) = case_scores([(read_runs(tmp_path)[0], DICE)])
    assert scores.cases.missing == ("tus/c",)


def test_old_runs_without_a_direction_ask_the_convention(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [3.0, 5.0], metric="hd95_mm")
    result = json.loads((folder / "result.json").read_text())
    del result["scores"][0]["higher"]
    (folder / "result.json").write_text(json.dumps(result))
    assert boards(read_runs(tmp_path))[0].higher is False
