"""Folders that can't be used end in one line: what was expected, what was found, what to do; exit code 1 or 2."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.command_line import bench, in_one_line
from support.own_folders import (
    array_folder,
    decathlon,
    declare,
    picture,
    picture_folders,
    save_nifti,
    save_picture,
    volume,
    write_json,
)

NAMES = [f"p{number:02d}" for number in range(8)]
Make = Callable[[Path], object]


def pictures(folder: Path) -> Path:
    return picture_folders(folder, NAMES)


def bare(folder: Path) -> Path:
    return picture_folders(folder, [], bare=NAMES)


def unmarked(folder: Path) -> None:
    picture_folders(folder, [], images="{}.png", bare=NAMES)


def table(folder: Path, text: str) -> None:
    picture_folders(folder, NAMES, images="x/{}.png", masks="y/{}.png")
    (folder / "cases.csv").write_text(text, encoding="utf-8")
    declare(folder, list="cases.csv")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def two_images(folder: Path) -> None:
    save_picture(pictures(folder) / "images/p01.jpg", picture(1)[0])


def two_images_of_two_folders(folder: Path) -> None:
    picture_folders(folder, ["a/1", "a_1"])


def text_for_image(folder: Path) -> None:
    (pictures(folder) / "images/p03.png").write_text("not an image")


def image_for_mask(folder: Path) -> None:
    random = np.random.default_rng(0).integers(0, 256, (24, 24)).astype(np.uint8)
    save_picture(pictures(folder) / "masks/p02.png", random)


def coloured_mask(folder: Path) -> None:
    colours = np.zeros((24, 24, 3), np.uint8)
    colours[:9, :, 0], colours[9:, :, 1] = 200, 120
    save_picture(pictures(folder) / "masks/p02.png", colours)


def orphan(folder: Path) -> None:
    (pictures(folder) / "images/p05.png").unlink()


def two_channels_less(folder: Path) -> None:
    decathlon(folder, channels=2)
    (folder / "imagesTr/case03_0001.nii.gz").unlink()


def unmarked_channel(folder: Path) -> None:
    decathlon(folder, channels=2)
    save_nifti(folder / "imagesTr/other.nii.gz", volume(0)[0])


def label_alone(folder: Path) -> None:
    save_nifti(decathlon(folder) / "labelsTr/case99.nii.gz", volume(0)[1])


def broken_json(folder: Path) -> None:
    (decathlon(folder) / "dataset.json").write_text('{"labels": ', encoding="utf-8")


def words_for_labels(folder: Path) -> None:
    write_json(decathlon(folder) / "dataset.json", {"labels": {"background": 0, "head": "one"}})


def more_channel_names(folder: Path) -> None:
    write_json(decathlon(folder, channels=2) / "dataset.json", {"channel_names": {"0": "a", "1": "b", "2": "c"}})


def fold_of_strangers(folder: Path) -> None:
    write_json(decathlon(folder) / "splits_final.json", [{"train": ["case00"], "val": ["somebody"]}])


def fold_twice(folder: Path) -> None:
    write_json(decathlon(folder) / "splits_final.json", [{"train": ["case00"], "val": ["case00"]}])


def in_both_parts(folder: Path) -> None:
    save_nifti(decathlon(folder) / "imagesTs/case00.nii.gz", volume(0)[0])


FOUND: dict[str, tuple[Make, str]] = {
    "nothing there": (lambda folder: None, "expected a folder with images and labels"),
    "an empty folder": (lambda folder: folder.mkdir(), "found an empty folder"),
    "no images": (lambda folder: (folder.mkdir(), (folder / "notes.txt").write_text("x")), "notes.txt"),
    "an empty image folder": (lambda folder: (folder / "images").mkdir(parents=True), "found an empty folder"),
    "no masks at all": (bare, "no labeled case"),
    "an empty mask folder": (lambda folder: (bare(folder) / "masks").mkdir(), "put the masks there"),
    "pictures without a mark": (unmarked, "masks beside their images"),
    "two images of one name": (two_images, "p01.jpg and p01.png"),
    "two images of one id": (two_images_of_two_folders, "two for 'a_1'"),
    "a mask without its image": (orphan, "none for 1 of 8 masks, e.g. p05.png"),
    "an image as mask": (image_for_mask, "as many as an image has"),
    "a mask in colours": (coloured_mask, "expected one value for each class, found colours"),
    "a mask that is cut": (lambda folder: cut(pictures(folder) / "masks/p00.png"), r"p00.png: can't be read as an image"),
    "a channel that is missing": (two_channels_less, "no file case03_0001"),
    "a file without channel": (unmarked_channel, "names that end in the number of the channel"),
    "a label without its image": (label_alone, "case99.nii.gz"),
    "a description that isn't JSON": (broken_json, "dataset.json: expected JSON, found in line 1"),
    "labels that are words": (words_for_labels, "labels with whole numbers"),
    "more channels than files": (more_channel_names, "expected 2 channels"),
    "a fold of strangers": (fold_of_strangers, "somebody, which has no image"),
    "a fold that tests what it trains": (fold_twice, "case00 in both parts of fold 0"),
    "a case for training and test": (in_both_parts, "in both"),
    "fractions in a label": (
        lambda folder: save_nifti(decathlon(folder, description=False) / "labelsTr/case01.nii.gz", volume(0)[1] * np.float32(0.5)),
        "expected whole numbers in a label, found 0.5",
    ),
    "no key of that name": (lambda folder: array_folder(folder, image="t1"), "expected the key 'image', found label, t1"),
    "a list that names nothing": (lambda folder: table(folder, "case,label\na,y/p00.png\n"), "a column image"),
    "a list of lost files": (lambda folder: table(folder, "image,label\nx/lost.png,y/p00.png\n"), "the file x/lost.png (line 2)"),
    "a list with odd roles": (lambda folder: table(folder, "image,label,split\nx/p00.png,y/p00.png,tset\n"), "found 'tset'"),
    "a list that names a case twice": (
        lambda folder: table(folder, "case,image,label\na,x/p00.png,y/p00.png\na,x/p01.png,y/p01.png\n"), "two for 'a'",
    ),
    "a list with semicolons": (lambda folder: table(folder, "image;label\nx/p00.png;y/p00.png\n"), "commas between its columns"),
    "a list that isn't there": (lambda folder: declare(pictures(folder), list="cases.csv"), "no such file"),
    "an unknown word in the declaration": (lambda folder: declare(pictures(folder), clases={0: "a"}), "did you mean 'classes'"),
    "a declaration that isn't YAML": (
        lambda folder: (pictures(folder) / "semibench.yaml").write_text("classes: [", encoding="utf-8"), "not valid YAML",
    ),
    "a broken expression": (lambda folder: declare(pictures(folder), groups="(p"), "expected a regular expression"),
    "an expression without a group": (lambda folder: declare(pictures(folder), groups="p.."), "a group in parentheses"),
    "an expression that finds nothing": (lambda folder: declare(pictures(folder), groups="patient(.)"), "found none in 'p00.png'"),
    "one group for all": (lambda folder: declare(pictures(folder), groups="(p)"), "training groups are left"),
    "no background": (lambda folder: declare(pictures(folder), classes={1: "a", 2: "b"}), "expected the value 0"),
    "a window upside down": (lambda folder: declare(pictures(folder), scale="window", window=[5, 1]), "low < high"),
    "spacing of other axes": (lambda folder: declare(pictures(folder), spacing=[1, 1, 1]), "spacing: expected 2 numbers"),
    "a path out of the folder": (lambda folder: declare(pictures(folder), images="../elsewhere"), "a path inside the folder"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", FOUND)
def test_a_folder_that_cannot_be_used_is_one_line(what: str, tmp_path: Path) -> None:
    make, expected = FOUND[what]
    folder = tmp_path / "mine"
    make(folder)
    answer = bench("split", "-p", "self", "-d", str(folder))
    error = in_one_line(answer.stderr).rpartition("error: ")[2]
    assert answer.exit_code in (1, 2), answer.output
    assert expected in error and "Traceback" not in answer.stderr
    assert len(answer.stderr.strip().rpartition("error: ")[2].splitlines()) == 1


READ: dict[str, tuple[Make, str]] = {
    "a file that is no image": (text_for_image, "images/p03.png: can't be read as an image"),
    "an image that is cut": (lambda folder: cut(pictures(folder) / "images/p03.png"), "images/p03.png: expected a whole PNG file"),
    "a mask of another size": (
        lambda folder: save_picture(pictures(folder) / "masks/p04.png", np.eye(30, dtype=np.uint8) * 255),
        "p04.png: expected the size of its image p04.png, 24 x 24, found 30 x 30",
    ),
    "a label of another size": (
        lambda folder: save_nifti(decathlon(folder) / "labelsTr/case01.nii.gz", volume(0)[1][:-2]),
        "case01.nii.gz: expected the size of its image",
    ),
    "a value that nobody declared": (
        lambda folder: save_nifti(decathlon(folder) / "labelsTr/case01.nii.gz", volume(0)[1] * 3),
        "expected the label values 0, 1, 2, found 3, 6",
    ),
    "a volume with NaN": (
        lambda folder: save_nifti(decathlon(folder) / "imagesTr/case01.nii.gz", np.full((12, 14, 10), np.nan, np.float32)),
        "expected finite values, found 1680 NaN",
    ),
    "channels of two sizes": (
        lambda folder: save_nifti(decathlon(folder, channels=2) / "imagesTr/case01_0001.nii.gz", volume(0)[0][:-1]),
        "expected the shape of case01_0000.nii.gz",
    ),
    "a label that lies elsewhere": (
        lambda folder: save_nifti(decathlon(folder) / "labelsTr/case01.nii.gz", volume(0)[1], (2, 2, 2)),
        "expected a label at the place of case01.nii.gz",
    ),
    "an array with one axis": (lambda folder: np.savez(array_folder(folder, kind="npz") / "v1.npz", image=np.ones(4)), "v1.npz"),
}  # fmt: skip


@pytest.mark.parametrize("what", READ)
def test_a_file_that_cannot_be_read_is_one_line_of_verify(what: str, tmp_path: Path) -> None:
    make, expected = READ[what]
    make(tmp_path / "mine")
    answer = bench("data", "verify", str(tmp_path / "mine"), width=400)
    lines = [line for line in answer.stdout.splitlines() if line.startswith("error")]
    assert answer.exit_code == 1 and "Traceback" not in answer.output
    assert len(lines) == 1 and expected in lines[0], answer.output


def test_a_folder_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("the superuser may read every folder")
    folder = pictures(tmp_path / "mine")
    (folder / "masks").chmod(0)
    try:
        answer = bench("split", "-p", "self", "-d", str(folder))
    finally:
        (folder / "masks").chmod(0o755)
    assert answer.exit_code == 1 and "make it readable" in answer.stderr


def test_a_run_of_a_damaged_folder_names_the_file_and_what_to_do(tmp_path: Path) -> None:
    text_for_image(tmp_path / "mine")
    answer = bench(
        "run", "-p", "self", "-d", str(tmp_path / "mine"), "-m", "supervised", "-r", "smoke", "--no-track", "--runs",
        str(tmp_path / "runs"),
    )  # fmt: skip
    assert answer.exit_code == 1 and "Traceback" not in answer.stderr
    assert "p03.png: can't be read as an image" in in_one_line(answer.stderr)


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "mine")
    shutil.move(folder / "masks/p01.png", tmp_path / "p01.png")
    (folder / "masks/p01.png").symlink_to(tmp_path / "gone.png")
    answer = bench("split", "-p", "self", "-d", str(folder))
    assert answer.exit_code == 1 and "p01.png" in answer.stderr and "Traceback" not in answer.stderr
