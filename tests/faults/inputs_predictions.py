"""Malformed predictions to score, and weight files."""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from faults.damage import NOISE
from faults.feeding import FEW, SCORED, SMALL, Given
from faults.inputs_bundles import npy_bytes, spoil_deflate, zip_bytes
from faults.inputs_records import run_folder

# ---- predictions -----------------------------------------------------------------------------------------------------

SCORE = (
    "score",
    "given",
    "--protocol",
    "self",
    "--dataset",
    "tus",
    "--recipe",
    "smoke",
    *FEW,
    *SCORED,
    "--no-track",
    "--name",
    "somebody",
)


def predictions(base: Path) -> Iterator[Given]:
    """Yields label maps to score, one of which is malformed. base: folder with the run whose predictions are the others."""
    import nibabel
    from PIL import Image

    with np.load(min(_stored(base).iterdir())) as first:
        label = np.zeros_like(first["label"])
    rows, columns = label.shape

    def image(array: Any, **more: Any) -> bytes:
        out = io.BytesIO()
        Image.fromarray(array).save(out, "PNG", **more)
        return out.getvalue()

    def nifti(array: Any) -> bytes:
        return bytes(nibabel.Nifti1Image(array, np.eye(4)).to_bytes())

    def npy(array: Any, pickles: bool = False) -> bytes:
        out = io.BytesIO()
        np.save(out, array, allow_pickle=pickles)
        return out.getvalue()

    def dims(data: bytes, *sides: int) -> bytes:
        return data[:40] + struct.pack("<8h", len(sides), *sides, *[1] * (7 - len(sides))) + data[56:]

    good = nifti(label)
    contents: dict[str, tuple[str, bytes]] = {
        "npy empty": (".npy", b""),
        "npy garbage": (".npy", NOISE),
        "npy objects": (".npy", npy(np.array([{}], dtype=object), True)),
        "npy fractions": (".npy", npy(label + 0.5)),
        "npy nan": (".npy", npy(label * np.nan)),
        "npy structured": (".npy", npy(np.zeros((rows, columns), dtype="u1,u1"))),
        "npy cut": (".npy", npy(label)[:-5]),
        "npy of version 9": (".npy", b"\x93NUMPY\x09\x00" + npy(label)[8:]),
        "npy header 4000^3": (".npy", npy_bytes("(4000, 4000, 4000)", 9)),
        "npy header negative": (".npy", npy_bytes(f"(-{rows}, {columns})", rows * columns)),
        "npy header huge numbers": (".npy", npy_bytes("(" + "9" * 400 + ",)", 9)),
        "npz empty": (".npz", b""),
        "npz garbage": (".npz", NOISE),
        "npz deflate garbage": (".npz", spoil_deflate(zip_bytes({"label.npy": npy(label)}))),
        "npz no array": (".npz", zip_bytes({})),
        "npz two arrays": (".npz", zip_bytes({"a.npy": npy(label), "b.npy": npy(label)})),
        "npz bomb": (".npz", zip_bytes({"label.npy": bytes(10**9)})),
        "npz text": (".npz", zip_bytes({"label.npy": b"hello"})),
        "png empty": (".png", b""),
        "png cut": (".png", image(label)[:60]),
        "png garbage": (".png", NOISE),
        "png colour": (".png", image(np.zeros((rows, columns, 3), np.uint8))),
        "png alpha": (".png", image(np.zeros((rows, columns, 4), np.uint8))),
        "png 255": (".png", image(label + 255)),
        "png other size": (".png", image(np.zeros((9, 9), np.uint8))),
        "png is a jpeg": (".png", b"\xff\xd8\xff\xe0" + NOISE),
        "png bomb 15k": (".png", flat_png(15_000)),
        "png bomb 60k": (".png", flat_png(60_000)),
        "png of no pixel": (".png", flat_png(0)),
        "nifti empty": (".nii", b""),
        "nifti garbage": (".nii", NOISE),
        "nifti cut": (".nii", good[:400]),
        "nifti head only": (".nii", good[:100]),
        "nifti dims 900^3 short": (".nii", dims(nifti(np.zeros((9, 9, 9), np.uint8)), 900, 900, 900)),
        "nifti dims 32767^3": (".nii", dims(nifti(np.zeros((9, 9, 9), np.uint8)), 32767, 32767, 32767)),
        "nifti dims negative": (".nii", dims(good, -rows, columns)),
        "nifti dims none": (".nii", dims(good)),
        "nifti complex": (".nii", nifti(label.astype(np.complex64))),
        "nifti three axes": (".nii", nifti(np.zeros((rows, columns, 5), np.uint8))),
        "nifti type unknown": (".nii", good[:70] + b"\x99\x99" + good[72:]),
        "nifti.gz garbage": (".nii.gz", NOISE),
        "nifti.gz cut": (".nii.gz", gzip.compress(good)[:50]),
        "nifti.gz not zipped": (".nii.gz", good),
        "nifti.gz bomb": (".nii.gz", gzip.compress(bytes(3 * 10**8))),
        "txt": (".txt", b"0 0 0"),
        "mat": (".mat", NOISE),
    }
    for name, (ending, data) in contents.items():
        yield Given("predictions", name, SCORE, given(ending, data))
    yield Given("predictions", "well", SCORE, given(None, b""), "serve")
    for ending, data in (
        (".png", image(label)),
        (".npy", npy(label)),
        (".nii", good),
        (".nii.gz", gzip.compress(good)),
    ):
        yield Given("predictions", f"well, one as {ending}", SCORE, given(ending, data), "serve")
    yield Given("predictions", "none", SCORE, lambda work: (work / "given").mkdir())
    yield Given("predictions", "one lost", SCORE, given("", b""))


