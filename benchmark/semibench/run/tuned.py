"""The outcome of a study as a file: tuned settings and what the search cost. Imports neither optuna nor torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from semibench.contracts.errors import UsageError, one_line
from semibench.contracts.identity import SHORT, Frozen

TUNED = "tuned.json"
STUDIES = Path("studies")
"""Default folder of the studies, with one folder each."""


class Tuned(Frozen):
    """A frozen, named configuration.

    settings: as for `--set`, e.g. {"term.consistency.weight": 0.3}. validation: the objective of the best trial. trials:
    number of ended trials, including pruned ones. seconds: of all trials. labels, labels_from: how many validation labels the
    search used, and from which cases.
    """

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
        """Short digest that identifies the configuration."""
        return self.digest()[:SHORT]

    @property
    def track(self) -> str:
        """The tuning that a track states for runs with this configuration; only rows of the same track are ranked together."""
        return f"validation:{self.trials}"

    def record(self) -> dict[str, Any]:
        """Returns what a run's result records about the tuning."""
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
    """Returns the file of a study.

    Args:
        study: its name, folder or file.
        studies: the folder of the studies.

    Raises:
        UsageError: if there is none; the message lists the tuned studies.
    """
    for path in (Path(study), Path(study) / TUNED, studies / study / TUNED):
        if path.is_file():
            return path
    ready = sorted(path.parent.name for path in studies.glob(f"*/{TUNED}"))
    unfinished = (studies / study / "study.json").is_file()
    hint = f"the study has no best trial yet: bench tune --join {study}" if unfinished else "bench tune creates one"
    raise UsageError(f"--tuned {study}: found no {TUNED}; {hint}. Tuned studies here: {', '.join(ready) or 'none'}")


def read_tuned(path: Path) -> Tuned:
    """Reads a tuned configuration. Raises UsageError if the file isn't one."""
    try:
        return Tuned(**json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(map(str, problem["loc"]))
        raise UsageError(f"{path}: expected a file written by `bench tune`; {field}: {problem['msg']}") from error
    except (OSError, json.JSONDecodeError, TypeError) as error:
        raise UsageError(f"{path}: expected a file written by `bench tune`, found: {one_line(error)[:300]}") from error


def with_tuned(
    settings: Mapping[str, Any], tuned: Tuned, *, protocol: str, dataset: str, method: str
) -> dict[str, Any]:
    """Adds the settings of a study to those of a request.

    Raises:
        UsageError: if the study was for another protocol, data set or method, or if both set the same thing: the run would no
            longer have the tuned configuration.
    """
    for what, requested, studied in (
        ("protocol", protocol, tuned.protocol), ("data set", dataset, tuned.dataset), ("method", method, tuned.method),
    ):  # fmt: skip
        if requested != studied:
            raise UsageError(
                f"--tuned {tuned.study}: it was tuned for {what} {studied!r}, but the run has {requested!r}"
            )
    for name in settings:
        short = name.split(".")
        for other in tuned.settings:
            if other.split(".")[: len(short)] == short or other.split(".")[1 : 1 + len(short)] == short:
                raise UsageError(f"--tuned {tuned.study} and --set {name} both set {other}; leave one of them out")
    return {**settings, **tuned.settings}
