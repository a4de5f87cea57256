"""`bench export`: writes a run to one file that anybody can check. Two exports of one run are identical byte for byte.

A bundle without predictions is ten times smaller. Boards can be made of it, but nobody can compute its numbers again.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semibench.contracts.errors import UsageError
from semibench.contracts.identity import sha256
from semibench.files import DamagedFileError, json_object, write_atomically
from semibench.runfolder.format import PREDICTIONS, SPEC_FILE, SYNTHETIC_FILE
from semibench.runfolder.reading import RunFolder
from semibench.runfolder.records import Provenance, Result, SplitRecord
from semibench.runfolder.tables import SCORES_FILE
from semibench_leaderboards.evidence.containers import Container, ContainerError, Folder

FORMAT = "semibench-bundle-1"
MANIFEST = "bundle.json"
NEEDED = (SPEC_FILE, SplitRecord.FILE, Result.FILE, SCORES_FILE)
RECORDS = (*NEEDED, Provenance.FILE, SYNTHETIC_FILE)
MOMENT = (1980, 1, 1, 0, 0, 0)
"""Time of every entry, so that a bundle doesn't depend on the clock."""


def is_prediction(name: str) -> bool:
    """Whether a file of a run folder, by its path in it, is a stored prediction."""
    return name.startswith(f"{PREDICTIONS}/") and name.endswith(".npz")


def contents(folder: Folder, *, predictions: bool = True) -> list[str]:
    """The files of a run folder that go into a bundle, sorted: records and, unless they aren't wanted, stored predictions.

    Checkpoints, logs and anything with a path of this machine are left out.
    """
    records = [name for name in RECORDS if folder.has(name)]
    stored = [name for name in folder.names() if is_prediction(name)] if predictions else []
    return sorted([*records, *stored])


def export(run: Path, out: Path, *, predictions: bool = True) -> dict[str, Any]:
    """Writes a bundle of a finished run and returns its manifest.

    Args:
        run: the run folder.
        out: the file to write.
        predictions: whether the predicted label maps go into the bundle, so that its numbers can be computed again.

    Raises:
        UsageError: the run isn't done, or predictions are wanted and it stored none.
    """
    folder = Folder(run)
    missing = [name for name in NEEDED if not folder.has(name)]
    run_folder = RunFolder(run) if folder.has(SPEC_FILE) else None
    if missing or run_folder is None or run_folder.state != "done":
        state = run_folder.state if run_folder is not None else "none"
        raise UsageError(f"{run} is not a finished run (state {state}, missing: {', '.join(missing) or 'nothing'})")
    run_folder.check()
    names = contents(folder, predictions=predictions)
    if predictions and not any(is_prediction(name) for name in names):
        raise UsageError(
            f"{run} stored no predictions, so nobody could check its numbers; run it without --no-predictions, or export it "
            "without predictions (--no-predictions)"
        )
    spec = run_folder.spec
    files = {name: {"sha256": sha256(data), "bytes": len(data)} for name, data in _bytes(folder, names)}
    manifest = {"format": FORMAT, "key": spec.key, "row": spec.row, "track": spec.track.digest(), "files": files}
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    def write(draft: Path) -> None:
        with zipfile.ZipFile(draft, "w") as archive:
            _add(archive, MANIFEST, text.encode())
            for name, data in _bytes(folder, names):
                _add(archive, name, data)

    write_atomically(out, write)
    return manifest


def _bytes(folder: Container, names: list[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        yield name, folder.read(name)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, MOMENT)
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    packed = name.endswith(".npz")
    entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    archive.writestr(entry, data, compresslevel=None if packed else 6)


def read_manifest(container: Container) -> dict[str, Any]:
    """The manifest of a bundle. Raises ContainerError where it is missing or has a format that this version doesn't know."""
    if not container.has(MANIFEST):
        raise ContainerError(
            f"{container.path} is not a bundle: it has no {MANIFEST}; make one with `bench export RUN --out FILE`"
        )
    try:
        manifest = json_object(container.read(MANIFEST), f"{container.path}: {MANIFEST}")
    except DamagedFileError as error:
        raise ContainerError(str(error)) from error
    if manifest.get("format") != FORMAT or not isinstance(manifest.get("files"), dict):
        raise ContainerError(
            f"{container.path}: expected a bundle of format {FORMAT}, found {manifest.get('format')!r}"
        )
    return manifest
