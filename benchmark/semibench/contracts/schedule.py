"""Time, ramps, terms, streams and stages: what a method declares. Light: no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Clock:
    """Where training stands. Schedules read `progress` and nothing else, so that they survive another budget.

    step: of this stage, from 0; steps: of this stage; passes: how often each pool has been gone through, the only
    meaning of "epoch" here.
    """

    stage: str
    step: int
    steps: int
    passes: Mapping[str, float]

    @property
    def progress(self) -> float:
        return self.step / self.steps


@dataclass(frozen=True)
class Ramp:
    """Course of a weight over a stage, a factor in [0, 1].

    end: a fraction of the stage (1.5: never completed). levels: makes a staircase of that many steps.
    sigmoid: exp(-5 (1 - t)^2), Laine & Aila, ICLR 2017; cosine: (1 - cos(pi t)) / 2; decline: 1 - t.
    """

    kind: Literal["constant", "sigmoid", "linear", "cosine", "decline"] = "constant"
    end: float = 1.0
    levels: int = 0

    def __call__(self, progress: float) -> float:
        t = min(progress / self.end, 1.0)
        if self.levels:
            t = math.floor(t * self.levels + 1e-9) / self.levels
        match self.kind:
            case "constant":
                return 1.0
            case "sigmoid":
                return math.exp(-5.0 * (1.0 - t) ** 2)
            case "linear":
                return t
            case "cosine":
                return (1.0 - math.cos(math.pi * t)) / 2.0
            case "decline":
                return 1.0 - t


@dataclass(frozen=True)
class Term:
    """One named loss: weight, ramp, the part of the stage in which it counts, and the (logarithmic) search range."""

    weight: float = 1.0
    ramp: Ramp = Ramp()
    active: tuple[float, float] = (0.0, math.inf)
    search: tuple[float, float] | None = None

    def at(self, progress: float) -> float:
        """weight x ramp inside `active` (start included, end excluded), else 0."""
        return self.weight * self.ramp(progress) if self.active[0] <= progress < self.active[1] else 0.0

    def record(self) -> dict[str, Any]:
        """Plain values for the run key; an open end of `active` is None."""
        low, high = self.active
        return {
            "weight": self.weight,
            "ramp": {"kind": self.ramp.kind, "end": self.ramp.end, "levels": self.ramp.levels},
            "active": [low, None if math.isinf(high) else high],
        }

    @classmethod
    def restore(cls, record: Mapping[str, Any], search: tuple[float, float] | None = None) -> Term:
        """The inverse of `record`."""
        low, high = record["active"]
        return cls(record["weight"], Ramp(**record["ramp"]), (low, math.inf if high is None else high), search)


@dataclass(frozen=True)
class Stream:
    """One stream of samples. The weak view is always there; strong views share its geometry.

    size: times the recipe's batch for this pool ("all": labeled + unlabeled batch). per_domain: that many from every
    training domain, in the order of task.domains. foreground: least share of crops that hold foreground (labeled only).
    """

    pool: Literal["labeled", "unlabeled", "all"]
    strong: int = 0
    size: float = 1.0
    per_domain: bool = False
    foreground: float = 0.0


@dataclass(frozen=True)
class Stage:
    """A part of a run. share: of the run's iterations (shares sum to 1). start: which weights of the stage before it
    takes over ("best": on validation; "last" where there is no validation set)."""

    name: str = "train"
    share: float = 1.0
    start: Literal["last", "best"] = "last"
