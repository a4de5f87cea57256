"""The git state of a folder that somebody else prepared: it is read, and nothing in it is executed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from semibench.runfolder.provenance import git_state


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git isn't installed")
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "a.txt").write_text("one\n")
    git(folder, "init", "-q")
    git(folder, "add", "a.txt")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first")
    return folder


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_commit_and_changes_are_read(checkout: Path, tmp_path: Path) -> None:
    state = git_state(checkout)
    assert state is not None and (state.commit, state.dirty) == (git(checkout, "rev-parse", "HEAD"), False)
    (checkout / "new.txt").write_text("not tracked\n")
    assert git_state(checkout) == state
    (checkout / "a.txt").write_text("two\n")
    state = git_state(checkout)
    assert state is not None and state.dirty
    (tmp_path / "plain").mkdir()
    assert git_state(tmp_path / "plain") is None


@pytest.mark.parametrize(
    "settings",
    [
        {"core.fsmonitor": "{program}"},
        {"filter.Their.own.clean": "{program}", "filter.Their.own.required": "true"},
        {"filter.Their.own.process": "{program}"},
        {"core.hooksPath": "{folder}", "core.fsmonitor": "{program}"},
    ],
)
def test_programs_that_the_folder_names_are_not_started(checkout: Path, settings: dict[str, str]) -> None:
    program, trace = checkout / "program.sh", checkout / "executed"
    program.write_text(f"#!/bin/sh\ntouch {trace}\ncat\n")
    program.chmod(0o755)
    shutil.copy(program, checkout / "post-index-change")
    (checkout / ".gitattributes").write_text("* filter=Their.own\n")
    for name, value in settings.items():
        git(checkout, "config", name, value.format(program=program, folder=checkout))
    (checkout / "a.txt").write_text("one\n")  # same content, other time: git looks at the bytes
    state = git_state(checkout)
    assert state is not None and not state.dirty
    assert not trace.exists()
    git(checkout, "status", "--porcelain")
    assert trace.exists(), "plain git starts it, so the test would see it"
