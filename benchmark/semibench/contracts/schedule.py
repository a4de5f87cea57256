"""Time, ramps, terms, streams and stages: what a method declares. Does not import torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Clock:
    """The current time in training. Schedules read `progress` alone, so that they work under any budget."""

    stage: str
    """Name of the stage."""
    step: int
    """Step within the stage, from 0."""
    steps: int
    """Number of steps of the stage."""
    passes: Mapping[str, float]
    """Pool -> how often training has passed through it; the only meaning of "epoch" here."""

    @property
    def progress(self) -> float:
        """Share of the stage that is done, in [0, 1)."""
        return self.step / self.steps


@dataclass(frozen=True)
class Ramp:
    """The course of a weight over a stage: a factor in [0, 1]."""

    kind: Literal["constant", "sigmoid", "linear", "cosine", "decline"] = "constant"
    """With t = min(progress / end, 1): constant: 1; sigmoid: exp(-5 (1 - t)^2) (Laine & Aila, ICLR 2017); linear: t;
    cosine: (1 - cos(pi t)) / 2; decline: 1 - t."""
    end: float = 1.0
    """Where the ramp is complete, as a fraction of the stage; 1.5 is never complete."""
    levels: int = 0
    """Number of steps of a staircase; 0: a smooth ramp."""

    def __call__(self, progress: float) -> float:
        """Return the factor.

        Args:
            progress: share of the stage that is done.
        """
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
    """One named loss of a method."""

    weight: float = 1.0
    """Its weight."""
    ramp: Ramp = Ramp()
    """Course of the weight over the stage."""
    active: tuple[float, float] = (0.0, math.inf)
    """(start, end) of the progress in which it counts; the start is included, the end is not."""
    search: tuple[float, float] | None = None
    """(low, high) of the weight for `bench tune`, on a logarithmic scale; None: it is not searched."""
    unlabeled: bool = False
    """Whether a network that learns from labels, too, learns here from predictions on unlabeled samples. Recipes may ramp such a
    term where it has no ramp of its own (`Recipe.unlabeled_ramp`)."""

    def at(self, progress: float) -> float:
        """Return weight x ramp inside `active`, else 0.

        Args:
            progress: share of the stage that is done.
        """
        return self.weight * self.ramp(progress) if self.active[0] <= progress < self.active[1] else 0.0

    def record(self) -> dict[str, Any]:
        """Return plain values for the run key; an infinite end of `active` becomes None."""
        low, high = self.active
        return {
            "weight": self.weight,
            "ramp": {"kind": self.ramp.kind, "end": self.ramp.end, "levels": self.ramp.levels},
            "active": [low, None if math.isinf(high) else high],
        }

    @classmethod
    def restore(cls, record: Mapping[str, Any], search: tuple[float, float] | None = None) -> Term:
        """Build a term from the result of `record`.

        Args:
            record: plain values.
            search: the search range, which `record` leaves out.
        """
        low, high = record["active"]
        return cls(record["weight"], Ramp(**record["ramp"]), (low, math.inf if high is None else high), search)


def ramped(terms: Mapping[str, Term], end: float) -> dict[str, Term]:
    """Return the terms of a method under a recipe's `unlabeled_ramp`.

    Args:
        terms: name -> term, as the method declares them.
        end: share of a stage at which the ramp is complete; 0: the terms stay as they are.

    Returns:
        Name -> term. Terms on unlabeled samples without a ramp of their own have a sigmoid ramp that ends there.
    """
    ramp = Ramp("sigmoid", end)
    return {
        name: replace(term, ramp=ramp) if end and term.unlabeled and term.ramp.kind == "constant" else term
        for name, term in terms.items()
    }


@dataclass(frozen=True)
class Stream:
    """One source of samples in a batch. Every sample has a weak view; strong views share its geometry."""

    pool: Literal["labeled", "unlabeled", "all"]
    """The training cases that it draws from."""
    strong: int = 0
    """Number of strong views."""
    size: float = 1.0
    """Factor on the recipe's batch size for this pool ("all": labeled + unlabeled batch)."""
    per_domain: bool = False
    """Draw that many samples from every training domain, in the order of `Task.domains`."""
    foreground: float = 0.0
    """Smallest share of crops that contain foreground; for the labeled pool only."""


@dataclass(frozen=True)
class Stage:
    """A part of a training run."""

    name: str = "train"
    """Name of the stage."""
    share: float = 1.0
    """Share of the run's iterations; the shares of all stages sum to 1."""
    start: Literal["last", "best"] = "last"
    """The weights of the previous stage to start from; "best" is on validation, and means "last" if there is no validation
    set."""
