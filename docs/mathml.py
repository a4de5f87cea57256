"""Renders formulas as MathML while mkdocs builds, so that pages need no script and no network."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, /, **_: Any) -> str:
    r"""Replaces the formulas that `pymdownx.arithmatex` marked: inline `\(...\)` and display `\[...\]`."""

    def to_mathml(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        return convert(html.unescape(match[2]).strip(), display=display)

    return FORMULA.sub(to_mathml, content)
