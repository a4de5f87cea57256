"""Rows, intervals, tests and groups against hand-computed examples, scipy, and laws."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support.leaderboard_toys import spec_of, three_seeds, write_run

from semibench_leaderboards.ranking.boards import Board, board_differences, boards
from semibench_leaderboards.ranking.comparison import ComparisonError, case_values, compare_rows, signed_rank
from semibench_leaderboards.ranking.letters import letters
from semibench_leaderboards.ranking.ranks import holm, rank
from semibench_leaderboards.ranking.resampling import group_counts, interval, resampled_means
from semibench_leaderboards.ranking.score_request import ScoreRequest
from semibench_leaderboards.reading.records import read_runs
from semibench_leaderboards.showing.tables import footnotes


def only(runs: Path, view: ScoreRequest | None = None) -> Board:
    (board,) = boards(read_runs(runs), view)
    return board


# ---- tests ---------------------------------------------------------------------------------------------------------


def test_signed_rank_by_hand() -> None:
    # ranks 1..6, the largest negative: W- = 6. Subsets of {1..6} with a sum of at most 6: {}, 1, 2, 3, 12, 4, 13, 5, 14, 23,
    # 6, 15, 24, 123: 14 of 64, both sides: 28/64
    assert signed_rank(np.array([[1.0, 2, 3, 4, 5, -6]]))[0] == pytest.approx(28 / 64, abs=1e-12)
    # all six of one sign: 2/64; zeros and undefined ones don't count
    assert signed_rank(np.array([[1.0, 2, 3, 4, 5, 6, 0, math.nan]]))[0] == pytest.approx(2 / 64, abs=1e-12)
    assert signed_rank(np.zeros((1, 4)))[0] == 1.0


def test_many_tests_at_once_are_scipys_one_by_one() -> None:
    random = np.random.default_rng(0)
    for cases in (8, 14, 30, 50, 51, 120):
        table = random.normal(0.2, 1.0, size=(6, cases))
        table[1] = np.round(table[1], 1)  # ties
        table[2, :3] = 0.0
        table[3, 1] = math.nan
        table[4] = np.round(table[4])  # ties and zeros
        for row, p in zip(table, signed_rank(table), strict=True):
            left = row[~np.isnan(row) & (row != 0)]
            assert p == pytest.approx(stats.wilcoxon(left).pvalue, abs=1e-12), cases


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04 -> .06
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.6]), [1.0, 1.0])
    assert holm([]).tolist() == []


def test_letters_by_hand() -> None:
    marks, complete = letters(["a", "b", "c", "d"], {("a", "c"), ("a", "d"), ("b", "d")})
    assert complete and marks == {"a": "a", "b": "a b", "c": "b c", "d": "c"}
    assert letters(["a", "b"], set())[0] == {"a": "a", "b": "a"}
    assert letters(["a", "b"], {("a", "b")})[0] == {"a": "a", "b": "b"}
    # a and c differ neither from b nor from each other's friends: not an interval of the order
    assert letters(["a", "b", "c"], {("a", "b"), ("b", "c")})[0] == {"a": "a", "b": "b", "c": "a"}


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(2, 9), st.randoms(use_true_random=False))
def test_two_rows_share_a_letter_exactly_where_they_do_not_differ(count: int, random: object) -> None:
    names = [f"r{i}" for i in range(count)]
    different = {pair for pair in combinations(names, 2) if random.random() < 0.5}  # type: ignore[attr-defined]
    marks, complete = letters(names, different)
    assert complete and all(marks.values())
    for first, second in combinations(names, 2):
        shared = set(marks[first].split()) & set(marks[second].split())
        assert bool(shared) == ((first, second) not in different)


def test_too_many_groups_fall_back_to_neighbours() -> None:
    names = [f"r{i:02d}" for i in range(30)]  # differences within pairs only: 2**15 maximal groups
    different = set(zip(names[::2], names[1::2], strict=True))
    marks, complete = letters(names, different)
    assert not complete
    for first, second in different:
        assert not set(marks[first].split()) & set(marks[second].split())


# ---- bootstrap -----------------------------------------------------------------------------------------------------


def test_interval_is_scipys_percentile_bootstrap(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(0.7, 0.1, 40)
    write_run(tmp_path, values)
    (row,) = only(tmp_path).rows
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20000, method="percentile", rng=0).confidence_interval
    mine = interval(resampled_means(row.scores, resamples=20000))
    assert mine == pytest.approx((theirs.low, theirs.high), abs=0.002)
    assert (row.statistics.low, row.statistics.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_interval_is_by_group_not_by_case(tmp_path: Path) -> None:
    values = np.random.default_rng(2).uniform(0.2, 0.9, 8)
    write_run(tmp_path / "one", values, groups=[f"g{i}" for i in range(8)])
    write_run(tmp_path / "ten", np.repeat(values, 10), groups=[f"g{i}" for i in range(8) for _ in range(10)])
    one, ten = (only(tmp_path / name).rows[0] for name in ("one", "ten"))
    assert (one.statistics.mean, one.statistics.low, one.statistics.high) == pytest.approx(
        (ten.statistics.mean, ten.statistics.low, ten.statistics.high)
    )
    write_run(tmp_path / "apart", np.repeat(values, 10))
    apart = only(tmp_path / "apart").rows[0]
    assert (apart.statistics.high - apart.statistics.low) < 0.5 * (ten.statistics.high - ten.statistics.low)


def test_resampled_means_by_hand(tmp_path: Path) -> None:
    """Two classes, an undefined value, two seeds: the mean of class means over runs, weighted by what was drawn."""
    tables = [np.array([[0.2, 0.4], [0.6, np.nan], [1.0, 0.8]]), np.array([[0.4, 0.4], [0.4, 0.4], [0.1, 0.3]])]
    three_seeds(tmp_path, "alpha", tables, groups=["g", "g", "h"])
    (row,) = only(tmp_path).rows
    counts = group_counts(2, 50, 3)
    found = resampled_means(row.scores, resamples=50, seed=3)
    for drawn, value in zip(counts, found, strict=True):
        weights = np.array([drawn[0], drawn[0], drawn[1]])
        runs = []
        for table in tables:
            means = []
            for column in table.T:
                known = ~np.isnan(column)
                if weights[known].sum():
                    means.append((weights[known] * column[known]).sum() / weights[known].sum())
            runs.append(np.mean(means))
        assert value == pytest.approx(np.mean(runs))


# ---- rows ----------------------------------------------------------------------------------------------------------


def test_a_row_by_hand(tmp_path: Path) -> None:
    three_seeds(
        tmp_path, "alpha", [[[0.5, 0.1], [0.7, 0.3]], [[0.6, 0.2], [0.8, 0.4]], [[0.7, 0.3], [0.9, np.nan]]], empty=[0]
    )
    for seed in (3, 4):
        write_run(tmp_path, state="failed", error="NaN", spec=spec_of("alpha", seed=seed))
    (row,) = only(tmp_path).rows
    # class means: .6 .2, .7 .3, .8 .3 -> runs .4, .5, .55
    assert row.statistics.means == pytest.approx((0.4, 0.5, 0.55))
    assert row.statistics.mean == pytest.approx(1.45 / 3)
    assert row.statistics.std == pytest.approx(
        math.sqrt(((0.4 - 1.45 / 3) ** 2 + (0.5 - 1.45 / 3) ** 2 + (0.55 - 1.45 / 3) ** 2) / 2)
    )
    assert (
        row.statistics.worst is not None
        and row.statistics.worst[0] == "class-2"
        and row.statistics.worst[1] == pytest.approx(0.8 / 3)
    )
    assert row.statistics.per_class["class-1"] == pytest.approx(0.7)
    assert (row.n, row.states.failed, row.states.ended, row.states.text) == (3, 2, 5, "3/5")
    assert (row.statistics.draws, row.statistics.folds, row.statistics.seeds, row.statistics.cases) == (1, 1, 3, 6)
    assert (row.doubts.empty_prediction, row.doubts.undefined, row.doubts.missing) == (6, 1, 0)
    assert (row.costs.parameters, row.costs.gflops, row.costs.training_seconds, row.costs.peak_memory_mb) == (
        1000,
        0.5,
        11.0,
        100.0,
    )
    assert row.doubts.notes == ("2 of 5 runs failed",)
    assert not row.costs.mixed_devices and not row.identity.tuned


def test_less_is_better_turns_order_and_worst(tmp_path: Path) -> None:
    three_seeds(tmp_path, "near", [[[1.0, 2.0]]] * 3, metric="hd95_mm", higher=False)
    three_seeds(tmp_path, "far", [[[5.0, 9.0]]] * 3, metric="hd95_mm", higher=False)
    board = only(tmp_path)
    assert [row.name for row in board.rows] == ["near", "far"]
    assert board.rows[1].statistics.worst == ("class-2", 9.0)


def test_predictors_are_lines_or_the_default(tmp_path: Path) -> None:
    three_seeds(tmp_path, "alpha", [[0.5]] * 3, predictors=("student", "teacher"))
    three_seeds(tmp_path, "beta", [[0.45]] * 3)
    assert [(row.name, row.identity.predictor) for row in only(tmp_path).rows] == [
        ("alpha", "student"),
        ("beta", "main"),
    ]
    names = [row.name for row in only(tmp_path, ScoreRequest(predictor="all")).rows]
    assert names == ["alpha [student]", "beta", "alpha [teacher]"]
    (row,) = only(tmp_path, ScoreRequest(predictor="teacher")).rows
    assert row.statistics.mean == pytest.approx(0.4)


def test_one_row_is_compared_with_nothing(tmp_path: Path) -> None:
    three_seeds(tmp_path, "alone", [[[0.5], [0.6], [0.7]]] * 3)
    board = only(tmp_path)
    assert not any("letter" in note for note in footnotes(board, rank(board)))
    three_seeds(tmp_path, "other", [[[0.5], [0.6], [0.8]]] * 3)
    board = only(tmp_path)
    assert any("over 3 cases" in note for note in footnotes(board, rank(board)))


def test_rows_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    for decay in (0.9, 0.99):
        write_run(tmp_path, [0.5], spec_of("alpha", options={"decay": decay, "same": 1}))
    write_run(tmp_path, [0.5], spec_of("beta"))
    write_run(tmp_path, [0.5], spec_of("beta", backbone="vnet"))
    names = {row.name for row in only(tmp_path).rows}
    assert names == {"alpha (method.decay=0.9)", "alpha (method.decay=0.99)", "beta · unet", "beta · vnet"}


def test_tracks_are_boards_of_their_own_and_differ_in_words(tmp_path: Path) -> None:
    write_run(tmp_path, [0.5], spec_of("alpha"))
    write_run(tmp_path, [0.6], spec_of("alpha", phantom=True, lr=0.1))
    first, second = boards(read_runs(tmp_path))
    assert {len(board.rows) for board in (first, second)} == {1}
    assert {name for name, _, _ in board_differences(first, second)} == {"dataset.phantom.seed", "recipe.lr"}
    assert sum("PHANTOM" in " ".join(board.warnings) for board in (first, second)) == 1


def test_mixed_devices_are_said(tmp_path: Path) -> None:
    write_run(tmp_path, [0.5], spec_of(seed=0), device="A")
    write_run(tmp_path, [0.5], spec_of(seed=1), device="B")
    (row,) = only(tmp_path).rows
    assert row.costs.mixed_devices and "mixed devices: A, B" in row.doubts.notes


# ---- ranking -------------------------------------------------------------------------------------------------------


def test_ranking_by_hand(tmp_path: Path) -> None:
    base = np.linspace(0.3, 0.8, 20)
    wiggle = np.where(np.arange(20) % 2 == 0, 0.001, -0.001) * np.arange(1, 21)
    three_seeds(tmp_path, "best", [base + 0.1 + 0.001 * np.arange(20)] * 3)
    three_seeds(tmp_path, "like", [base + 0.1 + 0.001 * np.arange(20) + wiggle - 1e-4] * 3)
    three_seeds(tmp_path, "last", [base] * 3)
    three_seeds(tmp_path, "few", [base + 0.2] * 2)
    write_run(tmp_path, state="failed", spec=spec_of("broken"))
    ranking = rank(only(tmp_path))
    assert ranking.order == ("best", "like", "last")
    assert ranking.unranked == {"few": "2 of at least 3 replicates", "broken": "no finished run has this score"}
    assert ranking.letters["best"] == ranking.letters["like"] == "a" and ranking.letters["last"] == "b"
    assert ranking.groups == [("best", "like"), ("last",)]
    # one sign in all 20 pairs: p = 2 / 2**20; the smallest of three p is multiplied by 3
    assert ranking.adjusted["best", "last"] == pytest.approx(3 * 2 / 2**20)
    assert ranking.average["last"] == pytest.approx(3.0)
    assert ranking.average["best"] + ranking.average["like"] == pytest.approx(3.0)
    assert (ranking.position("best"), ranking.position("last"), ranking.position("few")) == (1, 3, None)
    assert (ranking.stability["last"].low, ranking.stability["last"].high, ranking.stability["last"].first) == (
        3,
        3,
        0.0,
    )
    assert 1.0 <= ranking.stability["best"].first + ranking.stability["like"].first < 1.02  # a tie counts for both


def test_a_case_is_the_mean_over_seeds_then_draws(tmp_path: Path) -> None:
    for draw, names, by_seed in (
        (0, ["a", "b"], ([0.2, 0.4], [0.4, 0.8])),
        (1, ["b", "c"], ([1.0, 0.5], [1.0, np.nan])),
    ):
        for seed, values in enumerate(by_seed):
            write_run(tmp_path, values, spec_of(draw=draw, seed=seed), cases=names)
    (row,) = only(tmp_path).rows
    found = case_values(row, sorted(row.draw_folds))
    assert found == pytest.approx({"tus/a": 0.3, "tus/b": (0.6 + 1.0) / 2, "tus/c": 0.5})
    assert (row.statistics.draws, row.statistics.seeds) == (2, 2)


def test_groups_can_be_the_unit(tmp_path: Path) -> None:
    groups = ["g"] * 5 + ["h"] * 5
    three_seeds(tmp_path, "alpha", [np.linspace(0.5, 0.6, 10)] * 3, groups=groups)
    three_seeds(tmp_path, "beta", [np.linspace(0.4, 0.45, 10)] * 3, groups=groups)
    board = only(tmp_path)
    by_case, by_group = rank(board), rank(board, "group")
    assert by_case.adjusted["alpha", "beta"] == pytest.approx(2 / 2**10) and by_case.n == 10
    assert by_group.adjusted["alpha", "beta"] == pytest.approx(2 / 2**2) and by_group.n == 2
    assert "10 cases of 2 groups" in " ".join(by_case.notes)


def test_pairs_by_hand(tmp_path: Path) -> None:
    three_seeds(tmp_path, "alpha", [[0.5, 0.6, np.nan, 0.9]] * 3)
    three_seeds(tmp_path, "beta", [[0.4, 0.7, 0.5, 0.6]] * 3)
    pair = compare_rows(*only(tmp_path).rows)
    assert pair.first == "alpha" and pair.difference == pytest.approx((0.1 - 0.1 + 0.3) / 3)
    assert (pair.n, pair.undefined) == (3, 1)
    assert pair.draw_folds == ((0, None),)
    assert pair.low is not None and pair.low <= pair.difference <= pair.high


def test_other_test_cases_are_never_compared(tmp_path: Path) -> None:
    for method in ("alpha", "beta"):
        three_seeds(tmp_path, method, [[0.5, 0.6]] * 3, cases=["a", "b"])
    three_seeds(tmp_path, "odd", [[0.5, 0.9]] * 3, cases=["a", "c"])
    board = only(tmp_path)
    rows = {row.name: row for row in board.rows}
    with pytest.raises(
        ComparisonError, match=r"different test cases in draw 0 \(2 cases are in only one of them: tus/b, tus/c\)"
    ):
        compare_rows(rows["alpha"], rows["odd"])
    ranking = rank(board)
    assert set(ranking.order) == {"alpha", "beta"} and "other test cases" in ranking.unranked["odd"]


def test_missing_cases_are_shown_and_not_ranked(tmp_path: Path) -> None:
    three_seeds(tmp_path, "alpha", [[0.5, 0.6]] * 3, cases=["a", "b"])
    three_seeds(tmp_path, "beta", [[0.5]] * 3, cases=["a"], split=["a", "b"])
    board = only(tmp_path)
    beta = next(row for row in board.rows if row.name == "beta")
    assert beta.doubts.missing == 3 and "3 test cases without a score" in beta.doubts.notes
    assert rank(board).unranked == {"beta": "3 test cases without a score"}


def test_no_draw_in_common(tmp_path: Path) -> None:
    three_seeds(tmp_path, "alpha", [[0.5]] * 3, spec={"draw": 0})
    three_seeds(tmp_path, "beta", [[0.5]] * 3, spec={"draw": 1})
    board = only(tmp_path)
    with pytest.raises(ComparisonError, match="no draw and fold in common"):
        compare_rows(*board.rows)
    assert len(rank(board).unranked) == 1


def test_rows_with_other_draws_are_tested_on_shared_ones(tmp_path: Path) -> None:
    values = np.linspace(0.2, 0.9, 9)
    for draw in (0, 1):
        three_seeds(tmp_path, "alpha", [values + 0.01 * (draw + 1)] * 3, spec={"draw": draw})
    three_seeds(tmp_path, "beta", [values] * 3, spec={"draw": 0})
    board = only(tmp_path)
    pair = compare_rows(*board.rows)
    assert pair.draw_folds == ((0, None),) and pair.difference == pytest.approx(0.01)
    ranking = rank(board)
    assert ranking.order == ("alpha", "beta") and not ranking.stability
    assert "different draws" in " ".join(ranking.notes)


def test_false_alarms_stay_below_the_level(tmp_path: Path) -> None:
    """Rows of pure noise: groups that differ appear in at most about 5 % of boards (Holm controls the family)."""
    random = np.random.default_rng(5)
    alarms = 0
    for _ in range(300):
        table = random.normal(size=(5, 40))
        one, other = np.triu_indices(5, 1)
        alarms += (holm(signed_rank(table[one] - table[other])) < 0.05).any()
    assert alarms <= 300 * 0.05 + 3 * math.sqrt(300 * 0.05 * 0.95)
