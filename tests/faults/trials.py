"""What the campaign's runs have in common: the commands, their digits, and how an outcome is written down."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from faults.feeding import forked, import_heavy_modules

KINDS: dict[str, tuple[str, ...]] = {
    "mean teacher": (
        "--protocol",
        "self",
        "--dataset",
        "tus",
        "--method",
        "mean-teacher",
        "--set",
        "iterations=24",
        "--set",
        "recipe.checkpoint_every=4",
    ),
    "BCP": (
        "--protocol",
        "ssmis",
        "--dataset",
        "acdc",
        "--method",
        "bcp",
        "--set",
        "labeled=2",
        "--set",
        "iterations=12",
        "--set",
        "recipe.checkpoint_every=3",
    ),
    "CSC-PA": (
        "--protocol",
        "self",
        "--dataset",
        "tus",
        "--method",
        "csc-pa",
        "--set",
        "iterations=12",
        "--set",
        "recipe.checkpoint_every=3",
    ),
    "synthetic MGCC": (
        "--protocol",
        "synthetic",
        "--dataset",
        "tus",
        "--method",
        "mgcc",
        "--set",
        "iterations=12",
        "--set",
        "recipe.checkpoint_every=3",
        "--set",
        "count=4",
    ),
}
"""The four kinds of run, on phantoms."""

SMALL = {"tus": ("phantom.scale=0.1", "phantom.cases=30"), "acdc": ("phantom.scale=0.25", "phantom.cases=12")}


def command(kind: str, *more: str) -> list[str]:
    """Returns the command of a kind of run."""
    words = KINDS[kind]
    small = [word for text in SMALL[words[3]] for word in ("--set", text)]
    tracked = [] if "--tracking-uri" in more else ["--no-track"]
    return [
        sys.executable,
        "-m",
        "semibench.cli",
        "run",
        *words,
        *small,
        "--recipe",
        "smoke",
        "--phantom",
        "--no-pictures",
        *tracked,
        *more,
    ]


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: None if it didn't within the limit."""

    code: int | None
    text: str
    seconds: float

    @property
    def is_clear(self) -> bool:
        """Whether it failed in words."""
        return self.code in (1, 2) and "Traceback (most recent call last)" not in self.text and bool(self.text.strip())

    @property
    def last(self) -> str:
        """The last line printed."""
        lines = self.text.strip().splitlines()
        return lines[-1] if lines else ""


def ended(
    words: Sequence[str],
    folder: Path,
    cache: Path,
    *,
    limit: float = 600.0,
    before: Callable[[], object] = lambda: None,
) -> Ended:
    """Runs a command to its end, in a child of this process. before: called in the child."""
    import_heavy_modules()
    return Ended(*forked(words[3:], folder, seconds=limit, before=before, environment=places(cache)))


def places(cache: Path) -> dict[str, str]:
    """Returns the variables of a run with its own cache."""
    return {"SEMIBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


def digits(runs: Path) -> str:
    """Returns a digest of everything that a run computed: weights, scores, losses; empty if it isn't there."""
    import pandas as pd
    import torch

    try:
        folder = next(path for path in sorted(runs.iterdir()) if not path.name.startswith("."))
        content = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
        total = hashlib.sha256()
        for name, value in sorted(content["method"].items()):
            total.update(name.encode() + value.contiguous().numpy().tobytes())
        for name, key in (
            ("scores.parquet", ["checkpoint", "predictor", "convention", "case", "class", "metric"]),
            ("steps.parquet", ["stage", "name", "step"]),
        ):
            frame = pd.read_parquet(folder / name)
            frame = frame[[*key, "value"]].astype(dict.fromkeys(key, str)).sort_values(key)
            total.update(frame.to_csv(index=False).encode())
    except (OSError, StopIteration, ValueError, KeyError, RuntimeError):
        return ""
    return total.hexdigest()


@dataclass
class Line:
    """One line of the table."""

    fault: str
    tried: int = 0
    good: int = 0
    equal: int = 0
    """Whose digits, once the run was done, were those of the run without a fault."""
    slowest: float = 0.0
    faults: list[str] | None = None

    def add(self, well: bool, same: bool, what: str, seconds: float = 0.0) -> None:
        """Counts one trial."""
        self.tried += 1
        self.good += well
        self.equal += same
        self.slowest = max(self.slowest, seconds)
        if not (well and same):
            self.faults = [*(self.faults or []), what]
            print(f"{self.fault}: {what}", file=sys.stderr, flush=True)


def table(lines: Sequence[Line]) -> str:
    """Returns the lines as Markdown."""
    heads = "| fault | tried | clear or unharmed | digits equal afterwards | longest |\n| --- | --- | --- | --- | --- |"
    rows = [f"| {line.fault} | {line.tried} | {line.good} | {line.equal} | {line.slowest:.0f} s |" for line in lines]
    return "\n".join([heads, *rows])
