"""The walk through the folders of a data set, and what readers and inspection make of it."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from semibench import LayoutError
from semibench.blocks import FilePattern, candidate_folders, find_data_folder
from semibench.blocks.datasets.file_patterns import find_case_files, layout_problems
from semibench.blocks.datasets.folder_walk import walk_files
from semibench_plugins.datasets.breast.cards import BUSI

MASKS = (
    FilePattern("image", r"images/(?P<case>[^/]+)\.png", "{case}", "images/{case}.png"),
    FilePattern("mask", r"masks/(?P<case>[^/]+)\.png", "{case}", "masks/{case}.png"),
)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def seen(folder: Path) -> list[str]:
    return [file.relative for file in walk_files(folder)]


def test_links_to_folders_and_files_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "store" / "b.png", tmp_path / "elsewhere" / "c.png")
    data = tmp_path / "data"
    touch(data / "a.png")
    (data / "linked").symlink_to(tmp_path / "store")
    (data / "c.png").symlink_to(tmp_path / "elsewhere" / "c.png")
    (data / "lost.png").symlink_to(tmp_path / "nothing.png")
    (data / "again").symlink_to(data)
    (tmp_path / "store" / "up").symlink_to(data)
    assert seen(data) == ["a.png", "c.png", "linked/b.png"]
    (data / "twin").symlink_to(tmp_path / "store")  # the same folder twice is no circle
    assert seen(data) == ["a.png", "c.png", "linked/b.png", "twin/b.png"]


def test_what_systems_leave_is_passed_over(tmp_path: Path) -> None:
    touch(*(tmp_path / "images" / name for name in ("._a.png", ".DS_Store", "desktop.ini", "Thumbs.db", "a.png")))
    touch(tmp_path / "__MACOSX" / "images" / "a.png", tmp_path / ".git" / "a.png")
    assert seen(tmp_path) == ["images/a.png"]


def test_forms_of_unicode_are_one_name(tmp_path: Path) -> None:
    composed, split = unicodedata.normalize("NFC", "Übung"), unicodedata.normalize("NFD", "Übung")
    touch(tmp_path / "images" / f"{split}.png", tmp_path / "masks" / f"{composed}.png")
    cases = find_case_files(tmp_path, MASKS)
    assert list(cases) == [composed] and cases[composed].one("mask") == tmp_path / "masks" / f"{composed}.png"
    assert layout_problems(tmp_path, cases, MASKS, (), "Clinic") == []
    touch(tmp_path / "images" / f"{composed}.png")  # both: they look alike, and nobody can tell which is meant
    (problem,) = layout_problems(tmp_path, find_case_files(tmp_path, MASKS), MASKS, (), "Clinic")
    assert "found 2" in problem.message


def test_two_files_whose_paths_differ_in_form_only_are_said_to(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        touch(tmp_path / "images" / f"{unicodedata.normalize(form, 'é')}.png")
    touch(tmp_path / "masks" / "é.png")
    (problem,) = layout_problems(tmp_path, find_case_files(tmp_path, MASKS), MASKS, (), "Clinic")
    assert "differ only in the form of Unicode" in problem.message


def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with open(os.fsencode(tmp_path / "images") + b"/b\xff.png", "wb"):
        pass
    with pytest.raises(LayoutError, match=r"b\\udcff\.png: expected a name in UTF-8, .*; rename it") as caught:
        find_case_files(tmp_path, MASKS)
    str(caught.value).encode("utf-8")


@pytest.mark.parametrize(
    ("name", "ending"), [("a.b.jpeg2000", ".jpeg2000"), ("a.b", "none"), ("a.b.png.bak", ".png.bak")]
)
def test_dots_in_a_name_are_no_endings(name: str, ending: str, tmp_path: Path) -> None:
    touch(tmp_path / "images" / "a.b.png", tmp_path / "masks" / name)
    (problem,) = layout_problems(tmp_path, find_case_files(tmp_path, MASKS), MASKS, (), "Clinic")
    assert f"expected the ending .png, found {ending}; rename it" in problem.message


def test_a_stray_file_with_dots_is_told_what_it_lacks(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "a.png", tmp_path / "masks" / "a.png", tmp_path / "images" / "p1.2.dat")
    (problem,) = layout_problems(tmp_path, find_case_files(tmp_path, MASKS), MASKS, (), "Clinic")
    assert "expected the ending .png, found .dat; rename it if it belongs to Clinic" in problem.message


ARCHIVE = "Dataset_BUSI_with_GT"


@pytest.mark.parametrize(
    "place",
    [ARCHIVE, ARCHIVE.lower(), f"{ARCHIVE}/{ARCHIVE}", f"archive (3)/{ARCHIVE}", "BUSI", f"busi/{ARCHIVE}", ""],
)
def test_the_folder_that_unpacking_made_is_found(place: str, tmp_path: Path) -> None:
    touch(tmp_path / place / "benign" / "a.png")
    assert find_data_folder(tmp_path, BUSI, lambda folder: (folder / "benign").is_dir()) == tmp_path / place


def test_other_folders_are_no_candidates(tmp_path: Path) -> None:
    touch(tmp_path / "tus" / "benign" / "a.png", tmp_path / "udiat" / "benign" / "a.png")
    assert candidate_folders(tmp_path, BUSI) == [tmp_path]
