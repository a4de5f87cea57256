"""The user's configuration files, and the folders of plug-ins that they and the environment name. Imports nothing heavy."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from semibench.contracts.errors import UsageError

CONFIG = "semibench.toml"

PLUGINS = "SEMIBENCH_PLUGINS"
"""Environment variable: files and folders of plug-ins, separated as in PATH. `--plugins` adds to it, so that the processes that
a command starts find the same plug-ins."""


def config_files() -> tuple[Path, ...]:
    """Return the configuration files in order of precedence: ./semibench.toml, then the user's.

    The user's file is `config.toml` in the platform's configuration folder for `semibench` (`~/.config/semibench` on
    Linux). A `~/.config/semibench/config.toml` from an earlier version is still read on other platforms.
    """
    platform_file = platformdirs.user_config_path("semibench", appauthor=False) / "config.toml"
    earlier = Path.home() / ".config" / "semibench" / "config.toml"
    return Path.cwd() / CONFIG, earlier if earlier.is_file() and not platform_file.is_file() else platform_file


def read_config(file: Path) -> Mapping[str, Any] | None:
    """Return the content of a configuration file; None if the file does not exist.

    Raises:
        UsageError: if it can't be read as TOML.
    """
    if not file.is_file():
        return None
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:  # of TOML, UTF-8, a number of 5000 digits
        raise UsageError(f"{file} is not a readable TOML file: {error}. Correct it or remove it.") from error


def add_plugin_places(places: tuple[Path, ...]) -> None:
    """Let this process, and those that it starts, also look for plug-ins in these files and folders."""
    named = [str(place.absolute()) for place in places]
    before = [text for text in os.environ.get(PLUGINS, "").split(os.pathsep) if text and text not in named]
    os.environ[PLUGINS] = os.pathsep.join([*named, *before])


def plugin_places() -> tuple[tuple[Path, str], ...]:
    """Return the files and folders of plug-ins that are named, each with what names it.

    They come from the environment variable SEMIBENCH_PLUGINS, and from `plugins = [...]` in the configuration files, where a
    relative path is relative to its file.

    Raises:
        UsageError: if a configuration file can't be read, or `plugins` is no list of paths.
    """
    texts = [text for text in os.environ.get(PLUGINS, "").split(os.pathsep) if text]
    places = [(Path(text).expanduser().absolute(), f"{PLUGINS} or --plugins") for text in texts]
    for file in config_files():
        named = (read_config(file) or {}).get("plugins", [])
        if not isinstance(named, list) or not all(
            isinstance(text, str) and text.strip() and "\0" not in text for text in named
        ):
            raise UsageError(
                f'{file}: expected plugins = ["FILE OR FOLDER", ...] before the first [table]; found {named!r}'
            )
        places += [((file.parent / Path(text).expanduser()).absolute(), str(file)) for text in named]
    unique: dict[Path, str] = {}
    for path, source in places:
        unique.setdefault(path, source)
    return tuple(unique.items())
