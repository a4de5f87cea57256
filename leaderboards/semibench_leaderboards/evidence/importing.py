"""`bench import`: puts the runs of bundles into a folder of runs, where lists, boards and `bench matrix` find them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from semibench.contracts.errors import UsageError
from semibench.contracts.identity import SHORT
from semibench.runfolder.format import SPEC_FILE, RunFolderError, parse_spec
from semibench.runfolder.reading import RunFolder
from semibench.runfolder.records import Result, Status
from semibench_leaderboards.evidence.containers import ContainerError, Zip, first_few
from semibench_leaderboards.evidence.export import MANIFEST, NEEDED, RECORDS, is_prediction, read_manifest
from semibench_leaderboards.evidence.verify import file_problems

Outcome = Literal["imported", "there already"]


@dataclass(frozen=True)
class Imported:
    """What became of a bundle."""

    bundle: Path
    key: str
    folder: Path
    outcome: Outcome


def bundles_in(given: list[Path]) -> list[Path]:
    """The bundles that a user names, each by its file or by the folder in which several stand.

    Raises:
        UsageError: there is no such file or folder, or the folder holds no zip file.
    """
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(file for file in path.glob("*.zip") if not file.name.startswith("."))
            if not inside:
                raise UsageError(
                    f"expected bundles (*.zip, written by `bench export`) in the folder {path}, found none"
                )
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UsageError(f"expected a bundle or a folder with bundles, found nothing at {path}")
    return found


def import_bundle(bundle: Path, runs: Path) -> Imported:
    """Writes the run of a bundle as a finished run folder. What is there already is never changed.

    The digests of the files are compared with the manifest, and the records with each other. Numbers aren't computed again;
    `bench verify` does that.

    Raises:
        ContainerError: the file isn't a bundle, or is damaged.
        UsageError: the folder of runs holds this run with other numbers or unfinished, or another run in its place.
    """
    with Zip(bundle) as container:
        manifest = read_manifest(container)
        _refuse(bundle, file_problems(container))
        _refuse(bundle, [f"{name} is missing" for name in NEEDED if not container.has(name)])
        files = [name for name in container.names() if name != MANIFEST]
        _refuse(bundle, [f"{name} doesn't belong in a bundle" for name in files if not _belongs(name)])
        try:
            key = parse_spec(container.read(SPEC_FILE), f"{bundle}: {SPEC_FILE}").key
        except RunFolderError as error:
            raise ContainerError(str(error)) from error
        if manifest.get("key") != key:
            raise ContainerError(
                f"{bundle}: its manifest names the run {str(manifest.get('key'))[:SHORT]}, its spec is that of {key[:SHORT]}"
            )
        folder = runs / key[:SHORT]
        if folder.exists():
            _check_same(container, folder, bundle)
            return Imported(bundle, key, folder, "there already")
        draft = runs / f".{key[:SHORT]}.{os.getpid()}.import"
        try:
            _unpack(container, files, draft)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return Imported(bundle, key, folder, "imported")


def _belongs(name: str) -> bool:
    return name in RECORDS or is_prediction(name)


def _refuse(bundle: Path, problems: list[str]) -> None:
    if problems:
        raise ContainerError(f"{bundle} can't be imported: {first_few(problems)}")


def _check_same(container: Zip, folder: Path, bundle: Path) -> None:
    """Raises UsageError unless a folder holds the run of the bundle, finished and with the same result."""
    what = "put the bundle into another folder of runs (--runs), or move this one away"
    try:
        run = RunFolder(folder)
        run.check()
        state, result = run.state, run.result
    except RunFolderError as error:
        raise UsageError(f"{bundle}: {folder} is in its place and can't be read ({error}); {what}") from error
    if state != "done" or result is None:
        raise UsageError(f"{bundle}: {folder} holds this run, which is {state}; {what}")
    theirs = Result.from_bytes(container.read(Result.FILE), f"{bundle}: {Result.FILE}")
    if theirs.key != run.spec.key or theirs.scores != result.scores:
        raise UsageError(f"{bundle}: {folder} holds this run with other numbers; {what}")


def _unpack(container: Zip, files: list[str], draft: Path) -> None:
    """Writes the files and a status, and checks that they fit together. Raises ContainerError where they don't."""
    for name in files:
        target = draft / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(container.read(name))
    Status(state="done").to_disk(draft)
    try:
        RunFolder(draft).check()
    except RunFolderError as error:
        text = str(error).replace(f"{draft.absolute()}{os.sep}", "").replace(str(draft.absolute()), str(container.path))
        raise ContainerError(f"{container.path} can't be imported: {text}") from error
