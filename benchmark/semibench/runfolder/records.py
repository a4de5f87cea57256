"""The files of a run folder: one typed record for each JSON file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from semibench.contracts.cases import SYNTHETIC, Split
from semibench.contracts.identity import SHORT, canonical, sha256
from semibench.runfolder.format import FolderRecord, Record

# ---- status.json ---------------------------------------------------------------------------------------------------


def _is_moment(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"expected a time as ISO 8601, found {text!r}") from error
    return text


Moment = Annotated[str, AfterValidator(_is_moment)]
"""A time, ISO 8601."""


class Status(FolderRecord):
    """status.json: the state of a run, and the process that works on it.

    started, ended: of the last attempt. process, process_started (seconds since 1970), host (digest of its name): of the process
    that wrote the file.
    """

    FILE = "status.json"

    state: Literal["running", "done", "failed", "interrupted"]
    error: str | None = None
    started: Moment | None = None
    ended: Moment | None = None
    process: int | None = Field(default=None, ge=1, lt=2**31)
    process_started: float | None = None
    host: str | None = None

    @classmethod
    def lifted(cls, record: dict[str, Any]) -> dict[str, Any]:
        """Converts format 1, which may hold times as seconds since 1970."""
        times = {name: _moment(record[name]) for name in ("started", "ended") if name in record}
        return super().lifted(record) | times


def _moment(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**40:
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")
    return value


# ---- provenance.json -----------------------------------------------------------------------------------------------


class PluginUsed(Record):
    """A plug-in used by a run. source: digest of its code. file: FILE.py:CLASS of one without a package, relative to the folder
    in which the run was started; the file's name alone where it was elsewhere."""

    name: str = ""
    distribution: str = ""
    version: str = ""
    source: str | None = None
    file: str | None = None


class Machine(Record):
    """The machine that computed a run. instructions: the CPU's vector instructions that torch uses, for runs on the CPU; the
    digits depend on them as on the number of threads. memory_format: of the training, where the run was asked for another one than
    the recipe's, or a trial on this machine decided it; the digits depend on it, too.
    """

    device: str | None = None
    device_name: str | None = None
    processor: str | None = None
    cores: int | None = None
    threads: int | None = None
    system: str | None = None
    instructions: str | None = None
    memory_format: Literal["contiguous", "channels_last"] | None = None

    @property
    def label(self) -> str:
        """Name of the processor, with its instructions, or of the accelerator; then the recorded memory format. Empty if nothing
        was recorded."""
        return " ".join(filter(None, (self.device_name or self.device, self.instructions, self.memory_format)))


class GitState(Record):
    """The git checkout in which the harness was started."""

    commit: str
    dirty: bool = False


class GivenPredictions(Record):
    """Predictions submitted from outside. digest: of the label maps. scored_under: the recipe of the track they were scored in."""

    digest: str
    about: str = ""
    scored_under: str = ""


class Provenance(FolderRecord):
    """provenance.json: what produced a run but isn't in its key. plugins: by role. versions: of packages, and of "numerics"."""

    FILE = "provenance.json"

    plugins: dict[str, PluginUsed] = {}
    versions: dict[str, str] = {}
    machine: Machine = Machine()
    git: GitState | None = None
    predictions: GivenPredictions | None = None

    @property
    def numerics(self) -> str | None:
        """Version of the harness's numerics."""
        return self.versions.get("numerics")

    @cached_property
    def code(self) -> str:
        """Digest of what affects the numbers besides the key: the plug-ins' sources and the harness's numerics.

        Empty if nothing was recorded. Runs with the same key but different code are different runs."""
        if not self.plugins and not self.versions:
            return ""
        sources = {role: plugin.source for role, plugin in self.plugins.items()}
        return sha256(canonical([sources, self.numerics]))[:SHORT]

    def changes(self, now: Provenance) -> list[str]:
        """Returns why a run with this provenance differs from one with the provenance `now`; empty if the code is the same."""
        if self.code == now.code:
            return []
        reasons = []
        for role in dict.fromkeys([*now.plugins, *self.plugins]):
            before, after = self.plugins.get(role), now.plugins.get(role)
            if before is None or after is None or before.source != after.source:
                reasons.append(f"{role} {(after or before or PluginUsed()).name}: its code has changed")
        if self.numerics != now.numerics:
            reasons.append(f"harness numerics {self.numerics} -> {now.numerics}")
        return reasons


# ---- split.json ----------------------------------------------------------------------------------------------------


class CaseRow(NamedTuple):
    """A case in split.json, stored as a list of four texts."""

    dataset: str
    id: str
    group: str
    domain: str

    @property
    def key(self) -> str:
        """The case's unique name: "dataset/id"."""
        return f"{self.dataset}/{self.id}"


