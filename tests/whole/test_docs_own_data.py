"""The page about own data, command by command, in an empty folder; then the layouts of real images."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import bench_process
from support.own_folders import picture_folders, save_picture, write_json
from support.places import DOCS, real_data

BLOCK = re.compile(r"^```bash title=\"([^\"]+)\"\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 1800


@pytest.fixture
def place(tmp_path: Path) -> dict[str, Any]:
    """An empty folder and the environment of a user who has nothing yet."""
    work = tmp_path / "work"
    work.mkdir()
    private = {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "SEMIBENCH_CACHE": str(tmp_path / "cache"),
        "COLUMNS": "200",
    }
    return {"folder": work, "environment": private}


def said(*words: str, **place: Any) -> str:
    done = bench_process(*words, **place)
    assert done.returncode == 0, f"bench {shlex.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_the_page_command_by_command(place: dict[str, Any]) -> None:
    blocks = dict(BLOCK.findall((DOCS / "own_data.md").read_text(encoding="utf-8")))
    assert len(blocks["three commands"].splitlines()) == 3, "from a folder to a score in three commands"
    picture_folders(place["folder"] / "mydata", [f"p{number:02d}" for number in range(20)])
    output = []
    for text in blocks.values():
        for line in text.splitlines():
            words = shlex.split(line)
            assert words[0] == "bench"
            output.append(said(*words[1:], **place))
    assert re.search(r"dice\s+\d", output[1]), "the run is scored"
    assert "mean-teacher" in output[2], "the run is on the board"
    results = [json.loads(file.read_text()) for file in (place["folder"] / "runs").glob("*/result.json")]
    assert len(results) == 3


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("name", ["BUSBRA", "HC18"])
def test_real_pictures_as_plain_folders(place: dict[str, Any], name: str) -> None:
    folder = place["folder"] / "plain"
    source = real_data(name)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    if name == "BUSBRA":
        for image in sorted((source / "Images").glob("*.png"))[:40]:
            mask = source / "Masks" / image.name.replace("bus_", "mask_")
            shutil.copy(image, folder / "images")
            shutil.copy(mask, folder / "masks")
    else:
        for image in sorted((source / "training_set").glob("*_HC.png"))[:40]:
            shutil.copy(image, folder / "images")
            save_picture(folder / "masks" / image.name, filled(image.with_name(image.stem + "_Annotation.png")))
    told = said("data", "new", "./plain", **place)
    assert "40: 40 with label, 0 without" in told and "2D" in told and "foreground" in told
    assert "0 errors" in said("data", "verify", "./plain", **place)
    scored = said("run", "-p", "ssmis", "-d", "./plain", "-m", "mean-teacher", "-r", "smoke", "--no-track", **place)
    assert "8 test cases" in scored


def filled(outline: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The area inside a drawn outline."""
    from PIL import Image
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes(np.asarray(Image.open(outline).convert("L")) > 127) * np.uint8(255), np.uint8)


def hippocampus(target: Path, count: int, *, mark: str = "", labeled: int | None = None) -> list[str]:
    """Copies volumes of the hippocampus into imagesTr and labelsTr; returns the ids."""
    source = real_data("Task04_Hippocampus")
    names = sorted(path.name.removesuffix(".nii.gz") for path in (source / "imagesTr").glob("*.nii.gz"))[:count]
    for part in ("imagesTr", "labelsTr"):
        (target / part).mkdir(parents=True)
    for number, name in enumerate(names):
        shutil.copy(source / f"imagesTr/{name}.nii.gz", target / f"imagesTr/{name}{mark}.nii.gz")
        if labeled is None or number < labeled:
            shutil.copy(source / f"labelsTr/{name}.nii.gz", target / "labelsTr")
    return names


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_the_hippocampus_as_the_decathlon_ships_it(place: dict[str, Any]) -> None:
    folder = place["folder"] / "Task04_Hippocampus"
    names = hippocampus(folder, 16)
    write_json(folder / "dataset.json", {
        "name": "Hippocampus", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "numTraining": 16, "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names],
    })  # fmt: skip
    told = said("data", "new", "./Task04_Hippocampus", **place)
    assert "3D, channels: MRI" in told and "1 x 1 x 1 mm (16)" in told and "Posterior" in told
    common = ("run", "-p", "ssmis", "-d", "./Task04_Hippocampus", "-m", "mean-teacher", "-r", "smoke", "--no-track")
    assert "Anterior" in said(*common, **place)
    assert "Anterior" in said(*common, "--dims", "2", **place)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_the_hippocampus_as_nnunet_has_it(place: dict[str, Any]) -> None:
    folder = place["folder"] / "Dataset004_Hippocampus"
    names = hippocampus(folder, 16, mark="_0000", labeled=12)
    labels = {"background": 0, "Anterior": 1, "Posterior": 2}
    write_json(folder / "dataset.json", {
        "channel_names": {"0": "MRI"}, "labels": labels, "numTraining": 12, "file_ending": ".nii.gz",
    })  # fmt: skip
    folds = [{"train": names[3:12], "val": names[:3]}, {"train": names[:9], "val": names[9:12]}]
    write_json(folder / "splits_final.json", folds)
    told = said("data", "new", "./Dataset004_Hippocampus", **place)
    assert "16: 12 with label, 4 without" in told and "2 folds" in told
    split = json.loads(said("split", "-p", "ssmis", "-d", "./Dataset004_Hippocampus", "--fold", "1", "--json", **place))
    roles = {role: [row[1] for row in rows] for role, rows in split["roles"].items()}
    assert roles["test"] == names[9:12] and sorted(roles["labeled"]) == names[:9] and roles["unlabeled"] == names[12:]
    words = (
        "run",
        "-p",
        "ssmis",
        "-d",
        "./Dataset004_Hippocampus",
        "-m",
        "mean-teacher",
        "-r",
        "smoke",
        "--no-track",
        "--fold",
        "1",
    )
    assert "3 test cases" in said(*words, **place)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_the_hippocampus_as_a_list_of_h5_files(place: dict[str, Any]) -> None:
    import h5py
    import nibabel

    source = real_data("Task04_Hippocampus")
    folder = place["folder"] / "volumes"
    folder.mkdir()
    rows = ["case,image,patient,split"]
    for number, path in enumerate(sorted((source / "imagesTr").glob("*.nii.gz"))[:14]):
        name = path.name.removesuffix(".nii.gz")
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["image"] = np.asarray(nibabel.load(path).dataobj, np.float32)
            if number < 10:
                file["label"] = np.asarray(nibabel.load(source / "labelsTr" / path.name).dataobj, np.uint8)
        rows.append(f"{name},{name}.h5,p{number // 2},{'test' if number < 4 else 'train'}")
    (folder / "cases.csv").write_text("\n".join(rows), encoding="utf-8")
    told = said("data", "new", "./volumes", **place)
    assert "cases from cases.csv: 14" in told and "14: 10 with label, 4 without" in told
    scored = said("run", "-p", "ssmis", "-d", "./volumes", "-m", "mean-teacher", "-r", "smoke", "--no-track", **place)
    assert "4 test cases" in scored
