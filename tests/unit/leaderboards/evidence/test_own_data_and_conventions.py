"""Evidence for a data set and a convention without a package: scored, exported, verified, rescored and shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.command_line import bench, in_one_line
from support.own_folders import declare, picture, picture_folders, save_picture

from semibench.discovery import on_demand
from semibench_leaderboards.evidence.containers import open_container
from semibench_leaderboards.evidence.verify import verify_run

NAMES = [f"p{number:02d}" for number in range(12)]
MOVED = 1
"""Rows by which the predictions are shifted."""

OWN = '''
"""Dice, and the surface Dice at half a voxel."""
from semibench import Convention, Metric
from semibench.blocks import class_metrics, surface_dice


class Narrow(Convention):
    """Counts surfaces that meet."""

    metrics = {"dice": Metric(higher=True, high=1), "meet": Metric(higher=True, high=1)}

    def score(self, prediction, truth, spacing, classes):
        table = class_metrics(prediction, truth, classes, spacing, ["dice"])
        return {k: {**v, "meet": surface_dice(prediction == k, truth == k, None, 0.5)} for k, v in table.items()}
'''


def answer(*words: str, code: int = 0) -> str:
    done = bench(*words, width=240)
    assert done.exit_code == code, f"{words}\n{done.output}"
    return done.stdout


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with pictures, predictions of them, and a convention in a file."""
    picture_folders(tmp_path / "mydata", NAMES)
    declare(tmp_path / "mydata", spacing=[0.5, 0.5])
    (tmp_path / "narrow.py").write_text(OWN, encoding="utf-8")
    for number, name in enumerate(NAMES):
        save_picture(tmp_path / f"predictions/{name}.png", np.roll(picture(number)[1], MOVED, axis=0).astype(np.uint8))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path / "cache"))  # it remembers the folders of names
    monkeypatch.setenv("SEMIBENCH_PLUGINS", "")
    monkeypatch.setattr(on_demand, "_found", {})
    return tmp_path


TASK = ("-p", "self", "-d")


def scored(dataset: str, *more: str) -> Path:
    cases = answer("score", "--list", *TASK, dataset, "-r", "smoke").split()
    assert set(cases) < set(NAMES)
    for path in Path("predictions").glob("*.png"):
        if path.stem not in cases:
            path.unlink()
    words = ("score", "predictions", *TASK, dataset, "-r", "smoke", "--name", "Ours", "--no-track", "--json", *more)
    return Path("runs") / json.loads(answer(*words))["key"][:12]


def surface_share(truth: np.ndarray, prediction: np.ndarray, tolerance: float) -> float:
    """The surface Dice by comparing every pair of surface voxels."""

    def surface(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        return np.argwhere(mask & ~inside)

    one, other = surface(truth), surface(prediction)
    apart = np.sqrt(((one[:, None] - other[None]) ** 2).sum(-1))
    near = (apart.min(1) <= tolerance).sum() + (apart.min(0) <= tolerance).sum()
    return float(near / (len(one) + len(other)))


@pytest.mark.slow
def test_another_tolerance_is_a_score_of_its_own_on_boards_and_in_evidence(here: Path) -> None:
    answer("data", "register", "mine", "./mydata")
    run = scored("mine")
    answer("rescore", run.name, "-c", "semibench-2@tolerance=0.50", "-c", "semibench-2@tolerance=1", "--no-track")
    table = pd.read_parquet(run / "scores.parquet").set_index(["convention", "metric", "case"])["value"]
    for tolerance, name in ((0.5, "0.5"), (1.0, "1")):
        of_convention = table[f"semibench-2@tolerance={name}"]
        for case, value in of_convention[f"nsd_{name}voxel"].items():
            disc = picture(NAMES.index(str(case)))[1]
            assert value == pytest.approx(surface_share(disc, np.roll(disc, MOVED, axis=0), tolerance))
            in_mm = of_convention[f"nsd_{name}mm"][case]
            assert in_mm == pytest.approx(surface_share(disc, np.roll(disc, MOVED, axis=0), tolerance / 0.5))
        pd.testing.assert_series_equal(of_convention["dice"], table["semibench-1"]["dice"])
    shown = answer("leaderboard", "-c", "semibench-2@tolerance=1.0", "--metric", "nsd_1voxel", "-d", "mine", "--wide")
    assert "nsd_1voxel · semibench-2@tolerance=1 ·" in shown and "Ours (submitted)" in shown
    answer("leaderboard", "-c", "semibench-2@tolerance=1", "--metric", "nsd_1mm", "--format", "html", "--out", "site")
    pages = "".join(path.read_text(encoding="utf-8") for path in Path("site").glob("*.html"))
    assert "semibench-2@tolerance=1" in pages and "nsd_1mm" in pages
    answer("export", run.name, "--out", "run.zip")
    assert "agree digit for digit" in answer("verify", "run.zip")


@pytest.mark.slow
def test_a_folder_named_by_its_path_has_evidence(here: Path) -> None:
    run = scored("./mydata")
    answer("export", str(run), "--out", "run.zip")
    assert "agree digit for digit" in answer("verify", "run.zip")
    assert "Ours (submitted)" in answer("leaderboard", "-d", "./mydata", "--wide")
    save_picture(
        Path("mydata/masks") / f"{next(Path('predictions').glob('*.png')).stem}.png", picture(99)[1] * np.uint8(255)
    )
    assert "NOT VERIFIED" in answer("verify", "run.zip", code=1), "other references are other data"


@pytest.mark.slow
def test_a_convention_in_a_file_is_on_boards_and_hides_no_other(here: Path) -> None:
    run = scored("./mydata", "-c", "semibench-1", "-c", "./narrow.py:Narrow")
    for name in ("local:narrow", "./narrow.py:Narrow"):
        shown = answer("leaderboard", "-c", name, "--metric", "meet", "--wide")
        assert "meet · local:narrow ·" in shown
    on_demand._found.clear()
    assert "meet · local:narrow ·" in answer("leaderboard", "-c", "local:narrow", "--metric", "meet", "--wide"), (
        "as recorded"
    )
    assert "local:narrow: the run already has the same digits" in answer(
        "rescore", run.name, "-c", "./narrow.py:Narrow"
    )
    on_demand._found.clear()
    answer("rescore", run.name, "-c", "semibench-2", "--no-track")
    with open_container(run) as container:
        found = verify_run(container)
    assert not found.well and [name.rpartition("/")[2] for name in found.unverified] == ["local:narrow"]
    assert {check.outcome for check in found.checks if "semibench" in check.name} <= {"right"}, found.checks
    assert "agree digit for digit" in answer("verify", str(run), "--plugins", ".")


def test_boards_of_an_own_convention_alone_need_no_option(here: Path) -> None:
    scored("./mydata", "-c", "./narrow.py:Narrow")
    assert "dice · local:narrow ·" in in_one_line(answer("leaderboard", "--wide"))
