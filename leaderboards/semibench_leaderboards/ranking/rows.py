"""A row of a board: who it is, what it scored, what it cost, how its runs ended, and what is doubtful about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semibench_leaderboards.reading.cases import CaseScores
from semibench_leaderboards.reading.records import DrawFold, RunRecord

__all__ = ["Role", "Row", "RowCosts", "RowDoubts", "RowIdentity", "RowStates", "RowStatistics"]


Role = Literal["", "labels alone", "all labels", "no image", "no image, all labels", "control"]
"""What a row is on its board. Empty: it competes and can be ranked. The others are references: trained with the labeled images
alone, with all labels (of another track), without looking at an image; "control": a method whose unlabeled images are the labeled
ones."""


@dataclass(frozen=True)
class RowIdentity:
    """Which entry a row shows."""

    key: str
    """Digest of track and entry."""
    name: str
    """Method, with the backbone, options and code where they are needed to tell rows apart. Unique on a board."""
    method: str
    backbone: str
    predictor: str
    """Network of the method that was scored."""
    tuning: str = "default"
    """Digest of the tuned weights, "default" for a row with the method's own."""
    study: str | None = None
    """Study that found the tuned weights."""
    code: str = ""
    """Digest of the code that made the counted runs; empty if it wasn't recorded."""
    role: Role = ""
    borrowed: bool = False
    """Whether its runs are of another track, with more labels: a bound, which is drawn as a line."""

    @property
    def tuned(self) -> bool:
        """Whether a study found the weights of the loss terms."""
        return self.tuning != "default"


@dataclass(frozen=True)
class RowStatistics:
    """The board's metric over the counted runs of a row."""

    means: tuple[float, ...]
    """Mean over the cases of each counted run, in the order of `RowStates.counted`; NaN where it is undefined."""
    mean: float | None
    """Mean of `means`."""
    std: float | None
    """Standard deviation of `means` with n - 1; None for a single run."""
    low: float | None
    """Lower end of the 95 % bootstrap interval over cases, clustered by group."""
    high: float | None
    """Upper end of that interval."""
    per_class: Mapping[str, float]
    """Class -> mean over runs."""
    worst: tuple[str, float] | None
    """Class with the worst mean, and that mean."""
    cases: int
    """Scored cases, summed over runs."""
    draws: int
    """Different draws among the counted runs."""
    folds: int
    """Different folds among the counted runs."""
    seeds: int
    """Different seeds among the counted runs."""


@dataclass(frozen=True)
class RowCosts:
    """What the counted runs of a row took."""

    parameters: int | None
    """Parameters in training."""
    inference_parameters: int | None
    """Parameters of the network that predicts."""
    gflops: float | None
    """GFLOPs of one prediction."""
    training_seconds: float | None
    """Mean over runs."""
    peak_memory_mb: float | None
    """Highest peak of a run."""
    seconds_per_case: float | None
    """Inference time, mean over runs."""
    devices: tuple[str, ...]
    """Names of the devices that computed the runs."""
    label_budget: int | None
    """Labeled and validation cases."""

    @property
    def mixed_devices(self) -> bool:
        """Whether the runs were computed on different devices, so that times can't be compared."""
        return len(self.devices) > 1


@dataclass(frozen=True)
class RowStates:
    """The runs of a row by how they ended."""

    runs: tuple[RunRecord, ...]
    """All runs that aren't stale."""
    counted: tuple[RunRecord, ...]
    """Runs that are done and have the board's score: those that the statistics are over."""
    failed: int
    running: int
    interrupted: int
    stale: int
    """Runs made with other code, which are left out."""

    @property
    def ended(self) -> int:
        """Runs that were counted or failed."""
        return len(self.counted) + self.failed

    @property
    def text(self) -> str:
        """ "3", or "3/5" where two of five failed; "+2" for runs that haven't ended."""
        count = len(self.counted)
        text = f"{count}/{self.ended}" if self.failed else str(count)
        unfinished = self.running + self.interrupted
        return f"{text}+{unfinished}" if unfinished else text


@dataclass(frozen=True)
class RowDoubts:
    """What a reader must know before trusting a row."""

    empty_truth: int
    """Pairs of case and class without the class in the truth, summed over runs."""
    empty_prediction: int
    """Pairs of case and class without the class in the prediction, summed over runs."""
    undefined: int
    """Pairs of case and class without a value, summed over runs."""
    missing: int
    """Test cases without a score, summed over runs."""
    notes: tuple[str, ...] = ()
    """Everything doubtful, a sentence each."""
    code_changes: tuple[str, ...] = ()
    """Why the row's code differs from the code installed here."""

    @property
    def stale(self) -> bool:
        """Whether the row was made with other code than is installed here."""
        return bool(self.code_changes)


@dataclass(frozen=True)
class Row:
    """The runs of one entry on a board, or of one of its predictors where the board shows all of them."""

    identity: RowIdentity
    statistics: RowStatistics
    costs: RowCosts
    states: RowStates
    doubts: RowDoubts
    scores: tuple[CaseScores, ...] = field(default=(), repr=False, compare=False)
    """Values by case of each counted run, in the order of `states.counted`."""
    resampled: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    """The mean in each bootstrap resample, (B,); None where the convention has its own way to a mean."""

    @property
    def key(self) -> str:
        """Digest of track and entry."""
        return self.identity.key

    @property
    def name(self) -> str:
        """The name shown on the board."""
        return self.identity.name

    @property
    def n(self) -> int:
        """Number of counted runs."""
        return len(self.states.counted)

    @property
    def draw_folds(self) -> frozenset[DrawFold]:
        """(draw, fold) of the counted runs: those with the same one have the same test cases."""
        return frozenset(record.draw_fold for record in self.states.counted)
