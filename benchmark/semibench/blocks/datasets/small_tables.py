"""Reads the small CSV tables that come with data sets."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from semibench.blocks.datasets.official_layout import layout_error
from semibench.contracts.cards import DatasetCard


def read_table(path: Path, card: DatasetCard, columns: Sequence[str]) -> list[dict[str, str]]:
    """Reads the small CSV table that comes with a data set.

    Args:
        path: a CSV file with a header, in UTF-8.
        card: the card of the data set, for error messages.
        columns: the columns to read. Names are compared ignoring case and surrounding spaces.

    Returns:
        The rows, each a mapping from column (as written in `columns`) to text.

    Raises:
        LayoutError: if the file or one of the columns is missing.

    Examples:
        >>> _ = (folder / "cases.csv").write_text("ID,Device,Age\\na,2,61\\n")
        >>> read_table(folder / "cases.csv", card, ["id", "device"])
        [{'id': 'a', 'device': '2'}]
    """
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
        sources = {name: header[name.lower()] for name in columns}
        return [{name: (row[source] or "").strip() for name, source in sources.items()} for row in reader]
