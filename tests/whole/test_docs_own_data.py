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
from support.command_line import bench
from support.own_folders import picture_folders, save_picture, write_json
from support.places import DOCS, real_data

BLOCK = re.compile(r"^```bash title=\"([^\"]+)\"\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 1800


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and the environment of a user who has nothing yet."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path / "cache"))
    return work


def said(*words: str) -> str:
    """What a command prints. All run in one process, which imports torch once."""
    done = bench(*words, width=200)
    assert done.exit_code == 0, f"bench {shlex.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def scored(dataset: str, *more: str) -> str:
    """What a run of two iterations prints."""
    tiny = ("--set", "iterations=2", "--set", "evaluate_every=2", "--no-track", "--no-pictures", "--no-predictions")
    return said("run", "-p", "ssmis", "-d", dataset, "-m", "mean-teacher", "-r", "smoke", *tiny, *more)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_the_page_command_by_command(place: Path) -> None:
    blocks = dict(BLOCK.findall((DOCS / "own_data.md").read_text(encoding="utf-8")))
    assert len(blocks["three commands"].splitlines()) == 3, "from a folder to a score in three commands"
    picture_folders(place / "mydata", [f"p{number:02d}" for number in range(20)])
    output = []
    for text in blocks.values():
        for line in text.splitlines():
            words = shlex.split(line)
            assert words[0] == "bench"
            output.append(said(*words[1:]))
    assert re.search(r"dice\s+\d", output[1]), "the run is scored"
    assert "mean-teacher" in output[2], "the run is on the board"
    results = [json.loads(file.read_text()) for file in (place / "runs").glob("*/result.json")]
    assert len(results) == 3


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("name", ["BUSBRA", "HC18"])
def test_real_pictures_as_plain_folders(place: Path, name: str) -> None:
    folder = place / "plain"
    source = real_data(name)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    if name == "BUSBRA":
        for image in sorted((source / "Images").glob("*.png"))[:20]:
            mask = source / "Masks" / image.name.replace("bus_", "mask_")
            shutil.copy(image, folder / "images")
            shutil.copy(mask, folder / "masks")
    else:
        for image in sorted((source / "training_set").glob("*_HC.png"))[:20]:
            shutil.copy(image, folder / "images")
            save_picture(folder / "masks" / image.name, filled(image.with_name(image.stem + "_Annotation.png")))
    told = said("data", "new", "./plain")
    assert "20: 20 with label, 0 without" in told and "2D" in told and "foreground" in told
    assert "0 errors" in said("data", "verify", "./plain")
    assert "4 test cases" in scored("./plain")


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
def test_the_hippocampus_as_the_decathlon_ships_it(place: Path) -> None:
    folder = place / "Task04_Hippocampus"
    names = hippocampus(folder, 10)
    write_json(folder / "dataset.json", {
        "name": "Hippocampus", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "numTraining": 10, "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names],
    })  # fmt: skip
    told = said("data", "new", "./Task04_Hippocampus")
    assert "3D, channels: MRI" in told and "1 x 1 x 1 mm (10)" in told and "Posterior" in told
    assert "Anterior" in scored("./Task04_Hippocampus")
    assert "Anterior" in scored("./Task04_Hippocampus", "--dims", "2")


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_the_hippocampus_as_nnunet_has_it(place: Path) -> None:
    folder = place / "Dataset004_Hippocampus"
    names = hippocampus(folder, 12, mark="_0000", labeled=9)
    labels = {"background": 0, "Anterior": 1, "Posterior": 2}
    write_json(folder / "dataset.json", {
        "channel_names": {"0": "MRI"}, "labels": labels, "numTraining": 9, "file_ending": ".nii.gz",
    })  # fmt: skip
    folds = [{"train": names[2:9], "val": names[:2]}, {"train": names[:7], "val": names[7:9]}]
    write_json(folder / "splits_final.json", folds)
    told = said("data", "new", "./Dataset004_Hippocampus")
    assert "12: 9 with label, 3 without" in told and "2 folds" in told
    split = json.loads(said("split", "-p", "ssmis", "-d", "./Dataset004_Hippocampus", "--fold", "1", "--json"))
    roles = {role: [row[1] for row in rows] for role, rows in split["roles"].items()}
    assert roles["test"] == names[7:9] and sorted(roles["labeled"]) == names[:7] and roles["unlabeled"] == names[9:]
    assert "2 test cases" in scored("./Dataset004_Hippocampus", "--fold", "1")


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_the_hippocampus_as_a_list_of_h5_files(place: Path) -> None:
    import h5py
    import nibabel

    source = real_data("Task04_Hippocampus")
    folder = place / "volumes"
    folder.mkdir()
    rows = ["case,image,patient,split"]
    for number, path in enumerate(sorted((source / "imagesTr").glob("*.nii.gz"))[:10]):
        name = path.name.removesuffix(".nii.gz")
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["image"] = np.asarray(nibabel.load(path).dataobj, np.float32)
            if number < 8:
                file["label"] = np.asarray(nibabel.load(source / "labelsTr" / path.name).dataobj, np.uint8)
        rows.append(f"{name},{name}.h5,p{number // 2},{'test' if number < 2 else 'train'}")
    (folder / "cases.csv").write_text("\n".join(rows), encoding="utf-8")
    told = said("data", "new", "./volumes")
    assert "cases from cases.csv: 10" in told and "10: 8 with label, 2 without" in told
    assert "2 test cases" in scored("./volumes")
