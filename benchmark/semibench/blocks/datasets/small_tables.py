"""Reads the small CSV tables that come with data sets, and those that users write."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from semibench.blocks.datasets.folder_walk import composed
from semibench.blocks.datasets.official_layout import layout_error
from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import LayoutProblem
from semibench.contracts.errors import LayoutError


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        line: the line of the file in which it ends, from 1, as an editor shows it.
        cells: column -> text, without surrounding spaces, in composed Unicode.
    """

    line: int
    cells: dict[str, str]


def table_rows(path: Path) -> tuple[list[str], list[TableRow]]:
    """Reads a CSV table.

    Args:
        path: a file with a header, in UTF-8 (with or without a byte order mark) or in UTF-16 with one.

    Returns:
        The names of the columns, and the rows that aren't empty.

    Raises:
        LayoutError: if the file can't be read, has another encoding or isn't a table. The error names the file.
    """
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = [composed(name).strip() for name in next(reader, [])]
        rows = [
            TableRow(reader.line_num, dict(zip(header, [composed(c).strip() for c in cells], strict=False)))
            for cells in reader
            if any(cell.strip() for cell in cells)
        ]
    except csv.Error as error:
        raise LayoutError(
            f"{path}: expected a table with comma-separated values, found in line {reader.line_num}: {error}; "
            "save it as 'CSV UTF-8'"
        ) from error
    return header, rows


def read_table(
    path: Path, card: DatasetCard, columns: Sequence[str], *, key: str = "", filled: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Reads the small CSV table that comes with a data set.

    Args:
        path: a CSV file with a header, in UTF-8.
        card: the card of the data set, for error messages.
        columns: the columns to read. Names are compared ignoring case and surrounding spaces.
        key: a column whose value names the row: no other row may have it. "" if there is none.
        filled: columns that must not be empty.

    Returns:
        The rows, each a mapping from column (as written in `columns`) to text.

    Raises:
        LayoutError: if the file or one of the columns is missing, the file can't be read as a table in UTF-8, two rows have
            the same key, or a cell is empty that must not be. The error names the file and the line.

    Examples:
        >>> _ = (folder / "cases.csv").write_text("ID,Device,Age\\na,2,61\\n")
        >>> read_table(folder / "cases.csv", card, ["id", "device"], key="id")
        [{'id': 'a', 'device': '2'}]
    """
    if not path.is_file():
        raise layout_error(path.parent, card, f"the table {path.name} is missing in {path.parent}")
    names, rows = table_rows(path)
    header = {name.lower(): name for name in names}
    missing = [name for name in columns if name.lower() not in header]
    if missing:
        separated = " (a table needs commas between its columns)" if len(names) == 1 and ";" in names[0] else ""
        raise layout_error(
            path.parent,
            card,
            f"{path.name} lacks the columns {', '.join(missing)}; it has: {', '.join(header) or 'none'}{separated}",
        )
    sources = {name: header[name.lower()] for name in columns}
    chosen = [TableRow(row.line, {name: row.cells.get(source, "") for name, source in sources.items()}) for row in rows]
    check_rows(path, chosen, key=key, filled=filled)
    return [row.cells for row in chosen]


def unused_rows(path: Path, named: Collection[str], cases: Collection[str]) -> list[LayoutProblem]:
    """Reports rows of a table for which there is no file: in a part of a data set that is no error.

    Args:
        path: the table.
        named: the cases that it names.
        cases: the cases that are there.

    Returns:
        A warning; nothing if every row has its case.

    Examples:
        >>> unused_rows(folder / "cases.csv", ["a", "b"], ["a", "b"])
        []
    """
    lost = sorted(set(named) - set(cases))
    if not lost:
        return []
    words = f"{path}: expected a file for each row, found none for {len(lost)} of {len(named)} rows, e.g. {lost[0]}"
    return [LayoutProblem(f"{words}; add the files, if they should be there", level="warning")]


def check_rows(path: Path, rows: Sequence[TableRow], *, key: str, filled: Sequence[str]) -> None:
    """Checks that no cell that matters is empty and that no two rows speak of the same thing.

    Args:
        path: the table, for the message.
        rows: its rows.
        key: the column that names a row; "" if there is none.
        filled: columns that must not be empty.

    Raises:
        LayoutError: for the first fault; it names the line.
    """
    first: dict[str, TableRow] = {}
    for row in rows:
        empty = [name for name in filled if not row.cells.get(name)]
        if empty:
            raise LayoutError(
                f"{path}: line {row.line}: expected a value in the column {' and '.join(empty)}, found none; fill it in, or "
                "remove the row"
            )
        if not key:
            continue
        before = first.setdefault(row.cells[key], row)
        if before is not row:
            names = [name for name, value in row.cells.items() if value != before.cells[name]]
            differ = f", with another {' and '.join(names)}" if names else ""
            raise LayoutError(
                f"{path}: expected one row for {row.cells[key]}, found it twice (lines {before.line} and {row.line}{differ}); "
                "remove the wrong row"
            )


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LayoutError(f"{path}: the table can't be read ({error.strerror or error}); make it readable") from error
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"the byte 0x{content[error.start]:02x} in line {line}"
        raise LayoutError(
            f"{path}: expected a table in UTF-8, found {found} (Latin-1, perhaps); save it as 'CSV UTF-8'"
        ) from error
