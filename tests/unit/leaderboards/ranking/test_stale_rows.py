"""Rows whose code is not the installed one are marked in the terminal, in JSON and on the page; rows of one name are told apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import bench
from support.leaderboard_toys import spec_of, write_run

from semibench.contracts.identity import NUMERICS
from semibench.discovery.registry import registry
from semibench.runfolder.provenance import plugin_used
from semibench.runfolder.records import Provenance
from semibench_leaderboards.ranking.boards import boards
from semibench_leaderboards.reading.installed_code import code_changes
from semibench_leaderboards.reading.records import read_runs

OTHER = "0" * 64


def put(runs: Path, method: str, source: str | None = None, *, numerics: int = NUMERICS, decay: float = 0.9) -> None:
    """Three runs of a row whose provenance names the real plug-ins; source: of the method, None for the installed code."""
    plugins = {
        "method": plugin_used(registry().get("methods", method)).model_dump(),
        "backbone": plugin_used(registry().get("backbones", "unet")).model_dump(),
        "dataset": plugin_used(registry().get("datasets", "tus")).model_dump(),
    }
    if source is not None:
        plugins["method"]["source"] = source
    for seed in range(3):
        folder = write_run(runs, [0.5 + seed / 100, 0.6, 0.7], spec_of(method, seed=seed, options={"decay": decay}))
        record = {"plugins": plugins, "versions": {"numerics": str(numerics)}, "machine": {"device_name": "AMD EPYC"}}
        (folder / "provenance.json").write_text(json.dumps(record), encoding="utf-8")


def test_a_row_of_other_code_is_stale(tmp_path: Path) -> None:
    put(tmp_path, "cps")
    put(tmp_path, "mean-teacher", OTHER)
    (board,) = boards(read_runs(tmp_path))
    rows = {row.name: row for row in board.rows}
    assert not rows["cps"].doubts.stale and rows["cps"].doubts.notes == ()
    assert rows["mean-teacher"].doubts.code_changes == ("the code of method mean-teacher has changed",)
    assert any(warning.startswith("1 of 2 rows are stale") for warning in board.warnings)
    assert rows["mean-teacher"].n == 3, "the row stays on the board"


def test_the_terminal_json_and_the_page_mark_it(tmp_path: Path) -> None:
    runs, site = tmp_path / "runs", tmp_path / "site"
    put(runs, "cps")
    put(runs, "mean-teacher", OTHER)
    text = bench("leaderboard", "--runs", str(runs), width=120).stdout
    marked = {line.split()[1]: "stale" in line.split() for line in text.splitlines() if "0.6033 ±" in line}
    assert marked == {"cps": False, "mean-teacher": True}
    assert "mean-teacher: stale, run it again: the code of method mean-teacher has changed since" in text
    document = json.loads(bench("leaderboard", "--runs", str(runs), "--format", "json").stdout)
    found = {row["name"]: row["stale_code"] for row in document["rows"]}
    assert found == {"cps": "", "mean-teacher": "the code of method mean-teacher has changed"}
    result = bench("leaderboard", "--runs", str(runs), "--format", "html", "--out", str(site), "--viewer", "0")
    assert result.exit_code == 0, result.output
    page = next(path for path in site.glob("tus-*.html")).read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if 'class="open"' in line]
    assert [">stale</span>" in line for line in lines if "mean-teacher" in line] == [True]
    assert [">stale</span>" in line for line in lines if "cps" in line] == [False]


def test_a_board_of_today_has_no_such_column(tmp_path: Path) -> None:
    put(tmp_path, "cps")
    assert " code " not in bench("leaderboard", "--runs", str(tmp_path), width=120).stdout


def test_rows_of_one_name_show_the_code_that_made_them(tmp_path: Path) -> None:
    put(tmp_path, "mean-teacher", OTHER, decay=0.8)
    put(tmp_path, "mean-teacher", decay=0.9)
    put(tmp_path, "cps")
    (board,) = boards(read_runs(tmp_path))
    names = {row.name: row for row in board.rows if row.identity.method == "mean-teacher"}
    assert len(names) == 2 and len({row.identity.code for row in names.values()}) == 2
    for name, row in names.items():
        assert name.endswith(f", code {row.identity.code[:6]})")
        assert row.doubts.stale == ("decay=0.8" in name)
    assert "cps" in {row.name for row in board.rows}


def test_rows_of_the_same_code_do_not_show_it(tmp_path: Path) -> None:
    put(tmp_path, "mean-teacher", decay=0.8)
    put(tmp_path, "mean-teacher", decay=0.9)
    (board,) = boards(read_runs(tmp_path))
    assert {row.name for row in board.rows} == {"mean-teacher (method.decay=0.8)", "mean-teacher (method.decay=0.9)"}


def test_other_numerics_are_other_code(tmp_path: Path) -> None:
    put(tmp_path, "cps", numerics=NUMERICS - 1)
    (board,) = boards(read_runs(tmp_path))
    assert board.rows[0].doubts.code_changes == (f"numerics of the harness {NUMERICS - 1} -> {NUMERICS}",)


@pytest.mark.parametrize(
    "plugins",
    [
        {},
        {"method": {"name": "elsewhere:their-method", "source": OTHER}},
        {"method": {"name": "semibench:cps"}},
        {"predictions": {"name": "semibench:cps", "source": OTHER}},
    ],
    ids=["nothing recorded", "not installed", "no digest", "no such kind"],
)
def test_what_cannot_be_compared_is_not_stale(plugins: dict[str, dict[str, str]]) -> None:
    assert code_changes(Provenance.make(plugins=plugins)) == ()
