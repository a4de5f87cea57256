"""Shards: decoded cases in a few flat files, written at once and read through the page cache.

A shard is a folder with `images.f32` (float32, case by case), `labels.u8` (uint8) and `index.json` (shapes, offsets, geometry
and content of every case, and the sha256 of both files). It appears by a single rename and never changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
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
"""Version of the layout; increase it with every change, so that older shards are ignored."""


class DamagedShard(SemibenchError):
    """The files of a shard are missing, truncated or changed; the cache decodes its cases again."""


@dataclass(frozen=True)
class Record:
    """One case in a shard."""

    id: str
    """Id of the case."""
    content: str
    """Digest of its files."""
    shape: tuple[int, ...]
    """(C, *spatial)."""
    image: int
    """Offset of the image, in elements."""
    label: int | None
    """Offset of the label, in elements; None: it has no label."""
    spacing: tuple[float, ...] | None
    """Voxel size of the working grid in mm, or None."""
    frame: Frame
    """Where the working grid lies in the native one."""


class Shard:
    """An intact shard. Arrays are memory-mapped copy-on-write: writing to them never reaches the file."""

    def __init__(self, folder: Path, memory: HashMemory) -> None:
        self.folder = folder
        try:
            index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            stated = index.pop("digest")
            if sha256(canonical(index)) != stated:
                raise DamagedShard(f"{folder}: index.json was changed")
            self._sizes = {folder / name: int(expected["size"]) for name, expected in index["files"].items()}
            for name, expected in index["files"].items():
                file = folder / name
                if file.stat().st_size != expected["size"] or memory.sha256(file) != expected["sha256"]:
                    raise DamagedShard(f"{file}: expected {expected['size']} bytes, sha256 {expected['sha256'][:12]}")
            self.records = {record["id"]: _record(record) for record in index["cases"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedShard(f"{folder}: {error}") from error

    def check_size(self) -> None:
        """Raise DamagedShard if a file is shorter than it was. A file that was removed stays readable while it is mapped."""
        for file, size in self._sizes.items():
            try:
                found = file.stat().st_size
            except OSError:
                continue
            if found < size:
                raise DamagedShard(
                    f"{file} was cut to {found} of {size} bytes while this process reads it. Run the same command again: "
                    "it decodes these cases again and resumes"
                )

    @cached_property
    def _images(self) -> np.ndarray:
        return _map(self.folder / "images.f32", np.dtype("<f4"))

    @cached_property
    def _labels(self) -> np.ndarray:
        return _map(self.folder / "labels.u8", np.dtype("u1"))

    def image(self, record: Record) -> np.ndarray:
        """Return the image, float32 (C, *spatial)."""
        return self._images[record.image : record.image + int(np.prod(record.shape))].reshape(record.shape)

    def label(self, record: Record) -> np.ndarray | None:
        """Return the label, uint8 (*spatial), or None."""
        if record.label is None:
            return None
        shape = record.shape[1:]
        return self._labels[record.label : record.label + int(np.prod(shape))].reshape(shape)


def write_shard(folder: Path, cases: Iterable[tuple[str, Case]]) -> Path:
    """Write (content, case) pairs as a new shard under `folder`; it appears only when it is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".draft-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    draft.mkdir()  # not mkdtemp, whose folders are for their owner only
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
        if target.exists():  # the same cases, but damaged: the caller did not find them
            shutil.rmtree(target)
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return target


class _Appender:
    """Appends arrays to a file, counts elements and hashes bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._count, self._size, self._hash = stream, 0, 0, hashlib.sha256()

    def add(self, array: np.ndarray) -> int:
        """Append an array; return the offset at which it starts, in elements."""
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
    if file.stat().st_size == 0:  # an empty file cannot be mapped
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
