"""Reading the small CSV tables that come with data sets."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from semibench import DatasetCard
from semibench_plugins.datasets.official_layout import layout_error


def read_table(path: Path, card: DatasetCard, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header. Column names are compared without case and outer spaces and returned as in
    `columns`. Raises LayoutError that names the file and the columns it has, where one of `columns` is missing."""
    if not path.is_file():
        raise layout_error(path.parent, card, f"the table {path.name} is missing in {path.parent}")
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        header = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
        missing = [name for name in columns if name.lower() not in header]
        if missing:
            raise layout_error(
                path.parent,
                card,
                f"{path.name} lacks the columns {', '.join(missing)}; it has: {', '.join(header) or 'none'}",
            )
        wanted = {name: header[name.lower()] for name in columns}
        return [{name: (row[source] or "").strip() for name, source in wanted.items()} for row in reader]
