"""YAML that users write: what is refused, in one line and at once, and what stays a value."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pydantic import BaseModel

from semibench.contracts.errors import UsageError
from semibench.documents import DEEPEST, MOST_VALUES, parse_document, plain_value, read_document, shown


class Note(BaseModel, extra="forbid"):
    text: str = ""
    numbers: tuple[float, ...] = ()


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)
MALFORMED = {
    "aliases that multiply": (LAUGHS, "alias"),
    "an alias inside its value": ("text: &a [*a]", "inside itself"),
    "a mapping inside itself": ("text: &a {x: *a}", "inside itself"),
    "no such alias": ("text: *nowhere", "undefined alias"),
    "brackets without end": ("text: " + "[" * 100_000, "nested too deeply"),
    "too deep": ("text: " + "[" * 60 + "]" * 60, f"{DEEPEST} values inside each other"),
    "an object of Python": ("text: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
    "a date that isn't": ("text: 2026-13-45", "month must be in 1..12"),
    "a number that isn't": ("text: !!float nothing", "could not convert"),
    "a flag that isn't": ("text: !!bool perhaps", "perhaps"),
    "a moment that isn't": ("text: !!timestamp soon", "soon"),
    "a merge of a number": ("<<: 4", "expected a mapping"),
    "a key that is a list": ("? [1, 2]\n: 3", "unhashable key"),
    "a control character": ("text: a\x07b", "special characters are not allowed"),
    "megabytes": ("text: " + "x" * 2_000_000, "at most"),
    "nothing": ("", "found nothing"),
    "a number": ("3", "expected keys and values"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_documents_end_in_one_line_at_once(name: str) -> None:
    text, reason = MALFORMED[name]
    started = time.process_time()
    with pytest.raises(UsageError) as refused:
        parse_document(text, Note, "note.yaml")
    assert time.process_time() - started < 5.0
    message = str(refused.value)
    assert message.startswith("note.yaml:") and reason in message and "\n" not in message and len(message) < 500


@pytest.mark.parametrize("content", [b"text: M\xfcller", b"\x00\xff\xfe", "text: a".encode("utf-16")])
def test_bytes_that_are_no_utf8_name_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "note.yaml").write_bytes(content)
    with pytest.raises(UsageError, match=r"note\.yaml"):
        read_document(tmp_path / "note.yaml", Note)


@pytest.mark.slow
def test_a_mark_at_the_start_and_harmless_aliases_are_read(tmp_path: Path) -> None:
    (tmp_path / "note.yaml").write_bytes(b"\xef\xbb\xbftext: &name Ada\n")
    assert read_document(tmp_path / "note.yaml", Note).text == "Ada"
    assert plain_value("{first: &n [1, 2e-3, -.5], second: *n}") == {
        "first": [1, 0.002, -0.5],
        "second": [1, 0.002, -0.5],
    }
    assert plain_value("[" + ", ".join(["1"] * (MOST_VALUES - 10)) + "]")[-1] == 1


def test_messages_quote_the_beginning_of_a_long_value() -> None:
    with pytest.raises(UsageError) as refused:
        parse_document("numbers: " + "z" * 10_000, Note, "note.yaml")
    assert len(str(refused.value)) < 500 and "10002 characters" in str(refused.value)
    assert shown([1, "b"]) == "[1, 'b']"
