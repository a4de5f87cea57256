"""References of a board: who is never ranked, what a gain is attributed to, and bounds from tracks with more labels.

The differences are computed again here from the arrays that the runs were written with, group by group.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.command_line import bench, in_one_line
from support.leaderboard_toys import spec_of, three_seeds, write_run

from semibench.contracts.errors import UsageError
from semibench_leaderboards.ranking.boards import Board, boards
from semibench_leaderboards.ranking.ranks import rank
from semibench_leaderboards.ranking.references import attributions
from semibench_leaderboards.ranking.score_request import ScoreRequest
from semibench_leaderboards.ranking.selecting import chosen_boards, chosen_pair
from semibench_leaderboards.reading.records import read_runs
from semibench_leaderboards.reading.run_filter import RunFilter
from semibench_leaderboards.showing.tables import document, footnotes, grid, to_csv

CASES, PER_GROUP = 24, 3
GROUPS = [f"p{i // PER_GROUP}" for i in range(CASES)]
Values = NDArray[np.float64]


class Written:
    """Runs of one board as they were written: method -> seed -> values by case."""

    def __init__(self, runs: Path, seed: int = 0) -> None:
        self.runs, self.random = runs, np.random.default_rng(seed)
        self.base = self.random.uniform(0.4, 0.7, CASES)

    def add(self, method: str, gain: float, seeds: tuple[int, ...] = (0, 1, 2), **spec: object) -> dict[int, Values]:
        values = {}
        for seed in seeds:
            values[seed] = self.base + gain + self.random.normal(0, 0.03, CASES)
            write_run(self.runs, values[seed], spec_of(method, seed=seed, **spec), groups=GROUPS)  # type: ignore[arg-type]
        return values


def difference(first: dict[int, Values], second: dict[int, Values]) -> Values:
    """By case: the mean over the seeds that both have of first minus second."""
    return np.mean([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())], axis=0)


def cluster_interval(values: list[Values], figure: object, resamples: int = 4000) -> tuple[float, float]:
    """Percentile bootstrap of figure(means), with groups drawn by a plain loop."""
    random = np.random.default_rng(5)
    by_group = [[i for i, group in enumerate(GROUPS) if group == name] for name in dict.fromkeys(GROUPS)]
    found = []
    for _ in range(resamples):
        drawn = [i for number in random.integers(len(by_group), size=len(by_group)) for i in by_group[number]]
        found.append(figure(*(item[drawn].mean() for item in values)))  # type: ignore[operator]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def only(runs: Path) -> Board:
    (board,) = boards(read_runs(runs))
    return board


def test_references_are_shown_and_never_ranked(tmp_path: Path) -> None:
    written = Written(tmp_path)
    for method, gain in (("supervised", 0.3), ("atlas", 0.4), ("mean-teacher", 0.1), ("cps", 0.0)):
        written.add(method, gain)
    written.add("cps", 0.5, control=True)
    written.add("supervised", 0.6, labeled=1.0)
    board = only(tmp_path)
    ranking = rank(board)
    assert ranking.order == ("mean-teacher", "cps"), "though every reference is better"
    assert set(ranking.letters) == {"mean-teacher", "cps"} and set(ranking.adjusted) == {("mean-teacher", "cps")}
    roles = {row.name: row.identity.role for row in board.rows}
    assert roles == {
        "mean-teacher": "", "cps": "", "supervised": "labels alone", "atlas": "no image", "cps (control)": "control",
        "supervised (all labels)": "all labels",
    }  # fmt: skip
    _, rows = grid(board, ranking)
    shown = [(row[0], row[1]) for row in rows]
    assert shown == [
        ("1", "mean-teacher"), ("2", "cps"), ("ref", "supervised (all labels)"), ("ref", "supervised"), ("ref", "atlas"),
        ("ctl", "cps (control)"),
    ]  # fmt: skip
    notes = footnotes(board, ranking)
    assert "supervised: not ranked, a reference: trained with the labeled images alone" in notes
    assert [row["name"] for row in document(board, ranking)["rows"]] == [name for _, name in shown]
    listed = list(csv.DictReader(io.StringIO(to_csv([(board, ranking)]))))
    assert {row["name"]: row["role"] for row in listed} == roles and [row["rank"] for row in listed] == [
        "1",
        "2",
        *[""] * 4,
    ]


def test_the_worth_of_the_unlabeled_images_is_the_method_minus_its_control(tmp_path: Path) -> None:
    """Paired by seed: the control has seeds 1, 2, 3 and the method 0, 1, 2, so that 1 and 2 count."""
    written = Written(tmp_path)
    method = written.add("mean-teacher", 0.08, seeds=(0, 1, 2))
    control = written.add("mean-teacher", 0.05, seeds=(1, 2, 3), control=True)
    written.add("cps", 0.0)
    expected = difference(method, control)
    found = rank(only(tmp_path)).attributions
    worth = found["mean-teacher"].unlabeled_worth
    assert worth is not None and worth.against == "mean-teacher (control)"
    assert worth.difference == pytest.approx(expected.mean(), abs=1e-12)
    assert (worth.runs, worth.cases, worth.same_network) == (2, CASES, True)
    every_seed = np.mean(list(method.values()), axis=0) - np.mean(list(control.values()), axis=0)
    assert abs(worth.difference - every_seed.mean()) > 1e-4, "seeds that only one of them has would move it"
    assert (worth.low, worth.high) == pytest.approx(cluster_interval([expected], lambda mean: mean), abs=0.002)
    assert found["cps"].unlabeled_worth is None and found["cps"].over_labels_alone is None


def test_a_control_of_other_options_is_not_the_controls_of_a_row(tmp_path: Path) -> None:
    written = Written(tmp_path)
    written.add("cps", 0.1, options={"width": 1})
    written.add("cps", 0.1, options={"width": 2})
    written.add("cps", 0.0, options={"width": 2}, control=True)
    found = rank(only(tmp_path)).attributions
    worth = {name: item.unlabeled_worth is not None for name, item in found.items()}
    assert worth == {
        "cps (method.width=1)": False, "cps (method.width=2)": True, "cps (method.width=2) (control)": False
    }  # fmt: skip


def test_a_control_of_other_code_is_not_compared(tmp_path: Path) -> None:
    written = Written(tmp_path)
    written.add("cps", 0.1)
    three_seeds(tmp_path, "cps", [written.base] * 3, spec={"control": True}, groups=GROUPS, code="e" * 64)
    board = only(tmp_path)
    ranking = rank(board)
    assert ranking.attributions["cps"].unlabeled_worth is None
    assert any(note.startswith("cps: its control was made with other code") for note in footnotes(board, ranking))


def test_gain_and_share_of_the_gap(tmp_path: Path) -> None:
    written = Written(tmp_path)
    method = written.add("mean-teacher", 0.06)
    alone = written.add("supervised", 0.0)
    full = written.add("supervised", 0.2, labeled=1.0)
    found = rank(only(tmp_path)).attributions["mean-teacher"]
    gain, share = found.over_labels_alone, found.gap_closed
    assert gain is not None and share is not None
    assert gain.difference == pytest.approx(difference(method, alone).mean(), abs=1e-12)
    assert share.gap.difference == pytest.approx(difference(full, alone).mean(), abs=1e-12)
    assert share.share == pytest.approx(difference(method, alone).mean() / difference(full, alone).mean(), abs=1e-12)
    means = [np.mean(list(item.values()), axis=0) for item in (method, alone, full)]
    span = cluster_interval(means, lambda own, few, every: (own - few) / (every - few))
    assert (share.low, share.high) == pytest.approx(span, abs=0.01)


def test_no_share_of_a_gap_that_is_within_its_interval(tmp_path: Path) -> None:
    written = Written(tmp_path)
    written.add("mean-teacher", 0.06)
    written.add("supervised", 0.0)
    written.add("supervised", 0.004, labeled=1.0)
    board = only(tmp_path)
    ranking = rank(board)
    assert ranking.attributions["mean-teacher"].gap_closed is None
    assert ranking.attributions["mean-teacher"].over_labels_alone is not None
    assert any("no larger than its own 95 % interval" in note for note in footnotes(board, ranking))
    worse = Written(tmp_path / "worse")
    worse.add("mean-teacher", 0.0)
    worse.add("supervised", 0.3)
    worse.add("supervised", 0.0, labeled=1.0)
    assert rank(only(tmp_path / "worse")).attributions["mean-teacher"].gap_closed is None, "all labels are worse"


def test_the_reference_has_the_rows_network_if_there_is_one(tmp_path: Path) -> None:
    written = Written(tmp_path)
    written.add("cps", 0.1, backbone="vnet")
    written.add("mgcc", 0.1, backbone="mgcc-net")
    written.add("supervised", 0.02, backbone="vnet")
    written.add("supervised", 0.05, backbone="unet")
    board = only(tmp_path)
    found = {name: item.over_labels_alone for name, item in attributions(board.rows, board.higher).items()}
    cps, mgcc = found["cps"], found["mgcc"]
    assert cps is not None and (cps.against, cps.same_network) == ("supervised · vnet", True)
    assert mgcc is not None and (mgcc.against, mgcc.same_network) == ("supervised · unet", False), (
        "the better of the others"
    )
    assert any(note.startswith("* the reference has another network") for note in footnotes(board, rank(board)))


def test_a_bound_has_the_same_test_cases_and_differs_in_the_labels_alone(tmp_path: Path) -> None:
    written = Written(tmp_path)
    written.add("cps", 0.1)
    three_seeds(
        tmp_path, "supervised", [written.base] * 3, spec={"labeled": 1.0}, cases=[f"x{i}" for i in range(CASES)]
    )
    written.add("supervised", 0.2, labeled=1.0, lr=0.02)
    found = {board.track.recipe.options["lr"]: board for board in boards(read_runs(tmp_path)) if len(board.rows) == 1}  # type: ignore[union-attr]
    assert [row.name for row in found[0.02].rows] == ["supervised"], "another recipe is another board"
    cps = next(board for board in boards(read_runs(tmp_path)) if board.rows[0].name == "cps")
    assert [row.name for row in cps.rows] == ["cps"], "other test cases are no bound"


def test_some_labels_are_not_all(tmp_path: Path) -> None:
    written = Written(tmp_path)
    written.add("cps", 0.1)
    written.add("supervised", 0.2, labeled=0.9)  # its split leaves cases unlabeled
    assert sorted(len(board.rows) for board in boards(read_runs(tmp_path))) == [1, 1]


def test_a_track_that_only_lends_has_no_board_of_its_own(tmp_path: Path) -> None:
    written = Written(tmp_path)
    written.add("cps", 0.1)
    written.add("supervised", 0.2, labeled=1.0)
    (board,) = boards(read_runs(tmp_path))
    assert {row.name for row in board.own_rows} == {"cps"} and len(board.rows) == 2
    lender = next(record for record in read_runs(tmp_path) if record.method == "supervised").track
    (alone,) = chosen_boards(tmp_path, RunFilter(track=lender), ScoreRequest())
    assert [row.name for row in alone.rows] == ["supervised"], "asked for by its digest, it is shown"
    (one,) = chosen_boards(tmp_path, RunFilter(track=board.digest), ScoreRequest())
    assert [row.name for row in one.rows] == [row.name for row in board.rows], "the bound comes along"
    written.add("cps", 0.25, labeled=1.0)
    assert len(boards(read_runs(tmp_path))) == 2, "a competitor with all labels keeps its board"


def test_comparing_a_row_with_its_control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Written(tmp_path / "runs")
    method = written.add("mean-teacher", 0.08)
    control = written.add("mean-teacher", 0.05, seeds=(0, 1), control=True)
    written.add("cps", 0.0)
    monkeypatch.chdir(tmp_path)
    for second in ("control", "mean-teacher (control)"):
        result = bench("compare", "mean-teacher", second, "--json")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert found["second"] == "mean-teacher (control)" and found["runs"] == [2, 2]
        assert found["difference"] == pytest.approx(difference(method, control).mean(), abs=1e-9)
    assert "paired by seed 2 runs of each" in in_one_line(bench("compare", "mean-teacher", "control").stdout)
    with pytest.raises(UsageError, match="'cps' has no control on its board; run it: bench run"):
        chosen_pair(tmp_path / "runs", RunFilter(), ScoreRequest(), "cps", "control")


def test_every_form_of_a_board_has_the_figures(tmp_path: Path) -> None:
    written = Written(tmp_path)
    method, control = written.add("cps", 0.1), written.add("cps", 0.02, control=True)
    written.add("supervised", 0.0)
    written.add("supervised", 0.3, labeled=1.0)
    board = only(tmp_path)
    ranking = rank(board)
    worth = difference(method, control).mean()
    heads, rows = grid(board, ranking)
    assert rows[0][heads.index("unlabeled worth")].startswith(f"{worth:+.4f} (+")
    assert rows[0][heads.index("gap closed")].endswith(" %")
    record = document(board, ranking)["rows"][0]
    assert record["unlabeled_worth"] == pytest.approx(worth) and record["unlabeled_worth_runs"] == 3
    assert record["unlabeled_worth_low"] < worth < record["unlabeled_worth_high"]
    assert {"gap_closed", "gap_closed_low", "over_labels_alone", "role", "borrowed"} <= record.keys()
    plain = Written(tmp_path / "plain")
    plain.add("cps", 0.1)
    heads, _ = grid(only(tmp_path / "plain"), rank(only(tmp_path / "plain")))
    assert not {"unlabeled worth", "gap closed", "over labels alone"} & set(heads), "nothing to compare with"
