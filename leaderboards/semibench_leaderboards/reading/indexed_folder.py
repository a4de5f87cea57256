"""What a run folder becomes in the index of its folder of runs: the rows of the tables."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from semibench.contracts.identity import Entry, Replicate, RunSpec, Track
from semibench.runfolder.format import RunFolderError
from semibench.runfolder.reading import RunFolder, reason_of
from semibench.runfolder.records import Result, ScoreSummary

COLUMNS = (
    "folder", "stamp", "error", "key", "row", "track", "entry", "draw", "fold", "seed", "state", "ended", "code", "phantom",
    "protocol", "dataset", "recipe", "method", "backbone", "status", "provenance", "split", "result", "copy_of",
)  # fmt: skip


@dataclass(frozen=True)
class IndexedFolder:
    """The contents of a run folder as rows of the tables."""

    folder: str
    values: tuple[Any, ...]
    """In the order of COLUMNS."""
    parts: dict[str, str]
    """Digest -> JSON of the track and the entry."""
    scores: bytes


def read_folder(runs: Path, changed: tuple[str, str]) -> IndexedFolder:
    """Reads one folder of a folder of runs. changed: its name, and the stamp of its files."""
    name, stamp = changed
    folder = runs / name
    try:
        return _readable(folder, name, stamp)
    except (
        RunFolderError,
        ValueError,
        OSError,
    ) as error:  # the last two: a spec without a recipe, a folder without permission
        empty = dict.fromkeys(COLUMNS) | {"folder": name, "stamp": stamp, "error": reason_of(error, folder)}
        return IndexedFolder(name, tuple(empty.values()), {}, b"")


class Figures(Result):
    """result.json without its scores, which are stored packed."""

    scores: tuple[ScoreSummary, ...] = ()


def _readable(folder: Path, name: str, stamp: str) -> IndexedFolder:
    run = RunFolder(folder)
    run.check()
    spec, status, provenance, result = run.spec, run.recorded_status, run.provenance, run.result
    texts = spec.track.model_dump_json(), spec.entry.model_dump_json()
    track, entry, row = _digests(*texts)
    values = {
        "folder": name, "stamp": stamp, "error": None, "key": run.key, "row": row, "track": track, "entry": entry,
        **spec.replicate.model_dump(mode="json"), "state": status.state if status else "new",
        "ended": status.ended if status else None, "code": provenance.code, "phantom": int(spec.track.is_phantom),
        "protocol": spec.track.protocol.name, "dataset": spec.track.dataset.name, "recipe": spec.recipe.name,
        "method": spec.entry.method.name, "backbone": spec.entry.backbone.name,
        "status": status.model_dump_json() if status else None, "provenance": provenance.model_dump_json(),
        "split": run.split.digest if run.split else "", "copy_of": None,
        "result": result.model_dump_json(exclude={"scores"}) if result else None,
    }  # fmt: skip
    parts = dict(zip((track, entry), texts, strict=True))
    packed = zlib.compress(SCORES.dump_json(result.scores), 1) if result else b""
    return IndexedFolder(name, tuple(values[column] for column in COLUMNS), parts, packed)


@lru_cache(maxsize=4096)
def _digests(track: str, entry: str) -> tuple[str, str, str]:
    """Digests of a track, an entry (both as JSON) and their row, which the replicates of a row share."""
    spec = RunSpec(
        track=Track.model_validate_json(track), entry=Entry.model_validate_json(entry), replicate=Replicate()
    )
    return spec.track.digest(), spec.entry.digest(), spec.row


SCORES = TypeAdapter(tuple[ScoreSummary, ...])


def unpacked(scores: bytes) -> tuple[ScoreSummary, ...]:
    """Unpacks the scores of a result."""
    return SCORES.validate_json(zlib.decompress(scores)) if scores else ()
