"""A virtual environment on top of the tests' own, in which plug-ins are installed offline; and wheels, built by hand or
from Semibench's sources."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

from support.places import ROOT


class Place:
    """The environment at `path`, which can import everything from the tests' own environment. bare: everything except
    Semibench, which is then installed in it."""

    def __init__(self, path: Path, *, bare: bool = False) -> None:
        self.path = path
        venv.EnvBuilder(with_pip=False, symlinks=True).create(path)
        self.python = path / "bin" / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.site = path / "lib" / version / "site-packages"
        parents = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        if bare:
            parents = {str(self._dependencies(path / "dependencies", parents))}
        lines = "".join(f"import site; site.addsitedir({parent!r})\n" for parent in sorted(parents))
        (self.site / "tests_environment.pth").write_text(lines, encoding="utf-8")

    @staticmethod
    def _dependencies(folder: Path, parents: set[str]) -> Path:
        """Links to everything installed in the tests' environment, except Semibench and the files of its editable install."""
        folder.mkdir()
        for parent in map(Path, sorted(parents)):
            for entry in parent.iterdir():
                if "semibench" not in entry.name.lower() and entry.suffix != ".pth":
                    (folder / entry.name).symlink_to(entry)
        return folder

    def environment(self, home: Path) -> dict[str, str]:
        """Returns variables for a process in it: its own store and home, the tests' cache, one thread, no data."""
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("SEMIBENCH", "MLFLOW", "PYTEST", "PYTHON", "COV_"))
        }
        return {
            **inherited,
            "PATH": f"{self.path / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(self.path),
            "HOME": str(home),
            "SEMIBENCH_CACHE": os.environ["SEMIBENCH_CACHE"],
            "OMP_NUM_THREADS": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INDEX": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def call(self, *words: str, cwd: Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Runs `python words` in the folder cwd; fails unless its exit code is `code` (None: any)."""
        done = subprocess.run(
            [str(self.python), *words], cwd=cwd, env=self.environment(cwd), capture_output=True, text=True, check=False
        )
        assert code is None or done.returncode == code, (
            f"{words}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
        return done

    def script(self, name: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Runs a command that an installed wheel provides."""
        command = [str(self.path / "bin" / name), *words]
        done = subprocess.run(command, cwd=cwd, env=self.environment(cwd), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def bench(self, *words: str, cwd: Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Runs `bench words`."""
        return self.call("-m", "semibench.cli", *words, cwd=cwd, code=code)

    def json(self, *words: str, cwd: Path, code: int | None = 0) -> Any:
        """Runs `bench words --json` and returns what it prints."""
        return json.loads(self.bench(*words, "--json", cwd=cwd, code=code).stdout)

    def install(self, *what: str, cwd: Path) -> None:
        """Runs `pip install` without network."""
        self.call("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", *what, cwd=cwd)


def semibench_wheel(folder: Path, place: Place) -> Path:
    """Builds a wheel of Semibench from this checkout."""
    words = ("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT))
    place.call(*words, cwd=folder.parent)
    (found,) = folder.glob("semibench-[0-9]*.whl")
    return found


def module_wheel(folder: Path, name: str, source: str) -> Path:
    """Writes a wheel with one module and an entry point of the same name in the group `semibench`, without build tools."""
    module, stem = name.replace("-", "_"), f"{name.replace('-', '_')}-1.0"
    files = {
        f"{module}.py": source + "\n",
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{stem}.dist-info/entry_points.txt": f"[semibench]\n{name} = {module}\n",
    }
    record = f"{stem}.dist-info/RECORD"
    lines = [
        f"{path},sha256={urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text.encode())}"
        for path, text in files.items()
    ]
    folder.mkdir(exist_ok=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, record: "\n".join([*lines, f"{record},,", ""])}.items():
            archive.writestr(path, text)
    return wheel
