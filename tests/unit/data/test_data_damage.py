"""`bench data verify` on small folders in the official layouts: whole ones pass, and each kind of damage gives one line that
names the file, says what was expected and found, and what to do."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from support.command_line import bench
from support.official_layouts import LAYOUTS, Layout
from typer.testing import Result

from semibench_plugins.datasets.cards import CARDS

DIMS = {card.name: card.dims for card in CARDS}
Damage = Callable[[Layout, Path], "str | None"]
"""Harms the folder; returns the name that the line must hold, or None where this can't happen to the layout."""


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Layout], Result]:
    """Runs `bench data verify` in this process on tmp_path/data/<name>."""
    for name in ("SEMIBENCH_DATA", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path / "cache"))

    def call(layout: Layout) -> Result:
        sides = [16, 16, 16][: DIMS[layout.dataset]]
        words = [word for option in (*layout.options, f"dataset.size={sides}") for word in ("--set", option)]
        place = ["--data-root", str(tmp_path / "data")]
        return bench("data", "verify", layout.dataset, *place, *words, width=None)

    return call


def folder(layout: Layout, tmp_path: Path) -> Path:
    root = tmp_path / "data" / layout.dataset
    layout.write(root)
    return root


def lines(result: Result, level: str) -> list[str]:
    return [line for line in result.stdout.splitlines() if line.startswith(level)]


# ---- changing the content of a file -----------------------------------------------------------------------------------


def change(path: Path, how: Callable[[np.ndarray], np.ndarray], key: str) -> None:
    """Rewrites a file with changed values; key: "image" or "label", for HDF5."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            values = how(file[key][()])
            del file[key]
            file[key] = values
    elif path.name.endswith(".nii.gz"):
        old = nibabel.load(path)
        nibabel.save(nibabel.Nifti1Image(how(np.asarray(old.dataobj)), old.affine), path)
    elif path.suffix in (".mhd", ".nrrd"):
        old = sitk.ReadImage(str(path))
        new = sitk.GetImageFromArray(how(sitk.GetArrayFromImage(old)))
        new.SetSpacing(old.GetSpacing())
        sitk.WriteImage(new, str(path))
    else:
        Image.fromarray(how(np.asarray(Image.open(path)))).save(path)


def content(path: Path) -> Path:
    """The file that holds the voxels."""
    return path.with_suffix(".raw") if path.suffix == ".mhd" else path


# ---- ten kinds of damage ----------------------------------------------------------------------------------------------


def missing_mask(layout: Layout, root: Path) -> str | None:
    if layout.image == layout.label or layout.dataset == "busis":  # one file, or masks that may be absent
        return None
    (root / layout.label).unlink()
    if layout.label.endswith(".mhd"):
        content(root / layout.label).unlink()
        return Path(layout.label).stem
    return Path(layout.label).name


def wrong_size(layout: Layout, root: Path) -> str | None:
    change(root / layout.label, lambda label: np.ascontiguousarray(label[1:]), "label")
    return Path(layout.label).name


def unknown_value(layout: Layout, root: Path) -> str | None:
    def planted(label: np.ndarray) -> np.ndarray:
        label = label.copy()
        label[(*[slice(2, 4)] * 3, *[slice(None)] * (label.ndim - 3))[: label.ndim]] = 77
        return label

    change(root / layout.label, planted, "label")
    return Path(layout.label).name


def truncated_file(layout: Layout, root: Path) -> str | None:
    path = content(root / layout.image)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path.name


def wrong_extension(layout: Layout, root: Path) -> str | None:
    path = root / layout.label
    renamed = path.with_name(path.name.partition(".")[0] + ".dat")
    path.rename(renamed)
    return renamed.name


def empty_folder(layout: Layout, root: Path) -> str | None:
    shutil.rmtree(root)
    root.mkdir()
    return layout.dataset


def extra_file(layout: Layout, root: Path) -> str | None:
    (root / layout.image).with_name("left over.bin").write_bytes(b"something else")
    return "left over.bin"


def unreadable_header(layout: Layout, root: Path) -> str | None:
    path = root / layout.image
    if path.name.endswith(".nii.gz"):
        path.write_bytes(gzip.compress(b"\x01" * 400 + gzip.decompress(path.read_bytes())[400:]))
    else:
        path.write_bytes(b"\x01" * 300 + path.read_bytes()[300:])
    return path.name


def nan_voxels(layout: Layout, root: Path) -> str | None:
    if DIMS[layout.dataset] == 2 or not layout.image_is_float:
        return None

    def planted(image: np.ndarray) -> np.ndarray:
        image = image.copy()
        image[3:5] = np.nan
        return image

    change(root / layout.image, planted, "image")
    return Path(layout.image).name


def name_clash(layout: Layout, root: Path) -> str | None:
    if not layout.clash:
        return None
    copy = root / layout.clash
    copy.parent.mkdir(parents=True, exist_ok=True)
    source = root / (layout.label if "label" in layout.clash.rpartition("/")[2] else layout.image)
    shutil.copy(source, copy)
    return copy.name


KINDS: dict[str, tuple[Damage, str]] = {
    "missing mask": (missing_mask, r"expected the (mask|label|outline).* found only .*; unpack"),
    "wrong size": (wrong_size, r"has .*, its image .*; restore"),
    "unknown label value": (unknown_value, r"unknown label values \[77\]; expected .*; restore"),
    "truncated file": (truncated_file, r"(can't be read|was cut off|expected \d+ bytes).*; (unpack|copy|download)"),
    "wrong extension": (wrong_extension, r"expected the ending \.\S+, found \.dat; rename"),
    "empty folder": (empty_folder, r"expected .*, found an empty folder; \w+"),
    "extra file": (
        extra_file,
        r"expected (only files of .*, found another; |the ending .*, found \.bin; rename it if .*)move",
    ),
    "unreadable header": (unreadable_header, r"(can't be read|expected a MetaImage header).*; (unpack|copy|download)"),
    "NaN voxels": (nan_voxels, r"expected finite voxels, found \d+ NaN or infinite ones; restore"),
    "name clash": (name_clash, r"expected one file .*, found 2; remove"),
}
"""Kind -> the harm, and what the line must say."""


def test_every_data_set_has_its_layout_here() -> None:
    assert {layout.dataset for layout in LAYOUTS} == set(DIMS)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_official_layout_passes(layout: Layout, tmp_path: Path, verify: Callable[[Layout], Result]) -> None:
    folder(layout, tmp_path)
    result = verify(layout)
    assert result.exit_code == 0, result.output
    assert not lines(result, "error")
    assert [line for line in lines(result, "warning") if " count " not in line] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_damage_is_one_clear_line(
    layout: Layout, kind: str, tmp_path: Path, verify: Callable[[Layout], Result]
) -> None:
    harm, words = KINDS[kind]
    named = harm(layout, folder(layout, tmp_path))
    if named is None:
        pytest.skip(f"{kind} can't happen to {layout.name}")
    result = verify(layout)
    assert result.exit_code == 1, result.output
    (line,) = lines(result, "error")
    assert named in line and re.search(words, line), line
