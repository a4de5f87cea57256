"""Damaged pictures, volumes and tables of a data set."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from faults.damage import BINARY_FILE, NOISE, Damage, written
from faults.feeding import Given

VERIFY_PICTURES = ("data", "verify", "busi", "--data-root", "data")
VERIFY_VOLUMES = ("data", "verify", "la", "--data-root", "data")


def pictures() -> Iterator[Given]:
    """Yields a BUSI folder with one damaged image, and one with a damaged mask."""
    from PIL import Image

    def png(array: Any) -> bytes:
        out = io.BytesIO()
        Image.fromarray(array).save(out, "PNG")
        return out.getvalue()

    damages: dict[str, tuple[Damage, str]] = {
        name: (damage, "either" if "middle" in name else "refuse") for name, damage in BINARY_FILE.items()
    }
    damages |= {
        "of no pixel": (written(b"\x89PNG\r\n\x1a\n" + bytes(30)), "refuse"),
        "bomb": (written(_bomb()), "refuse"),
        "a jpeg of noise": (written(b"\xff\xd8\xff\xe0" + NOISE), "refuse"),
        "other size": (written(png(np.zeros((9, 9, 3), np.uint8))), "refuse"),
        "a gif": (written(b"GIF89a" + NOISE), "refuse"),
    }
    for file in ("benign (1).png", "benign (1)_mask.png"):
        for name, (damage, right) in damages.items():
            yield Given("images", f"{file} {name}", VERIFY_PICTURES, _busi(png, file, damage), right)  # type: ignore[arg-type]
    yield Given("images", "well", VERIFY_PICTURES, _busi(png, "", lambda file: None), "serve")


def _bomb() -> bytes:
    from faults.inputs_predictions import flat_png

    return flat_png(30_000)


def _busi(png: Callable[[Any], bytes], file: str, damage: Damage) -> Callable[[Path], object]:
    def change(work: Path) -> None:
        rng = np.random.default_rng(3)
        for kind in ("benign", "malignant", "normal"):
            folder = work / "data" / "busi" / kind
            folder.mkdir(parents=True)
            for number in range(1, 4):
                mask = np.zeros((40, 50), np.uint8)
                mask[10:20, 10 : 20 + number] = 255 * (kind != "normal")
                (folder / f"{kind} ({number}).png").write_bytes(png(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)))
                (folder / f"{kind} ({number})_mask.png").write_bytes(png(mask))
        if file:
            damage(work / "data" / "busi" / "benign" / file)

    return change


def volumes() -> Iterator[Given]:
    """Yields NIfTI and HDF5 volumes to score or verify."""
    for name, damage in BINARY_FILE.items():
        yield Given("volumes", f"h5 {name}", VERIFY_VOLUMES, _la(damage), "either" if "middle" in name else "refuse")
    for name, make in hdf5().items():
        yield Given("volumes", f"h5 {name}", VERIFY_VOLUMES, _la(make))
    yield Given("volumes", "h5 well", VERIFY_VOLUMES, _la(lambda file: None), "serve")


def hdf5() -> dict[str, Damage]:
    """Returns ways to write an HDF5 file that the reader of LA refuses."""
    import h5py

    def rewritten(write: Callable[[Any], object]) -> Damage:
        def damage(file: Path) -> None:
            file.unlink()
            with h5py.File(file, "w") as content:
                write(content)

        return damage

    image, label = np.random.default_rng(1).random((20, 20, 20), dtype=np.float32), np.zeros((20, 20, 20), np.uint8)

    def pair(**replaced: Any) -> Damage:
        def write(content: Any) -> None:
            for name, value in {"image": image, "label": label, **replaced}.items():
                if value is not None:
                    content[name] = value

        return rewritten(write)

    def declared(content: Any) -> None:
        content.create_dataset("image", (4000, 4000, 4000), "f4", chunks=(64, 64, 64))
        content["label"] = label

    def external(content: Any) -> None:
        content["image"] = h5py.ExternalLink("/etc/nothing.h5", "image")
        content["label"] = label

    def raw(content: Any) -> None:
        content.create_dataset("image", (20, 20, 20), "f4", external=[("/etc/passwd", 0, 32000)])
        content["label"] = label

    return {
        "without image": pair(image=None),
        "without label": pair(label=None),
        "nothing": pair(image=None, label=None),
        "other shapes": pair(label=label[1:]),
        "two axes": pair(image=image[0]),
        "texts": pair(image="hello"),
        "nan": pair(image=image * np.nan),
        "labels 200": pair(label=label + 200),
        "label fractions": pair(label=label + 0.5),
        "image of no voxel": pair(image=image[:0], label=label[:0]),
        "compound": pair(image=np.zeros((20, 20, 20), dtype="f4,i4")),
        "declared 4000^3": rewritten(declared),
        "external link": rewritten(external),
        "external raw file": rewritten(raw),
        "image is a group": rewritten(lambda content: content.create_group("image")),
        "complex": pair(image=image + 1j),
        "soft link to nothing": rewritten(lambda content: content.__setitem__("image", h5py.SoftLink("/nothing"))),
    }


def _la(damage: Damage) -> Callable[[Path], object]:
    def change(work: Path) -> None:
        import h5py

        rng = np.random.default_rng(2)
        root = work / "data" / "la"
        for number in range(3):
            folder = root / f"CASE{number:03d}"
            folder.mkdir(parents=True)
            with h5py.File(folder / "mri_norm2.h5", "w") as content:
                content["image"] = rng.random((20, 20, 20), dtype=np.float32)
                content["label"] = (rng.random((20, 20, 20)) > 0.9).astype(np.uint8)
        damage(root / "CASE000" / "mri_norm2.h5")

    return change
