"""Texts that others wrote (cards, names of cases and classes, addresses, errors), made safe for the place where they are shown."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move the cursor, change colours or the direction of writing, or aren't characters. Tab and line feed stay."""

CREDENTIALS = re.compile(r"(?P<scheme>\b(?!sqlite|file)[a-z][a-z0-9+.-]*://)(?P<secret>\S*)@", re.IGNORECASE)
PARAMETER = re.compile(
    r"(?P<name>[?&][\w.-]*(?:token|passw|pwd|secret|key|auth|credential|signature)[\w.-]*=)[^&\s'\"<>]+", re.IGNORECASE
)


def printable(text: str) -> str:
    r"""Returns a text whose control characters are written out, as \x1b is, so that a terminal shows and doesn't obey them."""
    return CONTROL.sub(lambda match: _written_out(ord(match[0])), text)


def _written_out(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def in_markdown(text: str) -> str:
    """Returns a text in one line that Markdown shows as it is: no HTML, no links, no columns of a table."""
    plain = printable(" ".join(text.split()))
    for sign, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("](", "]\\(")):
        plain = plain.replace(sign, escaped)
    return plain


def without_secrets(text: str, mark: str = "***@") -> str:
    """Returns a text whose addresses have no user, password or token.

    Args:
        text: one address, or a message with addresses.
        mark: what stands for user and password.
    """
    text = CREDENTIALS.sub(lambda match: _without_user(match, mark), text)
    return PARAMETER.sub(lambda match: f"{match['name']}***", text)


def _without_user(match: re.Match[str], mark: str) -> str:
    """A password may hold any sign, "@" and "/" too; an "@" in the path of an address without a user stays."""
    host, slash, _ = match["secret"].partition("/")
    if slash and not re.search(r"[:@]", host):
        return match[0]
    return match["scheme"] + mark
