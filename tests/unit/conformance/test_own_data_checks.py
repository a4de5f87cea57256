"""`bench check` of a data set without a plug-in: by its folder, its list or its registered name, always on its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.command_line import bench, in_one_line
from support.own_folders import array_folder, picture_folders

from semibench.conformance.battery import CHECKS, checks_of
from semibench.conformance.datasets import OF_PLUGINS_ALONE
from semibench.conformance.verdicts import verdict

NAMES = [f"p{number:02d}" for number in range(8)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a folder of pictures."""
    monkeypatch.chdir(tmp_path)
    picture_folders(tmp_path / "mydata", NAMES)
    return tmp_path


def checked(*words: str) -> dict[str, Any]:
    return json.loads(bench("check", *words, "--json").stdout)


def test_every_case_is_read_and_two_steps_are_trained(here: Path) -> None:
    record = checked("./mydata")
    states = {one["fact"]: one["state"] for one in record["results"]}
    assert record["kind"] == "dataset" and record["failed"] == 0
    assert set(states) == {"class_resolves", *CHECKS["dataset"]} - OF_PLUGINS_ALONE
    assert {states["every_case_is_read"], states["two_steps_are_trained"]} == {"holds"}
    assert not (here / "runs").exists()


def test_a_registered_name_a_list_and_another_root_mean_the_same(here: Path) -> None:
    assert bench("data", "register", "my-clinic", "./mydata").exit_code == 0
    rows = ["image,label", *(f"mydata/images/{name}.png,mydata/masks/{name}.png" for name in NAMES)]
    (here / "cases.csv").write_text("\n".join(rows), encoding="utf-8")
    for name in ("my-clinic", "local:my-clinic", "./cases.csv"):
        (check,) = [one for one in checks_of(name, "dataset") if one.fact == "every_case_is_read"]
        assert len(check.subject.refs) == len(NAMES) and verdict(check).state == "holds"
    assert checked("my-clinic", "--data-root", ".", "--only", "two_steps_are_trained")["failed"] == 0


def test_files_that_cannot_be_read_are_counted_in_one_row(here: Path) -> None:
    for name in ("p02", "p05", "p07"):
        (here / f"mydata/images/{name}.png").write_bytes(b"no picture")
    done = bench("check", "./mydata", "--only", "every_case_is_read")
    assert done.exit_code == 1 and "Traceback" not in done.output
    assert "images/p02.png: can't be read as an image" in in_one_line(done.stdout) and "(and 2 more)" in in_one_line(
        done.stdout
    )


@pytest.mark.slow
def test_volumes_without_a_label_are_checked_too(here: Path) -> None:
    array_folder(here / "volumes")
    record = checked("./volumes")
    assert record["failed"] == 0, record


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("./nowhere", "names no class in a Python file"),
        ("./nowhere.csv", "found nothing there"),
        ("mydata", "no plug-in is called 'mydata'. There is a folder 'mydata' here: bench check ./mydata"),
    ],
)
def test_what_is_not_there_is_one_line(here: Path, name: str, words: str) -> None:
    done = bench("check", name)
    assert done.exit_code in (1, 2) and words in in_one_line(done.stderr)
