"""Texts that others wrote: terminals, Markdown and logs show them and neither obey them nor give secrets away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semibench.cli.console import _console, cell, emit, table
from semibench.tracking.store import store_name
from semibench.tracking.tables import markdown_table
from semibench.untrusted import in_markdown, printable, without_secrets

SECRETS = [
    ("postgresql://ada:lovelace@db.example/mlflow", "lovelace", "postgresql://***@db.example/mlflow"),
    ("postgresql://ada:l@ve/l@ce@db.example/mlflow", "l@ve", "postgresql://***@db.example/mlflow"),
    ("https://t0ken@tracking.example:5000", "t0ken", "https://***@tracking.example:5000"),
    ("https://tracking.example/?access_token=abc&page=2", "abc", "https://tracking.example/?access_token=***&page=2"),
    ("failed: 'mysql+pymysql://u:p4ss@h/x' (timeout)", "p4ss", "failed: 'mysql+pymysql://***@h/x' (timeout)"),
]
INNOCENT = [
    "sqlite:////home/ada@lab/mlflow.db", "http://127.0.0.1:5000", "https://tracking.example/user@team/x", "ada@lab.example", "file:///a@b/c",
]  # fmt: skip


@pytest.mark.parametrize(("text", "secret", "shown"), SECRETS)
def test_no_user_password_or_token_is_left(text: str, secret: str, shown: str) -> None:
    assert without_secrets(text) == shown and secret not in shown
    assert secret not in store_name(text.split("'")[1] if "'" in text else text)


@pytest.mark.parametrize("text", INNOCENT)
def test_addresses_without_secrets_stay(text: str) -> None:
    assert without_secrets(text) == text


EVIL = "a\x1b]0;owned\x07b\x9b31mc\u202ed\r\x08e\udcff"


def test_control_characters_are_written_out() -> None:
    assert printable("two\n\tlines: äß漢") == "two\n\tlines: äß漢"
    assert printable(EVIL) == r"a\x1b]0;owned\x07b\x9b31mc\u202ed\x0d\x08e\udcff"


def test_nothing_that_is_printed_holds_control_characters_or_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        console = _console(file)
        console.show(EVIL, soft_wrap=True)
        console.show(table([EVIL, "address"], [[EVIL, SECRETS[0][0]], [{EVIL: [EVIL]}, 1]], title=EVIL))
        console.show(f"MLflow on {SECRETS[1][0]}")
    text = (tmp_path / "out").read_text(encoding="utf-8")
    assert r"\x1b]0;owned" in text and "***@db.example" in text
    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\x08"} & set(text)
    assert "lovelace" not in text and "l@ve" not in text
    emit({"name": EVIL, "store": SECRETS[0][0]})
    printed = capsys.readouterr().out
    assert "\x9b" not in printed and json.loads(printed) == {"name": EVIL, "store": SECRETS[0][2]}
    assert cell(EVIL) == printable(EVIL)


def test_markdown_shows_html_and_links_as_text() -> None:
    evil = "<script>x()</script>|[a](javascript:x) & b\nc"
    shown = in_markdown(evil)
    assert shown == "&lt;script&gt;x()&lt;/script&gt;\\|[a]\\(javascript:x) &amp; b c"
    assert shown in markdown_table(["class"], [[evil]]) and "<script>" not in markdown_table([evil], [])
