"""The one walk through the folders of a data set: which files are seen, under which names, and which are passed over."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from semibench.contracts.errors import LayoutError

SYSTEM_FILES = frozenset({"desktop.ini", "thumbs.db", "icon\r"})
"""Files that an operating system leaves in folders, in lower case."""


@dataclass(frozen=True)
class FoundFile:
    """A file in a folder.

    Attributes:
        path: where it is.
        relative: its path inside the folder, with "/", in composed Unicode (NFC): macOS stores names decomposed.
    """

    path: Path
    relative: str


def composed(text: str) -> str:
    """Returns a name in composed Unicode (NFC), the form in which names are compared."""
    return unicodedata.normalize("NFC", text)


def printable(path: object) -> str:
    """Returns a path as text that can be printed: bytes that are no UTF-8 are shown as escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def plain_name(name: str) -> str:
    """Returns a name without capitals and punctuation, for comparing the names of folders and data sets."""
    return "".join(letter for letter in composed(name).casefold() if letter.isalnum())


def passed_over(name: str) -> bool:
    """Returns whether a file or folder is never part of a data set: hidden, or left by the operating system."""
    return name.startswith((".", "__MACOSX")) or name.casefold() in SYSTEM_FILES


def walk_files(base: Path) -> list[FoundFile]:
    """Lists all files under a folder.

    Links to folders and files are followed; a link that leads back to a folder above itself is passed over. So are files that
    `passed_over` names.

    Args:
        base: an existing folder.

    Returns:
        The files, sorted by path.

    Raises:
        LayoutError: if a folder can't be listed, or a file has a name that isn't UTF-8.
    """
    found: list[FoundFile] = []
    _walk(base, "", frozenset(), found)
    return sorted(found, key=lambda file: file.path)


def _walk(folder: Path, lead: str, above: frozenset[str], found: list[FoundFile]) -> None:
    here = os.path.realpath(folder)
    if here in above:
        return
    try:
        entries = [
            (path.name, path.is_dir(), path.is_file()) for path in folder.iterdir() if not passed_over(path.name)
        ]
    except OSError as error:
        raise LayoutError(
            f"{printable(folder)}: the folder can't be listed ({error.strerror or error}); make it readable, or take it out"
        ) from error
    for name, is_folder, is_file in entries:
        if printable(name) != name:
            raise LayoutError(
                f"{printable(folder / name)}: expected a name in UTF-8, found other bytes in it; rename it, or take it out"
            )
        relative = lead + composed(name)
        if is_folder:
            _walk(folder / name, f"{relative}/", above | {here}, found)
        elif is_file:
            found.append(FoundFile(folder / name, relative))


def sub_folders(folder: Path) -> list[Path]:
    """Lists the folders directly inside a folder, sorted by name, without those that `passed_over` names.

    Args:
        folder: any path.

    Returns:
        The folders; none if `folder` doesn't exist or can't be listed.
    """
    try:
        return sorted(path for path in folder.iterdir() if not passed_over(path.name) and path.is_dir())
    except OSError:
        return []
