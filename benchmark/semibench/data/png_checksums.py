"""Check the checksums that a PNG file carries.

Readers of pictures stop at the last pixel and then look at no checksum, so a flipped byte of a small mask gives a wrong mask, and
nothing says so.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from semibench.contracts.cases import CaseRef, Dataset
from semibench.contracts.errors import CaseError
from semibench.discovery.guard import calling

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HARMLESS = (b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"bKGD", b"hIST", b"sPLT")
"""Chunks such as comments, which change no pixel and may be damaged."""


def png_damage(data: bytes) -> str | None:
    """Returns what is wrong with the bytes of a PNG file; None if its checksums hold, or if it isn't one."""
    if not data.startswith(SIGNATURE):
        return None
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        if end > len(data):
            break
        name = kind.decode("latin-1")
        if (
            kind not in HARMLESS
            and zlib.crc32(memoryview(data)[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]
        ):
            return f"the checksum of its chunk {name!r} doesn't hold"
        if kind == b"IEND":
            return None
        at = end
    return "it was cut off before its end"


def check_pngs(dataset: Dataset, ref: CaseRef) -> None:
    """Raises CaseError, which names the file, if a PNG file of a case is damaged."""
    if dataset.fingerprint is not None:
        return
    with calling(dataset, "files"):
        files = [path for path in map(Path, dataset.files(ref)) if path.suffix.lower() == ".png" and path.is_file()]
    for path in files:
        damage = png_damage(path.read_bytes())
        if damage is not None:
            raise CaseError(f"{path}: expected a whole PNG file, but {damage}; copy the file again")
