"""Readers of pictures and masks: what a picture says beside its pixels is obeyed, told or refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semibench import CaseError
from semibench.blocks import read_colour, read_grey, read_mask, without_image_ending
from semibench.blocks.datasets.raster_files import picture_remarks

SHAPE = (6, 8)
DRAWN = np.zeros(SHAPE, bool)
DRAWN[1:4, 2:7] = True
GREY = (DRAWN * 255).astype(np.uint8)


def with_alpha(colour: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([colour, colour, colour, alpha]))


def palette(*colours: tuple[int, int, int]) -> Image.Image:
    """The mask as indices 0 and 1 of a palette."""
    image = Image.fromarray(DRAWN.astype(np.uint8))
    image.putpalette([part for colour in colours for part in colour])
    return image


WHITE, BLACK = np.full(SHAPE, 255, np.uint8), np.zeros(SHAPE, np.uint8)
SEEN: dict[str, Image.Image] = {
    "grey": Image.fromarray(GREY),
    "0 and 1": Image.fromarray(DRAWN.astype(np.uint8)),
    "one bit": Image.fromarray(DRAWN),
    "opaque": with_alpha(GREY, WHITE),
    "transparent background": with_alpha(GREY, GREY),
    "black and white palette": palette((0, 0, 0), (255, 255, 255)),
    "palette of 0 and 1": palette((0, 0, 0), (1, 1, 1)),
}
HIDDEN: dict[str, tuple[Image.Image, str]] = {
    "white, drawn in transparency": (with_alpha(WHITE, GREY), "expected an opaque mask"),
    "black, drawn in transparency": (with_alpha(BLACK, GREY), "expected an opaque mask"),
    "drawn in both": (with_alpha(GREY, np.roll(GREY, 1, 0)), "expected an opaque mask"),
    "palette of black alone": (palette((0, 0, 0), (0, 0, 0)), "a palette that shows several values alike"),
    "palette of nearly black": (palette((0, 0, 0), (0, 0, 1)), "(alike|as dark as black)"),
    "nearly black": (Image.fromarray(np.dstack([BLACK, BLACK, GREY // 255 * 2])), r"as dark as black \(0, 0, 2\)"),
    "red": (Image.fromarray(np.dstack([GREY, BLACK, BLACK])), r"unknown label values \[76\]"),
}


@pytest.mark.parametrize("kind", SEEN)
def test_masks_that_show_themselves_are_read(kind: str, tmp_path: Path) -> None:
    SEEN[kind].save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png", SHAPE), DRAWN)


@pytest.mark.parametrize("kind", HIDDEN)
def test_masks_that_hide_themselves_are_refused(kind: str, tmp_path: Path) -> None:
    image, words = HIDDEN[kind]
    image.save(tmp_path / "m.png")
    with pytest.raises(CaseError, match=rf"m\.png: .*{words}.*; "):
        read_mask(tmp_path / "m.png", SHAPE)


def test_further_pages_are_never_passed_over(tmp_path: Path) -> None:
    pages = [Image.fromarray(BLACK), Image.fromarray(GREY)]
    pages[0].save(tmp_path / "m.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(CaseError, match=r"m\.tif: expected one mask, found 2 pages; save the page"):
        read_mask(tmp_path / "m.tif", SHAPE)
    (remark,) = picture_remarks(tmp_path / "m.tif")
    assert "m.tif: expected one picture, found 2 pages" in remark


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_read_as_it_is_seen(orientation: int, tmp_path: Path) -> None:
    upright = np.arange(48, dtype=np.uint8).reshape(SHAPE)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright, 1), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    tag = Image.Exif()
    tag[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "p.png", exif=tag)
    assert np.array_equal(read_grey(tmp_path / "p.png"), upright)
    assert np.array_equal(read_colour(tmp_path / "p.png")[..., 1], upright)
    assert [f"(EXIF orientation {orientation})" in words for words in picture_remarks(tmp_path / "p.png")] == (
        [] if orientation == 1 else [True]
    )


def test_a_turned_mask_lies_as_its_image(tmp_path: Path) -> None:
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(GREY, 1))).save(tmp_path / "m.png", exif=tag)
    assert np.array_equal(read_mask(tmp_path / "m.png", SHAPE), DRAWN)


def test_transparency_of_a_picture_is_told(tmp_path: Path) -> None:
    with_alpha(WHITE, GREY).save(tmp_path / "p.png")
    (remark,) = picture_remarks(tmp_path / "p.png")
    assert "transparent pixels" in remark and "p.png" in remark
    with_alpha(GREY, WHITE).save(tmp_path / "p.png")
    assert picture_remarks(tmp_path / "p.png") == []


def tiff_bytes() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, "TIFF", compression="tiff_lzw")
    return stream.getvalue()


def png_bytes(width: int, height: int) -> bytes:
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


DAMAGE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "text": lambda: b"no picture",
    "half": lambda: png_bytes(8, 6)[:43],
    "far too large": lambda: png_bytes(60000, 60000),
    "no width": lambda: png_bytes(0, 6),
    "fewer pixels than declared": lambda: png_bytes(800, 600),
    "half a TIFF": lambda: tiff_bytes()[:-60],
    "TIFF with other bytes": lambda: tiff_bytes()[:8] + b"\xff" * 60,
    "a GIF's name for a bitmap": lambda: b"BM" + b"\xff" * 60,
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("read", [read_grey, read_colour, lambda path: read_mask(path, SHAPE)])
def test_any_damage_is_one_error(kind: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(DAMAGE[kind]())
    with pytest.raises(CaseError, match=r"p\.png: can't be read as an image .*; unpack or download it again") as caught:
        read(tmp_path / "p.png")
    assert "\n" not in str(caught.value)
    assert picture_remarks(tmp_path / "p.png") == []


def test_only_endings_of_images_are_taken_off() -> None:
    names = ["a.PNG", "pt1.2.3", "pt1.2.3.jpeg", "x.png.bak", "png", "a."]
    assert [without_image_ending(name) for name in names] == ["a", "pt1.2.3", "pt1.2.3", "x.png.bak", "png", "a."]
