"""`bench leaderboard`, `bench compare`, `bench runs`: what a user sees, in terminals, pipes and files, and what goes wrong."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from support.command_line import bench as run_bench
from support.command_line import in_one_line as plain
from support.leaderboard_toys import spec_of, three_seeds, write_run

Bench = Callable[..., Result]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three rows that can be ranked, one with a failed run, one with too few."""
    place = tmp_path / "runs"
    base = np.linspace(0.3, 0.7, 12)
    three_seeds(place, "best", [base + 0.2 + 0.002 * np.arange(12)] * 3)
    three_seeds(place, "middle", [base + 0.1 - 0.003 * np.arange(12)] * 3)
    three_seeds(place, "last", [base] * 3)
    three_seeds(place, "few", [base + 0.3])
    write_run(place, state="failed", error="DivergedError: sup is nan", spec=spec_of("middle", seed=3))
    return place


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """`bench` in a folder of its own, with the folder `runs` as default."""
    monkeypatch.chdir(tmp_path)

    return run_bench


# ---- leaderboard ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("runs")
def test_the_table(bench: Bench) -> None:
    result = bench("leaderboard")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    ranked = [line for line in lines if line and line[0] in ("1", "2", "3", "–")]
    assert [line[:2] for line in ranked] == [["1", "best"], ["2", "middle"], ["3", "last"], ["–", "few"]]
    assert "3/4" in result.stdout  # the failed run of `middle`
    text = plain(result.stdout)
    assert "few: not ranked, 1 of at least 3 replicates" in text
    assert "middle: 1 of 4 runs failed" in text
    assert "Wilcoxon signed-rank over 12 cases, Holm, 5 %" in text


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_every_width_keeps_rank_row_and_mean(bench: Bench, width: int) -> None:
    result = bench("leaderboard", width=width)
    assert result.exit_code == 0
    assert max(len(line) for line in result.stdout.splitlines()[2:]) <= width
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("1  best")]
    assert "0.7110 ± 0.0000" in line
    if width != 120:
        assert ("GFLOPs" in result.stdout) == (width == 200)
    assert "GFLOPs" in bench("leaderboard", "--wide", width=width).stdout


@pytest.mark.usefixtures("runs")
def test_machine_readable_formats_agree(bench: Bench, tmp_path: Path) -> None:
    document = json.loads(bench("leaderboard", "--format", "json").stdout)
    rows = list(csv.DictReader(io.StringIO(bench("leaderboard", "-f", "csv").stdout)))
    assert (
        [row["name"] for row in rows] == [row["name"] for row in document["rows"]] == ["best", "middle", "last", "few"]
    )
    for one, other in zip(rows, document["rows"], strict=True):
        assert float(one["mean"]) == other["mean"] and one["rank"] == str(other["rank"] or "")
    assert document["rows"][1]["failed"] == 1 and document["rows"][0]["same"] == "a"
    assert {(pair["first"], pair["second"]) for pair in document["pairs"]} == {
        ("best", "middle"), ("best", "last"), ("middle", "last"),
    }  # fmt: skip
    assert bench("leaderboard", "-f", "json", "-o", "b.json").stdout == ""
    assert json.loads((tmp_path / "b.json").read_text()) == document


def test_text_formats_escape(bench: Bench, tmp_path: Path) -> None:
    for decay in ("a|b_c", "d&e%"):
        three_seeds(tmp_path / "runs", "x", [[0.5, 0.6]] * 3, spec={"options": {"decay": decay}})
    markdown = bench("leaderboard", "-f", "markdown").stdout
    body = [line for line in markdown.splitlines() if line.startswith("| 1 ")]
    assert len(body) == 1 and (r"a\|b_c" in markdown)
    latex = bench("leaderboard", "-f", "latex").stdout
    assert r"a|b\_c" in latex and r"d\&e\%" in latex and r"\textbf{0.5500 $\pm$ 0.0000}" in latex
    assert latex.count(r"\begin{") == latex.count(r"\end{") == 2


