"""`bench rerun`: the stored spec alone makes the same run again, and differences are found where there are some."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from support.command_line import bench

from semibench.contracts.errors import UsageError
from semibench.run.execute import execute
from semibench.run.prepare import prepare
from semibench.run.request import Request
from semibench_leaderboards.evidence.rerun import compare_runs, plan_again, request_of

SETTINGS = (
    "phantom.cases=100", "phantom.scale=0.25", "iterations=2", "evaluate_every=2", "test=0.2", "term.consistency.ramp.end=0.7",
    "weak.flip=0.25",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with values that differ from every default."""
    runs = tmp_path_factory.mktemp("rerun") / "runs"
    request = Request(
        protocol="self", dataset="tus", method="mean-teacher", recipe="smoke", seed=3, settings=SETTINGS, phantom="always",
        runs=runs, track=False, threads=1, conventions=("semibench-1",), device="cpu",
    )  # fmt: skip
    return execute(prepare(request, estimate=False)).folder


def test_the_same_digits(run: Path, tmp_path: Path) -> None:
    result = bench("rerun", run.name[:8], "--runs", str(run.parent), "--into", str(tmp_path / "again"), "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["same"] and found["agrees"] and found["reasons"] == []
    other = Path(found["second"])
    assert other.name == run.name and other.parent == tmp_path / "again"
    assert json.loads((other / "spec.json").read_text()) == json.loads((run / "spec.json").read_text())
    counted = {(column["file"], column["column"]): column["values"] for column in found["columns"]}
    scores = pd.read_parquet(run / "scores.parquet")
    assert counted["scores.parquet", "dice"] == int((scores["metric"] == "dice").sum())
    assert counted["steps.parquet", "loss/consistency"] == 2


def test_differences_are_found_with_their_size_and_place(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / run.name)
    table = pd.read_parquet(other / "scores.parquet")
    where = table[(table["metric"] == "dice") & (table["checkpoint"] == "last")].index[4]
    table.loc[where, "value"] += 0.001953125
    table.to_parquet(other / "scores.parquet", index=False)
    record = json.loads((other / "provenance.json").read_text())
    record["machine"]["threads"] = 7
    (other / "provenance.json").write_text(json.dumps(record))
    found = compare_runs(run, other)
    (column,) = [column for column in found.columns if not column.same]
    assert (column.column, column.differing, column.unpaired) == ("dice", 1, 0)
    assert column.largest == pytest.approx(0.001953125, abs=1e-15)
    assert str(table.loc[where, "case"]) in column.where
    assert not found.same and found.within(0.002) and not found.within(0.001)
    assert found.reasons == ["machine.threads: 1 / 7"]
    words = ("rerun", str(run), "--compare-only", str(other))
    assert bench(*words).exit_code == 1
    result = bench(*words, "--tolerance", "0.01")
    assert result.exit_code == 0 and "which is within the tolerance" in result.stdout
    table.drop(index=where).to_parquet(other / "scores.parquet", index=False)
    assert not compare_runs(run, other).within(1.0)


def test_a_spec_that_means_something_else_here_is_refused(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / run.name)
    spec = json.loads((other / "spec.json").read_text())
    spec["track"]["data"] = "0" * 64
    (other / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(UsageError, match=r"spec would differ in track\.data: '0000"):
        plan_again(other, request_of(other, tmp_path / "again"))
    spec["track"]["recipe"]["options"]["no_such_field"] = 1
    (other / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(UsageError, match="no_such_field"):
        plan_again(other, request_of(other, tmp_path / "again"))


def test_tuned_weights_are_run_again_without_the_study(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "tuned")
    spec = json.loads((other / "spec.json").read_text())
    spec["track"]["tuning"] = "validation:30"
    (other / "spec.json").write_text(json.dumps(spec))
    plan = plan_again(other, request_of(other, tmp_path / "again"))
    assert plan.spec.track.tuning == "validation:30" and plan.folder.name == plan.key[:12] != run.name


def test_the_folder_of_the_run_itself_is_not_written(run: Path) -> None:
    result = bench("rerun", run.name, "--runs", str(run.parent), "--into", str(run.parent))
    assert result.exit_code == 2 and "is the folder of the run itself" in " ".join(result.stderr.split())
