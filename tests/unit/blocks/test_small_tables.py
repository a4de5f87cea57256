"""Tables that come with data sets and that users write: any spreadsheet's form is read or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.data_toys import card

from semibench import LayoutError
from semibench.blocks import read_table, unused_rows
from semibench.blocks.groups import read_group_table

ROWS = [{"id": "Müller", "device": "2"}, {"id": "b", "device": "1"}]
TEXT = "ID,Device,Age\r\nMüller,2,61\r\n\r\nb , 1,70\r\n"


def read(path: Path, content: bytes | str, **more: object) -> list[dict[str, str]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, card(), ["id", "device"], **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_any_form_of_unicode_is_read(encoding: str, tmp_path: Path) -> None:
    assert read(tmp_path / "t.csv", TEXT.encode(encoding)) == ROWS
    split = TEXT.replace("ü", "u\u0308").encode(encoding)
    assert read(tmp_path / "t.csv", split) == ROWS


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (TEXT.encode("latin-1"), r"t\.csv: expected a table in UTF-8, found the byte 0xfc in line 2 .*; save it as"),
        (b"\x89PNG\r\n\x1a\n\xf0", r"t\.csv: expected a table in UTF-8, found the byte 0x89 in line 1"),
        ("id;device\na;1\n", r"t\.csv lacks the columns id, device; .*needs commas"),
        ('id,device\n"a,1\n', r"t\.csv: expected a table .* line \d: "),
        ("", r"t\.csv lacks the columns id, device; it has: none"),
    ],
)
def test_other_files_are_refused_by_name(content: bytes | str, words: str, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=words):
        read(tmp_path / "t.csv", content)


def test_no_row_wins_over_another(tmp_path: Path) -> None:
    with pytest.raises(
        LayoutError, match=r"expected one row for a, found it twice \(lines 2 and 4, with another device\)"
    ):
        read(tmp_path / "t.csv", "id,device\na,1\nb,1\na,2\n", key="id")
    assert len(read(tmp_path / "t.csv", "id,device\na,1\nb,1\na,2\n")) == 3


def test_an_empty_cell_that_matters_is_named(tmp_path: Path) -> None:
    text = "id,device\na,1\nb,\n"
    assert read(tmp_path / "t.csv", text)[1] == {"id": "b", "device": ""}
    with pytest.raises(
        LayoutError, match=r"t\.csv: line 3: expected a value in the column device, found none; fill it in"
    ):
        read(tmp_path / "t.csv", text, filled=["id", "device"])
    with pytest.raises(LayoutError, match=r"line 2: .* column device"):
        read(tmp_path / "t.csv", "id,device\na\n", filled=["device"])


def test_rows_without_a_file_are_a_warning(tmp_path: Path) -> None:
    (problem,) = unused_rows(tmp_path / "t.csv", ["a", "b", "c"], ["a"])
    assert problem.level == "warning" and "none for 2 of 3 rows, e.g. b" in problem.message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("case,group\nx,g\nx,h\n", "expected one row for x, found it twice"),
        ("case,group\nx,\n", "line 2: expected a value in the column group"),
        ("case,group\nü,g\n".encode("latin-1"), "expected a table in UTF-8"),
    ],
)
def test_a_group_table_is_checked_as_any_other(content: bytes | str, words: str, tmp_path: Path) -> None:
    (tmp_path / "semibench_groups.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LayoutError, match=words):
        read_group_table(tmp_path, "busi")


def test_a_group_table_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    (tmp_path / "semibench_groups.csv").write_text("case,group\r\nÜ,g\r\n", encoding="utf-8-sig")
    assert read_group_table(tmp_path, "busi") == {"Ü": "g"}
