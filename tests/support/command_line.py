"""Runs `bench` as a user types it, in the test's process or in a new one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from typer.testing import CliRunner, Result

from support.forked import Forked


def bench(*words: str, width: int | None = 160) -> Result:
    """Runs `bench words` in this process and folder. width: terminal width in characters; None: the environment's."""
    from semibench.cli import build

    columns = {} if width is None else {"COLUMNS": str(width)}
    return CliRunner(env=columns).invoke(build(), list(words), prog_name="bench")


def bench_process(
    *words: str, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `bench words` in a new process, folder and environment (None: this process's)."""
    return subprocess.run(
        [sys.executable, "-m", "semibench.cli", *words],
        cwd=folder, env={**os.environ, **(environment or {})}, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip


def bench_forked(
    *words: str, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs what `bench_process` runs in a process that begins with everything imported, which saves three seconds of CPU."""
    with Forked(words, folder or Path.cwd(), {**os.environ, **(environment or {})}) as process:
        out, err = process.communicate()
        return subprocess.CompletedProcess(words, process.wait(), out, err)


def in_one_line(text: str) -> str:
    """Removes the frames, colours and line breaks that rich adds."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", text).split())
