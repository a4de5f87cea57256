"""Reads lists of ids and small tables that ship with a Python package."""

from __future__ import annotations

import csv
import io
from functools import cache
from importlib import resources


@cache
def read_id_list(package: str, name: str) -> tuple[str, ...]:
    """Reads a list of ids, such as a published split, from a file of a package.

    Args:
        package: the package that holds the file, e.g. "my_plugin.datasets".
        name: path inside the package, with "/", of a UTF-8 text file with one id per line.

    Returns:
        The non-empty lines, stripped, in file order.

    Raises:
        ModuleNotFoundError: if the package doesn't exist.
        FileNotFoundError: if the package doesn't contain the file.

    Examples:
        >>> len(read_id_list("semibench_plugins.datasets.heart", "lists/la/test.list"))
        20
    """
    return tuple(line.strip() for line in _text(package, name).splitlines() if line.strip())


@cache
def read_packaged_table(package: str, name: str) -> tuple[dict[str, str], ...]:
    """Reads a small CSV table from a file of a package.

    Args:
        package: the package that holds the file.
        name: path inside the package, with "/", of a UTF-8 CSV file with a header.

    Returns:
        The rows, each a mapping from column to text.

    Raises:
        ModuleNotFoundError: if the package doesn't exist.
        FileNotFoundError: if the package doesn't contain the file.

    Examples:
        >>> read_packaged_table("semibench_plugins.datasets.heart", "lists/mnms/frames.csv")[0]["vendor"]
        'A'
    """
    return tuple(csv.DictReader(io.StringIO(_text(package, name))))


def read_split_roles(package: str, name: str) -> dict[str, list[str]]:
    """Reads a published split, all roles of which are in one file of a package.

    Args:
        package: the package that holds the file.
        name: path inside the package, with "/", of a UTF-8 text file with one line per role, such as "train: 099 038 021".
            Lines that begin with "#" are comments.

    Returns:
        Role -> ids, in file order.

    Raises:
        ModuleNotFoundError: if the package doesn't exist.
        FileNotFoundError: if the package doesn't contain the file.

    Examples:
        >>> list(read_split_roles("semibench_plugins.datasets.heart", "lists/acdc/ssl4mis.txt"))
        ['train', 'val', 'test']
    """
    lines = (line.partition(":") for line in read_id_list(package, name) if not line.startswith("#"))
    return {role: ids.split() for role, _, ids in lines}


def _text(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
