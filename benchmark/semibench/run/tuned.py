"""The outcome of a study as a file: weights and options with what it cost to find them. Light: no optuna, no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from semibench.contracts.errors import UsageError
from semibench.contracts.identity import SHORT, Frozen

TUNED = "tuned.json"
STUDIES = Path("studies")
"""Where studies live when nothing else is said: one folder per study."""


class Tuned(Frozen):
    """A frozen, named configuration. settings: as for `--set`, e.g. {"term.consistency.weight": 0.3}. trials: finished ones,
    pruned ones included; seconds: of all of them; validation: the objective of the best; labels: how many validation labels
    the search looked at, and where they were taken from."""

    study: str
    protocol: str
    dataset: str
    phantom: bool
    method: str
    backbone: str
    recipe: str
    settings: dict[str, Any]
    best_trial: int
    validation: float
    trials: int
    completed: int
    pruned: int
    seconds: float
    labels: int
    labels_from: str
    importance: dict[str, float] = {}

    @property
    def id(self) -> str:
        """Short name of the configuration itself."""
        return self.digest()[:SHORT]

    @property
    def track(self) -> str:
        """What a track says of runs with it; rows of other tracks are never ranked with them."""
        return f"validation:{self.trials}"

    def record(self) -> dict[str, Any]:
        """What a run's result says of it."""
        names = (
            "study",
            "recipe",
            "validation",
            "trials",
            "completed",
            "pruned",
            "seconds",
            "labels",
            "labels_from",
            "settings",
        )
        return {"id": self.id, **{name: getattr(self, name) for name in names}}


def find_tuned(study: str | Path, studies: Path = STUDIES) -> Path:
    """The file of a study given by name, folder or file. Raises UsageError, naming the studies that have one."""
    for path in (Path(study), Path(study) / TUNED, studies / study / TUNED):
        if path.is_file():
            return path
    ready = sorted(path.parent.name for path in studies.glob(f"*/{TUNED}"))
    unfinished = (studies / study / "study.json").is_file()
    hint = f"the study has no finished trial yet: bench tune --join {study}" if unfinished else "bench tune makes one"
    raise UsageError(f"--tuned {study}: no {TUNED} there; {hint}. Tuned studies here: {', '.join(ready) or 'none'}")


def read_tuned(path: Path) -> Tuned:
    """Raises UsageError for a file that isn't one."""
    try:
        return Tuned(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError, TypeError, ValidationError) as error:
        raise UsageError(
            f"{path}: expected what `bench tune` wrote, found: {' '.join(str(error).split())[:300]}"
        ) from error


def with_tuned(
    settings: Mapping[str, Any], tuned: Tuned, *, protocol: str, dataset: str, method: str
) -> dict[str, Any]:
    """Settings of the request laid beside those of the study. Raises UsageError where the study was for something else, or
    where both say the same thing: then it wouldn't be the tuned configuration any more."""
    for what, wanted, found in (
        ("protocol", protocol, tuned.protocol), ("data set", dataset, tuned.dataset), ("method", method, tuned.method),
    ):  # fmt: skip
        if wanted != found:
            raise UsageError(f"--tuned {tuned.study}: it was tuned for {what} {found!r}, the run has {wanted!r}")
    for name in settings:
        short = name.split(".")
        for other in tuned.settings:
            if other.split(".")[: len(short)] == short or other.split(".")[1 : 1 + len(short)] == short:
                raise UsageError(f"--tuned {tuned.study} sets {other}, and --set {name} too; leave one of them out")
    return {**settings, **tuned.settings}
