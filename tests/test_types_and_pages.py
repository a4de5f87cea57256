"""Static types and the documentation, checked beside the other tests: each keeps one core busy for a minute."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def check(module: str, *words: str) -> None:
    """Fails with what `python -m module words` said, unless it ends well."""
    pytest.importorskip(module, reason=f"{module} comes with the extras `types` and `docs`")
    done = subprocess.run([sys.executable, "-m", module, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"


@pytest.mark.slow(70)
def test_static_types() -> None:
    check("mypy")


@pytest.mark.slow
def test_the_documentation_builds_strictly(tmp_path: Path) -> None:
    check("mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site"))
