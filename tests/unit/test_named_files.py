"""Files of the repository that the documentation names are in the repository."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from support.places import DOCS, ROOT

NAMED = re.compile(r"\b(?:speed|benchmark|plugins|leaderboards|tests/(?:unit|battery|whole|support|faults))/[\w./-]*\w")


def named() -> set[str]:
    """Paths in the pages, below the folders of sources."""
    pages = [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]
    paths = {path for page in pages for path in NAMED.findall(page.read_text(encoding="utf-8"))}
    return {path for path in paths if "NAME" not in path}  # stands for any name


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="no git checkout")
def test_what_the_pages_name_is_tracked() -> None:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = set(done.stdout.splitlines())
    folders = {"/".join(file.split("/")[:depth]) for file in files for depth in range(1, file.count("/") + 1)}
    missing = sorted(path for path in named() if path not in files | folders)
    assert len(named()) > 20 and not missing, f"the documentation names what isn't in the repository: {missing}"
