"""A virtual environment on top of the one the tests run in: plug-ins are installed there, and nowhere else, offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any


class Place:
    """The environment at `path`; what the tests' own environment has can be imported in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        venv.EnvBuilder(with_pip=False, symlinks=True).create(path)
        self.python = path / "bin" / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.site = path / "lib" / version / "site-packages"
        parents = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        lines = "".join(f"import site; site.addsitedir({parent!r})\n" for parent in sorted(parents))
        (self.site / "tests_environment.pth").write_text(lines, encoding="utf-8")

    def environment(self, home: Path) -> dict[str, str]:
        """Variables for a process in it: its own store, cache and home, one thread, no data."""
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("SEMIBENCH", "MLFLOW", "PYTEST", "PYTHON", "COV_"))
        }
        return {
            **kept,
            "PATH": f"{self.path / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(self.path),
            "HOME": str(home),
            "SEMIBENCH_CACHE": str(home / "cache"),
            "OMP_NUM_THREADS": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INDEX": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def call(self, *words: str, cwd: Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """`python words` in the folder cwd; fails unless it ends with `code` (None: any)."""
        done = subprocess.run(
            [str(self.python), *words], cwd=cwd, env=self.environment(cwd), capture_output=True, text=True, check=False
        )
        assert code is None or done.returncode == code, (
            f"{words}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
        return done

    def bench(self, *words: str, cwd: Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """`bench words`."""
        return self.call("-m", "semibench.cli", *words, cwd=cwd, code=code)

    def json(self, *words: str, cwd: Path, code: int | None = 0) -> Any:
        """What `bench words --json` prints."""
        return json.loads(self.bench(*words, "--json", cwd=cwd, code=code).stdout)

    def install(self, *what: str, cwd: Path) -> None:
        """`pip install` without network."""
        self.call("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", *what, cwd=cwd)
