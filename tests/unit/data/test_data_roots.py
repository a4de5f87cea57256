"""Where the user's files are looked for, in which order, and what is said about it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from semibench import LayoutError, UsageError
from semibench.blocks.groups import group_table_paths, read_group_table
from semibench.data.roots import cache_dir, config_files, locate


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and working directory, and four roots that each hold the data set."""
    for name in ("home", "work", "given", "env", "here", "user"):
        (tmp_path / name).mkdir()
    for name in ("given", "env", "here", "user"):
        (tmp_path / name / "busi").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("SEMIBENCH_DATA", raising=False)
    for name in ("SEMIBENCH_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_each_place_wins_over_the_ones_after_it(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = places / "home" / ".config" / "semibench"
    user.mkdir(parents=True)
    assert locate("busi").path is None
    (user / "config.toml").write_text(f'[data]\nroot = "{places / "user"}"\n')
    assert locate("busi").path == places / "user" / "busi"
    (places / "work" / "semibench.toml").write_text(f'[data]\nroot = "{places / "here"}"\n')
    assert locate("busi").path == places / "here" / "busi"
    direct = places / "elsewhere"
    direct.mkdir()
    (places / "work" / "semibench.toml").write_text(
        f'[data]\nroot = "{places / "here"}"\n[data.paths]\nbusi = "{direct}"\n'
    )
    assert locate("busi").path == direct
    monkeypatch.setenv("SEMIBENCH_DATA", str(places / "env"))
    assert locate("busi").path == places / "env" / "busi"
    found = locate("busi", places / "given")
    assert (found.path, found.source) == (places / "given" / "busi", "--data-root")
    assert "--data-root" in found.explain() and str(places / "given") in found.explain()


def test_paths_in_a_file_are_relative_to_it(places: Path) -> None:
    (places / "work" / "semibench.toml").write_text('[data.paths]\nbusi = "../here/busi"\n')
    assert locate("busi").path == (places / "here" / "busi").resolve()


def test_a_given_root_is_the_only_place(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (places / "empty").mkdir()
    monkeypatch.setenv("SEMIBENCH_DATA", str(places / "env"))
    for root, outcome in ((places / "empty", "has no folder busi"), (places / "nowhere", "no such folder")):
        found = locate("busi", root)
        assert found.path is None and found.named
        assert [(attempt.source, attempt.outcome) for attempt in found.tried] == [("--data-root", outcome)]


def test_a_root_of_the_environment_without_the_data_set_is_passed_over_and_said(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (places / "empty").mkdir()
    monkeypatch.setenv("SEMIBENCH_DATA", str(places / "empty"))
    (places / "work" / "semibench.toml").write_text(f'[data]\nroot = "{places / "here"}"\n')
    found = locate("busi")
    assert found.path == places / "here" / "busi"
    assert [a.outcome for a in found.tried if a.path is not None] == ["has no folder busi", "found"]


def test_no_folder_is_named_on_a_fresh_machine(places: Path) -> None:
    assert not locate("busi").named


def test_the_folder_of_the_data_set_itself_may_be_given(places: Path) -> None:
    (places / "given" / "BUSI").mkdir()
    assert locate("busi", places / "given" / "BUSI").path == places / "given" / "BUSI"
    assert locate("busi", places / "given").path == places / "given" / "busi"  # the exact name comes first


@pytest.mark.parametrize("root", ["a\0b", "x" * 5000])
def test_a_root_that_cannot_be_a_path_is_no_folder(root: str, places: Path) -> None:
    assert [attempt.outcome for attempt in locate("busi", root).tried] == ["no such folder"]


def test_what_was_tried_and_what_to_do_are_explained(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMIBENCH_DATA", str(places / "nowhere"))
    text = locate("busi").explain()
    assert "no such folder" in text and str(places / "nowhere") in text
    assert "semibench.toml" in text and "[data.paths]" in text and "--data-root" in text


def test_capitals_and_punctuation_of_folders_are_not_compared(places: Path) -> None:
    (places / "given" / "BUSBRA").mkdir()
    (places / "given" / "Task04_Hippocampus").mkdir()
    assert locate("bus-bra", places / "given").path == places / "given" / "BUSBRA"
    assert locate("msd-hippocampus", places / "given").path is None
    found = locate("msd-hippocampus", places / "given", aliases=("Task04_Hippocampus",))
    assert found.path == places / "given" / "Task04_Hippocampus"


@pytest.mark.parametrize("text", ["[data", "data = 3", "[data]\nroot = 3\n", "[data.paths]\nbusi = 3\n"])
def test_a_bad_configuration_file_is_named(places: Path, text: str) -> None:
    (places / "work" / "semibench.toml").write_text(text)
    with pytest.raises(UsageError, match=r"semibench\.toml"):
        locate("busi")


def test_the_cache_folder(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_dir() == places / "home" / ".cache" / "semibench"
    monkeypatch.setenv("SEMIBENCH_CACHE", str(places / "cache"))
    assert cache_dir() == places / "cache"


def test_the_platforms_folders_are_used_unless_earlier_ones_exist(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(places / "xdg-cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(places / "xdg-config"))
    assert cache_dir() == places / "xdg-cache" / "semibench"
    assert config_files()[-1] == places / "xdg-config" / "semibench" / "config.toml"
    earlier = places / "home" / ".cache" / "semibench"
    earlier.mkdir(parents=True)
    earlier_config = places / "home" / ".config" / "semibench" / "config.toml"
    earlier_config.parent.mkdir(parents=True)
    earlier_config.touch()
    assert cache_dir() == earlier
    assert config_files()[-1] == earlier_config
    (places / "xdg-cache" / "semibench").mkdir(parents=True)
    assert cache_dir() == places / "xdg-cache" / "semibench"


def test_a_group_table_is_read_from_the_data_or_the_cache(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMIBENCH_CACHE", str(places / "cache"))
    root = places / "given" / "busi"
    assert read_group_table(root, "busi") == {}
    beside, cached = group_table_paths(root, "busi")
    cached.parent.mkdir(parents=True)
    cached.write_text("case,group,reason\nx,g,cached\n")
    assert read_group_table(root, "busi") == read_group_table(None, "busi") == {"x": "g"}
    beside.write_text("case,group,reason\nx,h,beside\n")
    assert read_group_table(root, "busi") == {"x": "h"}
    beside.write_text("id,cluster\nx,h\n")
    with pytest.raises(LayoutError, match="case,group,reason"):
        read_group_table(root, "busi")


def test_looking_for_files_imports_nothing_heavy() -> None:
    code = (
        "import sys, semibench.data.roots, semibench.blocks.groups; "
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
