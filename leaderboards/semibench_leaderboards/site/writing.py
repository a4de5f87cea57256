"""Writes the files of the page, each atomically, only into a folder that is empty or has an earlier page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from semibench.contracts.errors import UsageError
from semibench.files import write_atomically

MARKER = "semibench-site.json"
"""Lists the files of the page; a folder that has it may be written again."""

KIND = "semibench leaderboards"


def write_files(files: Mapping[str, str], out: Path) -> None:
    """Writes the files and removes those of an earlier page that are not among them; other files in the folder stay.

    Each file is written atomically and every page is self-contained, so a reader never sees half of one.

    Args:
        files: name relative to `out` -> text.
        out: the folder.

    Raises:
        UsageError: `out` is a file, or a folder that isn't empty and has no earlier page.
    """
    before = previous_files(out)
    out.mkdir(parents=True, exist_ok=True)
    _mark(out, sorted({*before, *files}))  # first, so that an interrupted run can be repeated
    for name in sorted(files, key=lambda name: (name == "index.html", name)):
        text = files[name]
        write_atomically(out / name, lambda draft, text=text: draft.write_text(text, encoding="utf-8", newline="\n"))  # type: ignore[misc]
    for name in before:
        if name not in files and (out / name).parent.resolve().is_relative_to(out.resolve()):
            (out / name).unlink(missing_ok=True)
    _mark(out, sorted(files))


def previous_files(out: Path) -> list[str]:
    """The files of an earlier page in a folder. Raises UsageError where the folder contains something else."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; the page is a folder; name one that is empty or doesn't exist yet")
    marker = out / MARKER
    if marker.is_file():
        try:
            record = json.loads(marker.read_text(encoding="utf-8"))
            if record["kind"] == KIND:
                return [str(name) for name in record["files"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{marker} was not written by `bench leaderboard` ({error}); empty the folder or name another"
            ) from error
        raise UsageError(f"{marker} says {record['kind']!r}, expected {KIND!r}; empty the folder or name another")
    if out.is_dir():
        names = sorted(entry.name for entry in out.iterdir())
        if names:
            some = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
            raise UsageError(
                f"--out {out} isn't empty and has no earlier page ({some}); name an empty folder, or one that "
                "`bench leaderboard --format html` wrote"
            )
    return []


def _mark(out: Path, files: list[str]) -> None:
    text = json.dumps({"kind": KIND, "files": files}, indent=1) + "\n"
    write_atomically(out / MARKER, lambda draft: draft.write_text(text, encoding="utf-8", newline="\n"))
