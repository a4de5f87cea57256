"""Runs `bench matrix` as a user does, for its tests."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from support.forked import Forked
from support.store_support import put_store
from support.trouble_plugin import install

BASE = ("-p", "self", "-d", "discs", "-m", "trouble", "-r", "tiny", "--phantom")


class Bench:
    """A folder with runs and the tests' plug-in.

    tracked: with a store, in which the runs are mirrored; each command then takes five seconds of processor more. forked: commands
    begin with everything imported (support/forked.py)."""

    def __init__(self, folder: Path, *, tracked: bool = False, forked: bool = True, **environment: str) -> None:
        self.folder, self.forked = folder, forked
        self.environment = install(folder / "plugin") | environment
        self.runs = folder / "runs"
        self.more = () if tracked else ("--no-track",)
        if tracked:
            put_store(folder)

    def start(self, *words: str, log: Path | None = None) -> subprocess.Popen[str] | Forked:
        """Starts `bench words` without waiting. log: a folder for its output (files out, err) instead of pipes, which fill."""
        with ExitStack() as stack:
            out, err = (
                None if log is None else stack.enter_context((log / name).open("w", encoding="utf-8"))
                for name in ("out", "err")
            )
            if self.forked:
                return Forked([*words, *self.more], self.folder, self.environment, out, err)
            command = [sys.executable, "-m", "semibench.cli", *words, *self.more]
            return subprocess.Popen(
                command, cwd=self.folder, env=self.environment, text=True,
                stdout=out or subprocess.PIPE, stderr=err or subprocess.PIPE,
            )  # fmt: skip

    def call(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Runs `bench words`; fails unless its exit code is `code` (None: any)."""
        with self.start(*words) as process:
            out, err = process.communicate(timeout=500)
        assert code is None or process.returncode == code, f"{words}: {process.returncode}\n{out}\n{err[-4000:]}"
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def matrix(self, *words: str, code: int | None = 0) -> list[dict[str, Any]]:
        """Runs `bench matrix words --json` and returns its records."""
        return json.loads(self.call("matrix", *words, "--json", code=code).stdout)

    def file(self, name: str, groups: list[dict[str, Any]]) -> str:
        """Writes a YAML file of cells on the tests' data set."""
        import yaml

        common = {
            "protocols": "self",
            "datasets": "discs",
            "methods": "trouble",
            "recipes": "tiny",
            "phantom": "always",
        }
        path = self.folder / name
        path.write_text(yaml.safe_dump({"cells": [common | group for group in groups]}), encoding="utf-8")
        return str(path)


def endings(records: list[dict[str, Any]]) -> dict[str, str]:
    """Maps each cell's option `how` to its outcome."""
    outcomes = {}
    for record in records:
        options = dict(text.split("=", 1) for text in record["cell"]["settings"])
        outcomes[options.get("how", "none")] = record["outcome"]
    return outcomes
