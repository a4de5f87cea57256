"""Reading lists of ids and small tables that are files of a Python package."""

from __future__ import annotations

import csv
import io
from functools import cache
from importlib import resources


@cache
def read_id_list(package: str, name: str) -> tuple[str, ...]:
    """Read a list of ids, such as a published split, from a file of a package.

    Args:
        package: the package that holds the file, e.g. "my_plugin.datasets".
        name: path inside the package, with "/"; a text file in UTF-8 with one id a line.

    Returns:
        The lines that are not empty, without outer spaces, in file order.

    Raises:
        ModuleNotFoundError: there is no such package.
        FileNotFoundError: the package has no such file.
    """
    return tuple(line.strip() for line in _text(package, name).splitlines() if line.strip())


@cache
def read_packaged_table(package: str, name: str) -> tuple[dict[str, str], ...]:
    """Read a small CSV table from a file of a package.

    Args:
        package: the package that holds the file.
        name: path inside the package, with "/"; a CSV file in UTF-8 with a header.

    Returns:
        The rows: column -> text.

    Raises:
        ModuleNotFoundError: there is no such package.
        FileNotFoundError: the package has no such file.
    """
    return tuple(csv.DictReader(io.StringIO(_text(package, name))))


def read_split_roles(package: str, name: str) -> dict[str, list[str]]:
    """Read a published split with all roles in one file of a package.

    Args:
        package: the package that holds the file.
        name: path inside the package, with "/"; a text file in UTF-8 with a line for each role, as
            "train: 099 038 021". Lines that begin with "#" are comments.

    Returns:
        Role -> ids, in file order.

    Raises:
        ModuleNotFoundError: there is no such package.
        FileNotFoundError: the package has no such file.
    """
    lines = (line.partition(":") for line in read_id_list(package, name) if not line.startswith("#"))
    return {role: ids.split() for role, _, ids in lines}


def _text(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
