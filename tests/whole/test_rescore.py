"""`bench rescore` on the working grid: a convention that the run wasn't scored with, from what the run kept."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from semibench.reporting import Reporter
from semibench.run.execute import execute
from semibench.run.prepare import prepare
from semibench.run.request import Request
from semibench_leaderboards.evidence.rescore import rescore

SETTINGS = ("phantom.cases=100", "phantom.scale=0.25", "iterations=2", "evaluate_every=2", "test=0.2")


class Told(Reporter):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def run(runs: Path, *conventions: str, reporter: Reporter | None = None) -> Path:
    request = Request(
        protocol="self", dataset="tus", method="supervised", recipe="smoke", settings=SETTINGS, phantom="always", runs=runs,
        track=False, threads=1, conventions=conventions, device="cpu", pictures=False,
    )  # fmt: skip
    return execute(prepare(request, estimate=False), reporter).folder


def values(folder: Path, convention: str) -> pd.DataFrame:
    table = pd.read_parquet(folder / "scores.parquet")
    named = table[table["convention"] == convention]
    keys = ["checkpoint", "predictor", "case", "class", "metric"]
    return named.sort_values(keys).reset_index(drop=True)[[*keys, "value", "empty_prediction"]]


@pytest.mark.slow
def test_a_convention_on_the_working_grid_has_the_digits_of_a_run_with_it(tmp_path: Path) -> None:
    scored, later = run(tmp_path / "a", "semibench-1", "mgcc-2023"), run(tmp_path / "b", "semibench-1")
    assert values(later, "mgcc-2023").empty
    told, both = Told(), ("semibench-1", "mgcc-2023")
    assert run(tmp_path / "b", *both, reporter=told) == later and values(later, "mgcc-2023").empty
    advice = f"bench rescore {later.name} -c mgcc-2023 --runs {tmp_path / 'b'}"
    assert told.warnings[-1] == (
        f"run {later.name} was not scored under mgcc-2023; this does it from its kept predictions: {advice}"
    )
    (later / "predictions").rename(later / "elsewhere")
    run(tmp_path / "b", *both, reporter=told)
    assert told.warnings[-1].endswith("its predictions were not kept: --force runs it again")
    (later / "elsewhere").rename(later / "predictions")
    warnings = len(told.warnings)
    assert run(tmp_path / "a", *both, reporter=told) == scored and len(told.warnings) == warnings
    report = rescore(later, ["mgcc-2023"])
    assert report.new == ["mgcc-2023"] and not report.skipped
    pd.testing.assert_frame_equal(values(later, "mgcc-2023"), values(scored, "mgcc-2023"), check_exact=True)
    of = {row["convention"]: row["mean"] for row in json.loads((later / "result.json").read_text())["scores"]}
    assert set(of) == {"semibench-1", "mgcc-2023"}
    assert rescore(later, ["semibench-1", "mgcc-2023"]).same == ["semibench-1", "mgcc-2023"]