def test_several_boards_are_listed_with_what_differs(bench: Bench, runs: Path) -> None:
    write_run(runs, [0.9, 0.9], spec_of("best", phantom=True, lr=0.5))
    text = plain(bench("leaderboard").stdout)
    assert "2 boards match" in text and "recipe.lr 0.5 0.01" in text and "tus (phantom)" in text
    assert "PHANTOM DATA" in bench("leaderboard", "--phantom").stdout
    assert "best" in bench("leaderboard", "--real").stdout
    both = bench("leaderboard", "--all").stdout
    assert both.count("PHANTOM DATA") == 1 and both.count("Wilcoxon") == 1
    assert len(json.loads(bench("leaderboard", "--all", "-f", "json").stdout)) == 2
    refused = bench("leaderboard", "-f", "csv")
    assert refused.exit_code == 2 and "2 boards match" in refused.stderr and refused.stdout == ""


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--dataset", "tuss"), "Did you mean 'tus'? Known: tus."),
        (("--metric", "dise"), "Did you mean 'dice'?"),
        (("--convention", "other"), "no convention among the scores of these runs is called 'other'"),
        (("--predictor", "teacher"), "no predictor among the scores of these runs is called 'teacher'"),
        (("--track", "zzz"), "no track under runs begins with 'zzz'"),
        (("--phantom",), "all runs under runs are real data"),
        (("--runs", "nowhere"), "there is no folder nowhere"),
        (("--format", "html"), "name it with --out"),
        (("--diagram", "x.bmp"), "expected a file that ends with .svg"),
    ],
)
def test_wrong_input_says_what_there_is(bench: Bench, words: tuple[str, ...], told: str) -> None:
    result = bench("leaderboard", *words)
    assert result.exit_code == 2, result.output
    assert told in plain(result.stderr)


def test_no_runs_yet(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    result = bench("leaderboard")
    assert result.exit_code == 2 and "make one with `bench run`" in plain(result.stderr)


@pytest.mark.usefixtures("runs")
def test_diagram(bench: Bench, tmp_path: Path) -> None:
    assert bench("leaderboard", "--diagram", "ranks.svg").exit_code == 0
    drawing = (tmp_path / "ranks.svg").read_text(encoding="utf-8")
    assert drawing.count("<svg") == 1
    assert bench("leaderboard", "--diagram", "ranks.png").exit_code == 0
    assert (tmp_path / "ranks.png").read_bytes().startswith(b"\x89PNG")


# ---- compare -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("runs")
def test_compare(bench: Bench, tmp_path: Path) -> None:
    result = bench("compare", "best", "last", "--cases", "2")
    assert result.exit_code == 0, result.output
    text = plain(result.stdout)
    assert "best − last 0.2110" in text
    assert "cases where best is better 12 of 12 (0 equal)" in text
    assert f"p = {2 / 2**12:.3g}" in text
    assert "tus/case-11 0.9220 0.7000 +0.2220" in text
    document = json.loads(bench("compare", "best", "last", "--json").stdout)
    assert len(document["cases"]) == 12 and document["difference"] == pytest.approx(0.211)
    written = bench("compare", "best", "last", "--out", "out")
    assert written.exit_code == 0, written.output
    assert len((tmp_path / "out" / "differences.csv").read_text().splitlines()) == 13
    assert (tmp_path / "out" / "differences.png").stat().st_size > 5000


def test_compare_never_across_boards(bench: Bench, runs: Path) -> None:
    write_run(runs, [0.9], spec_of("other", lr=0.5))
    result = bench("compare", "best", "other")
    assert result.exit_code == 2
    assert "are on different boards" in plain(result.stderr) and "recipe.lr: 0.01 / 0.5" in plain(result.stderr)


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("best", "lst"), "Did you mean 'last'?"),
        (("best", "best"), "are the same row"),
        (("best", "last", "--dataset", "la"), "no dataset among the runs"),
    ],
)
def test_compare_refuses(bench: Bench, words: tuple[str, ...], told: str) -> None:
    result = bench("compare", *words)
    assert result.exit_code == 2 and told in plain(result.stderr)