def flat_png(side: int) -> bytes:
    """A PNG of zeros, however large, in few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    squeeze = zlib.compressobj(9)
    row = bytes((side + 7) // 8 + 1)
    body = b"".join(squeeze.compress(row) for _ in range(side)) + squeeze.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _stored(work: Path) -> Path:
    return next((run_folder(work) / "predictions" / "last").iterdir())


def given(ending: str | None, data: bytes) -> Callable[[Path], object]:
    """Returns a damage that copies a run's predictions to `given/` and replaces the first (None: none; "": removes it)."""

    def damage(work: Path) -> None:
        shutil.copytree(_stored(work), work / "given")
        first = min((work / "given").iterdir())
        if ending is None:
            return
        first.unlink()
        if ending:
            first.with_suffix(ending).write_bytes(data)

    return damage


# ---- weights ---------------------------------------------------------------------------------------------------------


def weights() -> Iterator[Given]:
    """Yields files of start weights."""
    words = SMALL
    for ending in (".pt", ".pth", ".safetensors"):
        for name, data in {
            "empty": b"",
            "garbage": NOISE,
            "text": b"hello",
            "zip": zip_bytes({"a": b"b"}),
            "a long head": struct.pack("<Q", 2**62) + b"{}",
            "head of text": struct.pack("<Q", 5) + b"hello",
            "deep head": struct.pack("<Q", 100_000) + b"[" * 100_000,
        }.items():
            yield Given(
                "weights",
                f"{ending} {name}",
                (*words, "--weights", f"w{ending}"),
                lambda work, d=data, e=ending: (work / f"w{e}").write_bytes(d),
            )  # type: ignore[misc]
    for name, content in contents_of_weights().items():
        yield Given("weights", name, (*words, "--weights", "w.pt"), lambda work, c=content: _save(c, work / "w.pt"))  # type: ignore[misc]

    yield Given("weights", "well", (*words, "--weights", "w.pt"), _own_weights, "serve")


def _own_weights(work: Path) -> None:
    """Saves the network of the run as start weights."""
    import torch

    content = torch.load(run_folder(work) / "checkpoints" / "last.pt", weights_only=True)["method"]
    own = {name.removeprefix("student."): value for name, value in content.items() if name.startswith("student.")}
    torch.save(own, work / "w.pt")


def _save(content: Any, file: Path) -> None:
    import torch

    torch.save(content, file)


def contents_of_weights() -> dict[str, Any]:
    """Returns what a file of weights may hold but shouldn't."""
    import torch

    return {
        "a list": [torch.zeros(3)],
        "a tensor": torch.zeros(3),
        "a number": 3,
        "empty": {},
        "keys are numbers": {1: torch.zeros(3), "a": torch.zeros(3)},
        "values are numbers": {"a": 1.0},
        "names of one layer, other shapes": {"blocks.0.0.weight": torch.zeros(3)},
        "other names": {"banana": torch.zeros(3)},
        "nested": {"state_dict": {"state_dict": {"a": torch.zeros(3)}}},
        "nested numbers": {"state_dict": 3},
        "an object": SMALL,
    }
