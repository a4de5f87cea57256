"""Writes small folders of images and labels as people have them, for data sets by declaration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 24


def picture(number: int, side: int = SIDE) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A dark disc on noise and its mask; another one for each number."""
    random = np.random.default_rng(number)
    rows, columns = np.mgrid[:side, :side]
    centre = random.integers(side // 3, 2 * side // 3, 2)
    disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (side // 5) ** 2
    image = random.integers(90, 160, (side, side)) - 60 * disc
    return image.astype(np.uint8), disc


def save_picture(path: Path, array: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def picture_folders(
    folder: Path, names: Sequence[str], *, images: str = "images/{}.png", masks: str = "masks/{}.png", bare: Sequence[str] = (),
    white: int = 255,
) -> Path:  # fmt: skip
    """Writes images and masks. images, masks: their paths, with {} for the name. bare: names without a mask."""
    for number, name in enumerate([*names, *bare]):
        image, disc = picture(number)
        save_picture(folder / images.format(name), image)
        if name not in bare:
            save_picture(folder / masks.format(name), (disc * white).astype(np.uint8))
    return folder


def volume(number: int, shape: tuple[int, int, int] = (12, 14, 10)) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """A volume (x, y, z) with two blocks, and their label."""
    random = np.random.default_rng(number)
    label = np.zeros(shape, np.uint8)
    label[3:6, 4:9, 3:7] = 1
    label[6:9, 4:9, 3:7] = 2
    return (random.normal(100, 10, shape) + 50 * label).astype(np.int16), label


def save_nifti(path: Path, array: NDArray[Any], spacing: Sequence[float] = (1.0, 1.0, 3.0)) -> Path:
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, np.diag([*spacing, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def decathlon(
    folder: Path,
    cases: int = 8,
    *,
    labeled: int | None = None,
    channels: int = 0,
    tests: int = 0,
    description: bool = True,
) -> Path:
    """Writes imagesTr, labelsTr, imagesTs and dataset.json. channels: 0 for plain names, else that many files _0000, _0001 ..."""
    for number in range(cases + tests):
        image, label = volume(number)
        part = "imagesTr" if number < cases else "imagesTs"
        for channel in range(max(channels, 1)):
            mark = f"_{channel:04d}" if channels else ""
            save_nifti(folder / part / f"case{number:02d}{mark}.nii.gz", image + channel)
        if number < (cases if labeled is None else labeled):
            save_nifti(folder / "labelsTr" / f"case{number:02d}.nii.gz", label)
    if description:
        names = {str(channel): name for channel, name in enumerate(("MR", "PET")[: max(channels, 1)])}
        write_json(folder / "dataset.json", {
            "channel_names": names, "labels": {"background": 0, "head": 1, "tail": 2},
            "numTraining": cases, "file_ending": ".nii.gz",
        })  # fmt: skip
    return folder


def array_folder(folder: Path, cases: int = 6, *, kind: str = "h5", image: str = "image", label: str = "label") -> Path:
    """Writes h5 or npz files with an image and a label; the last one has no label."""
    import h5py

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(cases):
        arrays: dict[str, NDArray[Any]] = dict(zip((image, label), volume(number), strict=True))
        if number == cases - 1:
            del arrays[label]
        if kind == "npz":
            np.savez(folder / f"v{number}.npz", **arrays)
            continue
        with h5py.File(folder / f"v{number}.h5", "w") as file:
            for key, array in arrays.items():
                file[key] = array
    return folder


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def declare(folder: Path, **fields: Any) -> Path:
    """Writes a semibench.yaml."""
    lines = [f"{key}: {json.dumps(_plain(value))}" for key, value in fields.items()]
    (folder / "semibench.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _plain(value: Any) -> Any:
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else value
