"""Shards: decoded cases in a few flat files, written whole and read through the page cache.

A shard is a folder with `images.f32` (float32, case after case), `labels.u8` (uint8) and `index.json` (shapes, offsets,
geometry, content of every case, and the sha256 of both files). It appears by one rename and never changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from semibench.contracts.cases import Case, Frame
from semibench.contracts.errors import SemibenchError
from semibench.contracts.identity import canonical, sha256
from semibench.data.hashes import HashMemory

FORMAT = 1
"""Version of the layout; raised when it changes, so that older shards are not looked at."""


class DamagedShard(SemibenchError):
    """A shard whose files are missing, cut short or changed; the cache decodes its cases again."""


@dataclass(frozen=True)
class Record:
    """One case in a shard. shape: (C, *spatial); image, label: offsets in elements (label None: it has none)."""

    id: str
    content: str
    shape: tuple[int, ...]
    image: int
    label: int | None
    spacing: tuple[float, ...] | None
    frame: Frame


class Shard:
    """A shard that was found whole. Arrays are memory-mapped copy-on-write: writing to them never reaches the file."""

    def __init__(self, folder: Path, memory: HashMemory) -> None:
        self.folder = folder
        try:
            index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            stated = index.pop("digest")
            if sha256(canonical(index)) != stated:
                raise DamagedShard(f"{folder}: index.json was changed")
            for name, expected in index["files"].items():
                file = folder / name
                if file.stat().st_size != expected["size"] or memory.sha256(file) != expected["sha256"]:
                    raise DamagedShard(f"{file}: expected {expected['size']} bytes, sha256 {expected['sha256'][:12]}")
            self.records = {record["id"]: _record(record) for record in index["cases"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedShard(f"{folder}: {error}") from error

    @cached_property
    def _images(self) -> np.ndarray:
        return _map(self.folder / "images.f32", np.dtype("<f4"))

    @cached_property
    def _labels(self) -> np.ndarray:
        return _map(self.folder / "labels.u8", np.dtype("u1"))

    def image(self, record: Record) -> np.ndarray:
        """(C, *spatial) float32."""
        return self._images[record.image : record.image + int(np.prod(record.shape))].reshape(record.shape)

    def label(self, record: Record) -> np.ndarray | None:
        """(*spatial) uint8, or None."""
        if record.label is None:
            return None
        shape = record.shape[1:]
        return self._labels[record.label : record.label + int(np.prod(shape))].reshape(shape)


def write_shard(folder: Path, cases: Iterable[tuple[str, Case]]) -> Path:
    """Write (content, case) pairs as one new shard under `folder`; nothing is seen of it before it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
    try:
        records: list[dict[str, Any]] = []
        with ExitStack() as stack:
            images = _Appender(stack.enter_context((draft / "images.f32").open("wb")))
            labels = _Appender(stack.enter_context((draft / "labels.u8").open("wb")))
            for content, case in cases:
                records.append(
                    {
                        "id": case.ref.id,
                        "content": content,
                        "shape": list(case.image.shape),
                        "image": images.add(np.ascontiguousarray(case.image.numpy(), dtype="<f4")),
                        "label": None if case.label is None else labels.add(np.ascontiguousarray(case.label.numpy())),
                        "spacing": None if case.spacing is None else [float(v) for v in case.spacing],
                        "frame": {
                            "shape": [int(n) for n in case.frame.shape],
                            "spacing": None if case.frame.spacing is None else [float(v) for v in case.frame.spacing],
                            "box": None if case.frame.box is None else [[int(a), int(b)] for a, b in case.frame.box],
                        },
                    }
                )
            files = {"images.f32": images.finish(), "labels.u8": labels.finish()}
        index: dict[str, Any] = {"format": FORMAT, "cases": records, "files": files}
        digest = sha256(canonical(index))
        with (draft / "index.json").open("w", encoding="utf-8") as stream:
            stream.write(canonical({**index, "digest": digest}))
            stream.flush()
            os.fsync(stream.fileno())
        target = folder / f"shard-{digest[:16]}"
        if target.exists():  # the same cases, damaged: the caller found them missing
            shutil.rmtree(target)
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return target


class _Appender:
    """Appends arrays to a file; keeps the count of elements and the hash of the bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._count, self._size, self._hash = stream, 0, 0, hashlib.sha256()

    def add(self, array: np.ndarray) -> int:
        """Offset, in elements, at which the array begins."""
        start, data = self._count, array.tobytes()
        self._stream.write(data)
        self._hash.update(data)
        self._count += array.size
        self._size += len(data)
        return start

    def finish(self) -> dict[str, Any]:
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return {"size": self._size, "sha256": self._hash.hexdigest()}


def _map(file: Path, kind: np.dtype) -> np.ndarray:
    if file.stat().st_size == 0:  # an empty file can't be mapped
        return np.zeros(0, dtype=kind)
    return np.memmap(file, dtype=kind, mode="c")


def _record(raw: Mapping[str, Any]) -> Record:
    frame = raw["frame"]
    return Record(
        id=raw["id"],
        content=raw["content"],
        shape=tuple(raw["shape"]),
        image=raw["image"],
        label=raw["label"],
        spacing=None if raw["spacing"] is None else tuple(raw["spacing"]),
        frame=Frame(
            shape=tuple(frame["shape"]),
            spacing=None if frame["spacing"] is None else tuple(frame["spacing"]),
            box=None if frame["box"] is None else tuple((a, b) for a, b in frame["box"]),
        ),
    )
