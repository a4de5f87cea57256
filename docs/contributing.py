"""Shows CONTRIBUTING.md, which forges expect at the root of the repository, as a page: mkdocs calls this while it builds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = "contributing.md"
LINK = re.compile(r"\[([^\]]+)\]\((?!https?://|#)([^)]+)\)")


def page(markdown: str) -> str:
    """The text of CONTRIBUTING.md with its links changed to fit the documentation.

    Links to pages become relative to `docs/`. Links to other files of the repository become their text, since the
    documentation doesn't contain these files.
    """

    def moved(link: re.Match[str]) -> str:
        text, target = link.groups()
        return f"[{text}]({target.removeprefix('docs/')})" if target.startswith("docs/") else text

    return LINK.sub(moved, markdown)


def on_files(files: Any, config: Any) -> Any:
    """Adds the page to the files that mkdocs renders."""
    from mkdocs.structure.files import File

    source = Path(config.config_file_path).parent / "CONTRIBUTING.md"
    files.append(File.generated(config, PAGE, content=page(source.read_text(encoding="utf-8"))))
    return files
