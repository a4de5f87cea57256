"""Group tables: the cases that `bench data audit` found to be the same image."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from semibench.blocks.datasets.small_tables import check_rows, table_rows
from semibench.contracts.errors import LayoutError

TABLE = "semibench_groups.csv"


def cache_dir() -> Path:
    """Returns the folder for decoded cases, hashes and group tables.

    It is SEMIBENCH_CACHE where that is set, else the platform's cache folder for `semibench` (`~/.cache/semibench` on
    Linux). A `~/.cache/semibench` that an earlier version filled on another platform is still used.
    """
    chosen = os.environ.get("SEMIBENCH_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    platform_folder = platformdirs.user_cache_path("semibench", appauthor=False)
    earlier = Path.home() / ".cache" / "semibench"
    return earlier if earlier.is_dir() and not platform_folder.is_dir() else platform_folder


def group_table_paths(root: Path | None, dataset: str) -> tuple[Path, ...]:
    """Lists where the group table of a data set may be, in the order in which it is looked for.

    A group table names the cases that `bench data audit` found to be the same image.

    Args:
        root: folder of the data set; None: unknown.
        dataset: name of the data set.

    Returns:
        `<root>/semibench_groups.csv`, then `<cache>/groups/<dataset>.csv` for data folders that can't be written.

    Examples:
        >>> [path.name for path in group_table_paths(folder, "my-data")]
        ['semibench_groups.csv', 'my-data.csv']
    """
    fallback = cache_dir() / "groups" / f"{dataset}.csv"
    return (fallback,) if root is None else (root / TABLE, fallback)


def read_group_table(root: Path | None, dataset: str) -> dict[str, str]:
    """Reads the first group table of a data set that exists.

    Args:
        root: folder of the data set; None: unknown.
        dataset: name of the data set.

    Returns:
        Case id to group; empty if there is no table. A case that is not listed keeps the group its data set gives it.

    Raises:
        LayoutError: if the table can't be read, lacks the columns `case` and `group`, has an empty cell in one of them, or
            gives a case twice.

    Examples:
        >>> read_group_table(folder, "my-data")
        {}
    """
    path = next((path for path in group_table_paths(root, dataset) if path.is_file()), None)
    if path is None:
        return {}
    again = f"Remove the file or write it again with `bench data audit {dataset}`."
    header, rows = table_rows(path)
    if not {"case", "group"} <= set(header):
        raise LayoutError(f"{path}: expected the columns case,group,reason; found {header}. {again}")
    try:
        check_rows(path, rows, key="case", filled=("case", "group"))
    except LayoutError as error:
        raise LayoutError(f"{error}. {again}") from error
    return {row.cells["case"]: row.cells["group"] for row in rows}
