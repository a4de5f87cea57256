"""A damaged byte of a PNG file is told, whatever the reader of pictures makes of it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command_line import bench

from semibench.data.png_checksums import SIGNATURE, png_damage


def png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


MASK = np.random.default_rng(4).integers(0, 2, (22, 24), dtype=np.uint8) * 255


def test_every_changed_byte_and_every_cut_is_found() -> None:
    data = png(MASK)
    assert png_damage(data) is None and png_damage(data + b"more") is None
    for at in range(len(SIGNATURE), len(data)):
        changed = bytearray(data)
        changed[at] ^= 0xFF
        assert png_damage(bytes(changed)), at
        assert png_damage(data[:at]), at


def test_some_of_these_are_read_with_other_pixels() -> None:
    """Why the checksums must be looked at: if this fails, the reader does it itself."""
    data, wrong = png(MASK), 0
    for at in range(len(SIGNATURE), len(data)):
        changed = bytearray(data)
        changed[at] ^= 0xFF
        try:
            with Image.open(io.BytesIO(bytes(changed))) as image:
                wrong += not np.array_equal(np.asarray(image), MASK)
        except (OSError, SyntaxError, ValueError):
            continue
    assert wrong > 0


def test_other_formats_and_damaged_comments_are_no_damage() -> None:
    assert png_damage(b"") is None and png_damage(b"GIF89a" + bytes(9)) is None
    data = png(MASK)
    comment = b"tEXt" + b"Comment\0hello"
    chunk = struct.pack(">I", len(comment) - 4) + comment + struct.pack(">I", zlib.crc32(comment) ^ 1)
    assert png_damage(data[:33] + chunk + data[33:]) is None


@pytest.mark.parametrize("file", ["a.png", "masks/a.png"])
def test_verify_and_runs_name_the_file(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "tus"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(1)
    for name in "abcdefgh":
        (folder / "images" / f"{name}.png").write_bytes(png(rng.integers(0, 256, (22, 24), dtype=np.uint8)))
        (folder / "masks" / f"{name}.png").write_bytes(png(MASK))
    rows = "".join(f"{name},{number},1\n" for number, name in enumerate("abcdefgh"))
    (folder / "tus.csv").write_text(f"id,patient,machine\n{rows}")
    path = folder / (file if "/" in file else f"images/{file}")
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    path.write_bytes(bytes(data))
    answer = bench("data", "verify", "tus", "--data-root", "data")
    assert answer.exit_code == 1 and f"{path.relative_to(tmp_path)}: expected a whole PNG file" in answer.stdout
    answer = bench(
        "run", "-p", "self", "-d", "tus", "-m", "supervised", "-r", "smoke", "--data-root", "data", "--no-track",
    )  # fmt: skip
    assert answer.exit_code == 1 and "expected a whole PNG file" in answer.stderr and "Traceback" not in answer.output