# ---- runs ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("runs")
def test_runs(bench: Bench) -> None:
    text = plain(bench("runs").stdout)
    assert "11 runs; in all: 10 done · 1 failed" in text and "DivergedError: sup is nan" in text
    failed = bench("runs", "--state", "failed").stdout
    assert failed.splitlines()[1].split()[1] == "failed"
    listed = json.loads(bench("runs", "--sort", "score", "--reverse", "--json").stdout)
    scores = [run["score"]["mean"] for run in listed if run["score"]]
    assert scores == sorted(scores, reverse=True) and len(scores) == 10
    assert listed[-1]["state"] == "failed"
    assert len(json.loads(bench("runs", "--method", "best", "--json").stdout)) == 3
    assert "(8 more: --limit 0)" in plain(bench("runs", "--limit", "3").stdout)
    refused = bench("runs", "--state", "running")
    assert refused.exit_code == 2 and "there are 10 done, 1 failed" in plain(refused.stderr)


def test_unreadable_folders_are_told_beside_the_list(bench: Bench, runs: Path) -> None:
    broken = write_run(runs, [0.5], spec_of("broken"))
    (broken / "spec.json").write_text("[]", encoding="utf-8")
    result = bench("runs")
    assert result.exit_code == 0 and "spec.json is not a run spec" in plain(result.stderr)
    assert broken.name in result.stderr


# ---- how they are plugged in ---------------------------------------------------------------------------------------


def test_the_commands_are_in_the_help(bench: Bench) -> None:
    text = bench("--help").stdout
    for name in ("leaderboard", "compare", "runs"):
        assert name in text
        shown = plain(bench(name, "--help").stdout)
        assert "Examples:" in shown and f"bench {name}" in shown


# ---- pictures ------------------------------------------------------------------------------------------------------


def test_labels_on_the_working_grid() -> None:
    from semibench.contracts.cases import Frame
    from semibench_leaderboards.showing.case_pictures import on_working

    native = np.arange(24, dtype=np.uint8).reshape(4, 6)
    np.testing.assert_array_equal(on_working(native, Frame((4, 6)), (4, 6)), native)
    # halves: the centres of two by two voxels lie on their second voxel's border
    np.testing.assert_array_equal(on_working(native, Frame((4, 6)), (2, 3)), native[1::2, 1::2])
    box = Frame((4, 6), box=((1, 3), (2, 4)))
    np.testing.assert_array_equal(on_working(native, box, (4, 4)), np.repeat(np.repeat(native[1:3, 2:4], 2, 0), 2, 1))


@pytest.mark.slow
def test_cases_that_differ_most_are_drawn(bench: Bench, tmp_path: Path) -> None:
    from semibench_leaderboards.reading.records import read_runs
    from semibench_leaderboards.showing.case_pictures import Viewer

    place = tmp_path / "runs"
    write_run(place, [0.5], spec_of("alpha", phantom=True))
    refs = list(Viewer(read_runs(place)[0]).refs.values())[:2]
    for method, values in (("alpha", [0.9, 0.8]), ("beta", [0.2, 0.75])):
        folder = write_run(place, values, spec_of(method, phantom=True), cases=[ref.id for ref in refs])
        kept = folder / "predictions" / "last" / "main"
        kept.mkdir(parents=True)
        viewer = Viewer(read_runs(place)[0])
        for ref in refs:
            truth = viewer.dataset.truth(ref)
            assert truth is not None
            np.savez_compressed(kept / f"{ref.id}.npz", label=truth.label.numpy())
    result = bench("compare", "alpha", "beta", "--out", "out")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "cases.png").stat().st_size > 10_000
    for file in kept.iterdir():
        file.unlink()
    told = bench("compare", "alpha", "beta", "--out", "out")
    assert told.exit_code == 0 and "kept no prediction of tus/" in plain(told.stderr)