class SplitRecord(FolderRecord):
    """split.json: the labeled, unlabeled, validation and test cases. drawn: the digest when the file was written."""

    FILE = "split.json"

    labeled: tuple[CaseRow, ...] = ()
    unlabeled: tuple[CaseRow, ...] = ()
    validation: tuple[CaseRow, ...] = ()
    test: tuple[CaseRow, ...] = ()
    validation_from: Literal["official", "labeled", "unlabeled", "none"] = "none"
    excluded: dict[str, str] = {}
    drawn: str | None = None

    @classmethod
    def of(cls, split: Split) -> Self:
        """Returns the record of a split."""
        roles: dict[str, Any] = {
            role: tuple(CaseRow(ref.dataset, ref.id, ref.group, ref.domain) for ref in refs)
            for role, refs in split.roles().items()
        }
        record = cls(**roles, validation_from=split.validation_from, excluded=dict(split.excluded))
        return record.model_copy(update={"drawn": record.digest})

    def roles(self) -> dict[str, tuple[CaseRow, ...]]:
        """Returns the four pools by name, in this order: labeled, unlabeled, validation, test."""
        return {"labeled": self.labeled, "unlabeled": self.unlabeled, "validation": self.validation, "test": self.test}

    @cached_property
    def digest(self) -> str:
        """Digest of what the protocol drew: every pool in its order, without the synthetic cases, which the run adds."""
        return sha256(canonical({role: [list(row) for row in drawn(rows)] for role, rows in self.roles().items()}))

    @model_validator(mode="after")
    def _unchanged(self) -> Self:
        if self.drawn is not None and self.drawn != self.digest:
            raise ValueError('its cases don\'t have the digest under "drawn"; the file was changed by hand')
        return self

    def changes(self, now: SplitRecord) -> list[str]:
        """Returns how the split differs from the one drawn now, as one reason; empty if they are equal."""
        if self.digest == now.digest:
            return []
        parts = []
        for (role, before), after in zip(self.roles().items(), now.roles().values(), strict=True):
            old, new = drawn(before), drawn(after)
            if old != new:
                removed, added = len(set(old) - set(new)), len(set(new) - set(old))
                parts.append(
                    f"{role}: {removed} cases removed, {added} added"
                    if removed or added
                    else f"{role}: in another order"
                )
        return [f"the protocol now draws another split ({'; '.join(parts)})"]


def drawn(rows: Iterable[CaseRow]) -> list[CaseRow]:
    """Returns the rows that the protocol drew, without the synthetic cases."""
    return [row for row in rows if row.dataset != SYNTHETIC]


# ---- result.json ---------------------------------------------------------------------------------------------------


class ScoreSummary(Record):
    """One metric of one checkpoint, predictor and convention: means over the test cases, by class and over the classes.

    higher: whether larger values are better (None: not recorded). own_mean: whether the convention computes the mean in its own
    way. n: number of test cases. defined: number of (case, class) pairs with a value. An undefined mean is None.
    """

    checkpoint: str
    predictor: str
    convention: str
    metric: str
    mean: float | None
    unit: str = ""
    main: bool = False
    higher: bool | None = None
    own_mean: bool = False
    std_over_cases: float | None = None
    per_class: dict[str, float | None] = {}
    n: int = Field(default=0, ge=0)
    defined: int | None = Field(default=None, ge=0)
    empty_truth: int = 0
    empty_prediction: int = 0
    missing: int = 0

    @property
    def values(self) -> tuple[int, int]:
        """Number of defined values and of possible ones: one for each case and foreground class."""
        most = self.n * max(1, len(self.per_class))
        return most if self.defined is None else self.defined, most


class TrainingFigures(Record):
    """Cost of the training, and its best validation score."""

    iterations: int | None = None
    seconds: float | None = None
    iterations_per_second: float | None = None
    peak_memory_mb: float | None = None
    best_iteration: int | None = None
    best_validation: float | None = None


class ModelFigures(Record):
    """Size of the method, and the cost of one prediction with its default predictor."""

    parameters: int | None = None
    inference_parameters: int | None = None
    gflops: float | None = None


class InferenceFigures(Record):
    """Cost of the inference."""

    seconds_per_case: float | None = None


class TuningRecord(Record):
    """The study that found the settings of a tuned run."""

    study: str
    id: str
    trials: int
    seconds: float

    @property
    def label(self) -> str:
        """The study as text: "NAME/ID, 30 trials, 12 min"."""
        return f"{self.study}/{self.id}, {self.trials} trials, {self.seconds / 60.0:.3g} min"


class Result(FolderRecord):
    """result.json: the figures of a finished run.

    split: digest of the drawn split. no_best: why there are no weights that are the best on validation. label_budget: number of
    labeled and validation cases. submitted: whether the predictions
    were submitted from outside.
    """

    FILE = "result.json"

    key: str | None = None
    row: str | None = None
    track: str | None = None
    split: str | None = None
    scores: tuple[ScoreSummary, ...] = Field(min_length=1)
    training: TrainingFigures = TrainingFigures()
    no_best: str | None = None
    model: ModelFigures = ModelFigures()
    inference: InferenceFigures = InferenceFigures()
    label_budget: int | None = None
    synthetic: dict[str, Any] | None = None
    tuning: TuningRecord | None = None
    pictures: tuple[str, ...] = ()
    phantom: bool = False
    submitted: bool = False

    @classmethod
    def lifted(cls, record: dict[str, Any]) -> dict[str, Any]:
        """Converts format 1, which may prefix a convention with its distribution and nest the mean of a class."""
        scores = record.get("scores")
        if isinstance(scores, list):
            record = {**record, "scores": [_lifted_score(score) for score in scores]}
        return super().lifted(record)

    @property
    def figures(self) -> dict[str, TrainingFigures | ModelFigures | InferenceFigures]:
        """The figures besides the scores, by their names in the file."""
        return {"training": self.training, "model": self.model, "inference": self.inference}


def _lifted_score(score: Any) -> Any:
    if not isinstance(score, Mapping):
        return score
    lifted = dict(score)
    if isinstance(lifted.get("convention"), str):
        lifted["convention"] = lifted["convention"].split(":", 1)[-1]
    if isinstance(lifted.get("per_class"), Mapping):
        lifted["per_class"] = {
            name: value.get("mean") if isinstance(value, Mapping) else value
            for name, value in lifted["per_class"].items()
        }
    elif lifted.get("per_class") is None:
        lifted.pop("per_class", None)
    return lifted
