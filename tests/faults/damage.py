"""Ways to damage a file: each takes the file's path and leaves a malformed file there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Damage = Callable[[Path], object]
NOISE = np.random.default_rng(5).integers(0, 256, 4096, dtype=np.uint8).tobytes()


def written(data: bytes) -> Damage:
    """Returns a damage that replaces the content."""

    def damage(file: Path) -> None:
        if file.is_dir():
            file.rmdir()
        file.unlink(missing_ok=True)
        file.write_bytes(data)

    return damage


def cut(share: float) -> Damage:
    """Returns a damage that keeps the first part of a file."""
    return lambda file: file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def flipped(share: float) -> Damage:
    """Returns a damage that inverts 16 bytes at a place."""

    def damage(file: Path) -> None:
        data = bytearray(file.read_bytes())
        start = min(int(len(data) * share), len(data) - 16)
        data[start : start + 16] = bytes(byte ^ 0xFF for byte in data[start : start + 16])
        file.write_bytes(bytes(data))

    return damage


def gone(file: Path) -> None:
    """Removes the file."""
    file.unlink()


def folder_instead(file: Path) -> None:
    """Puts a folder in the file's place."""
    file.unlink()
    file.mkdir()


def dangling_link(file: Path) -> None:
    """Puts a link to nothing in the file's place."""
    file.unlink()
    file.symlink_to("nothing-is-here")


def loop_link(file: Path) -> None:
    """Puts a link to itself in the file's place."""
    file.unlink()
    file.symlink_to(file.name)


def pipe(file: Path) -> None:
    """Puts a named pipe that nobody writes in the file's place."""
    file.unlink()
    os.mkfifo(file)


TEXT_FILE: dict[str, Damage] = {
    "empty": written(b""),
    "cut": cut(0.5),
    "cut by a byte": lambda file: file.write_bytes(file.read_bytes().rstrip()[:-1]),
    "garbage": written(NOISE),
    "zeros": written(bytes(512)),
    "latin-1": lambda file: file.write_bytes('{"name": "Müller"}'.encode("latin-1")),
    "utf-16": lambda file: file.write_bytes(file.read_text(encoding="utf-8").encode("utf-16")),
    "null": written(b"null"),
    "list": written(b"[]"),
    "number": written(b"7"),
    "text": written(b'"text"'),
    "empty object": written(b"{}"),
    "deep": written(b"[" * 100_000),
    "deep object": written(b'{"a":' * 60_000 + b"1" + b"}" * 60_000),
    "huge number": written(b'{"format": 1' + b"0" * 5000 + b"}"),
    "NaN": written(b'{"format": NaN}'),
    "repeated": lambda file: file.write_bytes(file.read_bytes() * 2),
    "folder": folder_instead,
    "link to nothing": dangling_link,
    "link to itself": loop_link,
}
"""Damages to a file of text by name."""

BINARY_FILE: dict[str, Damage] = {
    "empty": written(b""),
    "cut": cut(0.5),
    "cut by a byte": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "head only": lambda file: file.write_bytes(file.read_bytes()[:8]),
    "garbage": written(NOISE),
    "zeros": written(bytes(2048)),
    "flipped at the start": flipped(0.0),
    "flipped in the middle": flipped(0.5),
    "flipped at the end": flipped(1.0),
    "text": written(b"this is text\n"),
    "folder": folder_instead,
    "link to nothing": dangling_link,
}
"""Damages to a binary file by name."""


def edited(change: Callable[[Any], object]) -> Damage:
    """Returns a damage that changes the parsed content of a JSON file; what `change` returns, if anything, replaces it."""

    def damage(file: Path) -> None:
        content = json.loads(file.read_text(encoding="utf-8"))
        replaced = change(content)
        file.write_text(json.dumps(content if replaced is None else replaced), encoding="utf-8")

    return damage


def put(path: str, value: Any) -> Damage:
    """Returns a damage that puts a value at a dotted path of a JSON file."""

    def change(content: Any) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            content = content[int(parent)] if isinstance(content, list) else content[parent]
        if isinstance(content, list):
            content[int(last)] = value
        else:
            content[last] = value

    return edited(change)


def dropped(path: str) -> Damage:
    """Returns a damage that removes what stands at a dotted path of a JSON file."""

    def change(content: Any) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            content = content[int(parent)] if isinstance(content, list) else content[parent]
        del content[int(last) if isinstance(content, list) else last]

    return edited(change)
