"""Static types and the documentation, checked beside the other tests: each keeps one core busy for a minute."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.places import ROOT


def call(module: str, *words: str) -> tuple[int, str]:
    """Exit status of `python -m module words` and what it said."""
    pytest.importorskip(module, reason=f"{module} comes with the extras `types` and `docs`")
    done = subprocess.run([sys.executable, "-m", module, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout[-6000:] + done.stderr[-6000:]


@pytest.mark.types
@pytest.mark.slow
def test_static_types() -> None:
    code, said = call("mypy")
    assert code == 0, said


@pytest.mark.slow
def test_the_documentation_builds_strictly(tmp_path: Path) -> None:
    code, said = call("mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site"))
    assert code == 0, said
