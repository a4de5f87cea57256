"""Find the user's files, and the folder for decoded cases. Does not import torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semibench.blocks.datasets.folder_walk import plain_name, printable, sub_folders
from semibench.blocks.groups import cache_dir
from semibench.contracts.errors import UsageError
from semibench.discovery.configuration import CONFIG, config_files, read_config

__all__ = ["Attempt", "Location", "cache_dir", "config_files", "locate", "registered_folders"]

DATA = "SEMIBENCH_DATA"


@dataclass(frozen=True)
class Attempt:
    """One source that was tried. path: the folder, or None if the source names none; outcome: in words."""

    source: str
    path: Path | None
    outcome: str


@dataclass(frozen=True)
class Location:
    """The folder of a data set. path: None if none was found; source: what named it; tried: every source, in order."""

    name: str
    path: Path | None
    source: str | None
    tried: tuple[Attempt, ...]

    @property
    def named(self) -> bool:
        """Whether the user named any folder at all: then files are wanted, and no phantom may stand in for them unasked."""
        return any(attempt.path is not None for attempt in self.tried)

    def explain(self) -> str:
        """Describe every source that was tried, and how to name a folder, as text for the user."""
        if self.path is not None:
            head = f"data set {self.name!r}: {self.path} (from {self.source})"
        else:
            head = f"data set {self.name!r}: no folder found"
        lines = [
            f"  {a.source}: {a.outcome}" + (f" ({printable(a.path)})" if a.path is not None else "") for a in self.tried
        ]
        advice = (
            f"  To name a folder: --data-root FOLDER (that contains {self.name}/), or {DATA}=FOLDER, or in {CONFIG} or "
            f'{config_files()[-1]}\n    [data]\n    root = "FOLDER"\n    [data.paths]\n'
            f'    {self.name} = "FOLDER OF THIS DATA SET"'
        )
        return "\n".join([head, "  tried, in this order:", *lines, *([] if self.path is not None else [advice])])

    def lacking(self, tree: str) -> str:
        """Describe, as text for the user, where the files of a data set were looked for, and the folder tree that is expected."""
        return f"{self.explain()}\n  expected there:\n{tree}"


def locate(name: str, data_root: str | Path | None = None, *, aliases: Sequence[str] = ()) -> Location:
    """Find the folder of a data set.

    A given `data_root` (--data-root) is the only place. Without one, the sources are, in this order: SEMIBENCH_DATA,
    ./semibench.toml, the user's configuration file (see `config_files`). In a configuration file `[data.paths] name` precedes
    `[data] root`. The first existing folder wins.

    Args:
        name: name of the data set.
        data_root: a folder that contains data sets, or the folder of this one.
        aliases: other names of its folder. Capitals and punctuation are ignored, so BUSBRA is bus-bra.

    Raises:
        UsageError: for a configuration file that cannot be read.
    """
    names = (name, *aliases)
    tried: list[Attempt] = []
    given = None if data_root is None else Path(data_root).expanduser()
    roots: list[tuple[str, Path | None, bool]] = [("--data-root", given, True)]
    if given is None:
        roots.append((DATA, Path(os.environ[DATA]).expanduser() if os.environ.get(DATA) else None, True))
    for file in config_files() if given is None else ():
        section = _section(file)
        if section is None:
            roots.append((str(file), None, True))
            continue
        direct = {key: value for key, value in section.get("paths", {}).items() if key == name}
        roots.append((f"{file} [data.paths] {name}", _resolved(direct.get(name), file), False))
        roots.append((f"{file} [data] root", _resolved(section.get("root"), file), True))
    for source, folder, is_root in roots:
        home = None
        if folder is None:
            outcome = "not set" if not source.endswith(".toml") else "no such file"
        elif not _is_folder(folder):
            outcome = "no such folder"
        elif not is_root:
            home, outcome = folder, "found"
        else:
            home = _child(folder, names)
            outcome = "found" if home else f"has no folder {' or '.join(names)}"
        tried.append(Attempt(source, home or folder, outcome))
        if home is not None and printable(home) != str(home):
            raise UsageError(f"{printable(home)}: expected a path in UTF-8, found other bytes in it; rename the folder")
        if home is not None:
            return Location(name, home, source, tuple(tried))
    return Location(name, None, None, tuple(tried))


def registered_folders() -> dict[str, Path]:
    """Return name -> folder of every `[data.paths]`, ./semibench.toml before the user's file. May raise UsageError."""
    folders: dict[str, Path] = {}
    for file in config_files():
        for name, text in ((_section(file) or {}).get("paths") or {}).items():
            folder = _resolved(text, file)
            if folder is not None:
                folders.setdefault(name, folder)
    return folders


def _section(file: Path) -> Mapping[str, Any] | None:
    """Return the [data] table of a configuration file; None if the file does not exist."""
    content = read_config(file)
    if content is None:
        return None
    section = content.get("data", {})
    paths = section.get("paths", {}) if isinstance(section, dict) else None
    if not isinstance(paths, dict) or not all(isinstance(value, str) for value in paths.values()):
        raise UsageError(f'{file}: expected [data] root = "FOLDER" and [data.paths] name = "FOLDER"; found {section!r}')
    if any("\0" in text for text in (*paths.values(), str(section.get("root", "")))):
        raise UsageError(f"{file}: a folder's name can't hold the character \\0; found {section!r}")
    if not isinstance(section.get("root", ""), str):
        raise UsageError(f"{file}: [data] root must be a string; found {section['root']!r}")
    return section


def _resolved(value: str | None, file: Path) -> Path | None:
    """Resolve a path of a configuration file, relative to that file."""
    return None if not value else (file.parent / Path(value).expanduser()).resolve()


def _is_folder(path: Path) -> bool:
    """Returns whether a folder exists; False for text that can't be a path."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _child(root: Path, names: Sequence[str]) -> Path | None:
    """Return the folder of a data set under a root: of exactly one of the names, else of one that differs in capitals and
    punctuation; else the root itself, if it has such a name."""
    inside = {plain_name(path.name): path for path in reversed(sub_folders(root))}
    for name in names:
        if (root / name).is_dir():
            return root / name
        if plain_name(name) in inside:
            return inside[plain_name(name)]
    own = plain_name(root.resolve().name)
    return root if own in {plain_name(name) for name in names} else None
