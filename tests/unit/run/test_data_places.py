"""A run reads the files that the user names, or says that they aren't there; a phantom stands in only where none are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import bench
from support.official_layouts import busi, h5

PLAN = ("run", "-p", "self", "-m", "supervised", "-r", "smoke", "--plan", "--no-track")


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder for data is named anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("SEMIBENCH_DATA", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_a_phantom_stands_in_where_no_folder_is_named() -> None:
    done = bench(*PLAN, "-d", "busi")
    assert done.exit_code == 0 and "PHANTOM" in done.output


@pytest.mark.parametrize("how", ["--data-root", "SEMIBENCH_DATA", "semibench.toml"])
def test_a_named_folder_without_the_data_set_is_an_error(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "data"):
        words = []
        if how == "--data-root":
            words = [how, str(folder)]
        elif how == "SEMIBENCH_DATA":
            monkeypatch.setenv(how, str(folder))
        else:
            (tmp_path / how).write_text(f'[data]\nroot = "{folder}"\n')
        done = bench(*PLAN, "-d", "busi", *words)
        assert done.exit_code == 1 and str(folder) in done.output and "PHANTOM" not in done.output
        assert "Dataset_BUSI_with_GT/" in done.output and "or ask for the procedural stand-in: --phantom" in done.output
        assert bench(*PLAN, "-d", "busi", *words, "--phantom").exit_code == 0


def test_a_folder_that_holds_something_else_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data" / "busi" / "pictures").mkdir(parents=True)
    done = bench(*PLAN, "-d", "busi", "--data-root", str(tmp_path / "data"))
    assert done.exit_code == 1 and "found no files of the edition 'mgcc'" in done.output and "pictures/" in done.output


def test_files_of_another_edition_are_pointed_to(tmp_path: Path) -> None:
    h5("data/{case}.h5", ("patient001_frame01", "patient001_frame12"), [1, 2, 3])(tmp_path / "data" / "ACDC")
    done = bench(*PLAN, "-d", "acdc", "--data-root", str(tmp_path / "data"))
    assert done.exit_code == 1 and "but files of the edition 'ssl4mis': --set dataset.edition=ssl4mis" in done.output
    root = str(tmp_path / "data" / "ACDC")  # the folder itself will do, too
    assert bench("data", "verify", "acdc", "--data-root", root, "--set", "dataset.edition=ssl4mis").exit_code == 0


def test_names_of_data_sets_are_suggested_whatever_their_capitals(tmp_path: Path) -> None:
    busi(tmp_path / "data" / "BUSI")
    done = bench(*PLAN, "-d", "BUSI", "--data-root", str(tmp_path / "data"))
    assert done.exit_code == 2 and "Did you mean 'busi'?" in done.output
    assert bench("data", "verify", "busi", "--data-root", str(tmp_path / "data")).exit_code == 0
