"""The pages with figures of runs: their tables are what the bundles of runs in speed/boards/runs give."""

from __future__ import annotations

import json
import zipfile
from collections import defaultdict
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from board_tables import BUNDLES, Laws, parts_table, phantom_table
from results_page import PAGE, boards_on, differing, pages, rewritten
from support.leaderboard_toys import spec_of, write_run

from semibench_leaderboards.ranking.boards import boards
from semibench_leaderboards.ranking.ranks import rank
from semibench_leaderboards.reading.records import read_runs


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_the_tables_are_what_the_bundles_give(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert differing(text, rewritten(text)) == [], "run `python speed/results_page.py`"


@pytest.mark.parametrize("name", boards_on(PAGE.read_text(encoding="utf-8")))
def test_the_means_are_those_of_the_results_in_the_bundles(name: str) -> None:
    dice = defaultdict(list)
    for bundle in (BUNDLES / name).glob("*.zip"):
        with zipfile.ZipFile(bundle) as files:
            entry = json.loads(files.read("spec.json"))["entry"]
            scores = json.loads(files.read("result.json"))["scores"]
        shown = next(
            s for s in scores if (s["checkpoint"], s["convention"], s["metric"]) == ("last", "semibench-1", "dice")
        )
        if entry["method"]["name"] != "semibench:supervised":
            dice[entry["method"]["name"].split(":")[1], bool(entry.get("unlabeled_from"))].append(shown["mean"])
    page = PAGE.read_text(encoding="utf-8")
    table = page[page.index(f"<!-- board: {name} -->") :].split("<!-- end -->")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
    printed = {cells[1].split(" ")[0]: float(cells[2].split(" ")[0]) for cells in rows if "control" not in cells[1]}
    for (method, control), values in dice.items():
        if not control:
            assert printed[method] == pytest.approx(mean(values), abs=6e-5), method


def test_a_table_of_parts_has_the_results_in_the_bundles() -> None:
    dice = defaultdict(list)
    for bundle in [*(BUNDLES / "diff_cl_on_tus").glob("*.zip"), *(BUNDLES / "tus_phantom").glob("*.zip")]:
        with zipfile.ZipFile(bundle) as files:
            spec = json.loads(files.read("spec.json"))
            scores = json.loads(files.read("result.json"))["scores"]
        if spec["entry"]["method"]["name"] == "semibench:diff-cl":
            weights = {name: term["weight"] for name, term in spec["entry"]["terms"].items()}
            changes = {f"term.{name}=0" for name in weights if weights[name] == 0}
            if not spec["entry"]["method"]["options"]["high_frequency"]:
                changes.add("high_frequency=False")
            iterations = spec["track"]["recipe"]["options"]["iterations"]
            dice[f"{iterations:,}", frozenset(changes or {"diff-cl"})].append(
                next(s["mean"] for s in scores if (s["checkpoint"], s["metric"]) == ("last", "dice"))
            )
    lines = parts_table("diff-cl", "diff_cl_on_tus", "tus_phantom").splitlines()[2:]
    rows = [line.strip("| ").split(" | ") for line in lines if "labels alone" not in line]
    printed = {(cells[0], frozenset(cells[1].split(", "))): cells for cells in rows}
    assert printed.keys() == dice.keys()
    for key, values in dice.items():
        assert int(printed[key][2]) == len(values)
        assert float(printed[key][3].split(" ")[0]) == pytest.approx(mean(values), abs=6e-5), key


def test_the_table_of_phantoms_has_the_results_in_the_bundles() -> None:
    dice = {}
    for bundle in (BUNDLES / "phantom_gaps").glob("*.zip"):
        with zipfile.ZipFile(bundle) as files:
            track = json.loads(files.read("spec.json"))["track"]
            scores = json.loads(files.read("result.json"))["scores"]
        options = track["protocol"]["options"]
        budget = options.get("labeled", 0.0) if options.get("labels") != "target" else 1.0
        amount = "all" if str(budget) == "1.0" else float(budget)
        dice[track["dataset"]["name"].split(":")[1], track["recipe"]["name"], amount] = next(
            s["mean"]
            for s in scores
            if (s["checkpoint"], s["convention"], s["metric"]) == ("last", "semibench-1", "dice")
        )
    lines = [line.split(" | ") for line in phantom_table("phantom_gaps").splitlines()[2:]]
    assert {(cells[0].strip("| "), float(cells[4])) for cells in lines} == {
        (name, round(value, 3)) for (name, _, amount), value in dice.items() if amount != "all"
    }
    for name, *_, few, every, gap, wide, _, longer, converged in lines:
        most = dice[name.strip("| "), "quick", "all"]
        assert (float(every), float(gap)) == pytest.approx((most, most - float(few)), abs=1.1e-3)
        assert (wide == "yes") is (float(gap) >= 0.15)
        if (name.strip("| "), "standard", "all") in dice:
            assert float(longer) == pytest.approx(dice[name.strip("| "), "standard", "all"], abs=6e-4)
            assert (converged.strip(" |") == "yes") is (abs(float(longer) - most) < 0.03)


def test_laws_say_what_stands_where(tmp_path: Path) -> None:
    cases = np.linspace(0.3, 0.5, 20)
    means = {"supervised": 0.0, "mean-teacher": 0.02, "cps": -0.1, "bcp": 0.1, "mgcc": 0.1}
    for seed in range(3):
        for method, gain in means.items():
            if (method, seed) != ("mgcc", 2):  # two runs are too few for a rank
                write_run(tmp_path, cases + gain + 0.01 * seed, spec_of(method, seed=seed))
        write_run(tmp_path, cases + 0.3 + 0.01 * seed, spec_of("supervised", seed=seed, labeled=1.0))
    (board,) = boards(read_runs(tmp_path))
    laws = Laws.of(board, rank(board))
    assert laws.gap is not None and laws.gap.difference == pytest.approx(0.3)
    assert laws.apart and laws.spread == pytest.approx(0.01)
    assert (set(laws.above), laws.below, laws.ranked) == ({"mean-teacher", "bcp"}, ("cps",), 3)
    gain = laws.gains["mean-teacher"]
    assert gain is not None and gain.difference == pytest.approx(0.02)
    assert laws.gains["mgcc"] is None and laws.gains["semsim"] is None
    assert laws.hours == pytest.approx(
        sum(run.training.seconds for row in board.rows for run in row.states.counted) / 3600
    )
