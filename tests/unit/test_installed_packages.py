"""A package with damaged metadata is one named problem; every command works on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import bench_process
from support.places import DOCS, with_tests

from semibench.discovery.registry import Registry, installed
from semibench.installed_packages import damaged_packages, packages

METADATA = "Metadata-Version: 2.1\nName: Odd_Package\nVersion: 2.3\n"


def put(site: Path, points: bytes, metadata: str | None = METADATA) -> None:
    """Installs a package with these entry points, and without a file METADATA if there is none."""
    folder = site / "odd_package-2.3.dist-info"
    folder.mkdir(parents=True)
    (folder / "entry_points.txt").write_bytes(points)
    if metadata is not None:
        (folder / "METADATA").write_text(metadata, encoding="utf-8")


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (b"[console_scripts]\nno sign here\n", "line 2: 'no sign here'"),
        (b"[semibench]\nmine = one\nmy_cards\n", "line 3: 'my_cards'"),
        (b"[semibench]\nmine = caf\xe9\n", "UnicodeDecodeError"),
    ],
)
@pytest.mark.parametrize("metadata", [METADATA, None])
def test_a_damaged_package_is_named_and_hides_no_other(
    points: bytes, said: str, metadata: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = len(packages())
    put(tmp_path, points, metadata)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert len(packages()) == healthy + 1
    (damaged,) = damaged_packages()
    assert (damaged.name, damaged.version) == (("odd-package", "2.3") if metadata else ("odd-package", "unknown"))
    found = Registry(installed(), damaged_packages())
    assert [problem.outcome for problem in found.problems] == ["metadata"]
    assert f"odd-package {damaged.version}: " in str(found.problems[0]) and said in str(found.problems[0])
    assert "semibench:mean-teacher" in [item.full_name for item in found.cards("methods")]


@pytest.mark.slow
def test_commands_work_beside_a_damaged_package_and_the_doctor_names_it(tmp_path: Path) -> None:
    put(tmp_path / "site", b"[console_scripts]\nno sign here\n")
    environment = {"PYTHONPATH": with_tests(tmp_path / "site")}
    listed = bench_process("list", "methods", folder=tmp_path, environment=environment)
    assert listed.returncode == 0 and "mean-teacher" in listed.stdout and "odd-package" in listed.stderr
    doctor = bench_process("doctor", folder=tmp_path, environment=environment)  # imports torch
    assert doctor.returncode == 1 and "Traceback" not in doctor.stdout + doctor.stderr
    (shown,) = [line for line in doctor.stdout.splitlines() if line.startswith("PROBLEM")]
    assert shown in (DOCS / "plugin_errors.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
def test_libraries_that_look_for_entry_points_can_be_imported(tmp_path: Path) -> None:
    put(tmp_path / "site", b"[console_scripts]\nno sign here\n")
    code = "import semibench, torch, semibench.process as p; p.quiet_mlflow(); import mlflow.tracking, optuna"
    environment = {**os.environ, "PYTHONPATH": with_tests(tmp_path / "site")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
