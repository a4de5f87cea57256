"""The identity of a run: track, entry, replicate (architecture.md, section 4). Imports pydantic and the standard library only."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

NUMERICS = 2
"""Increased by hand whenever a change of the harness changes the digits of a run; tests pin the digits."""

SHORT = 12
"""Number of characters of a digest that people see."""


def canonical(value: Any) -> str:
    """Return the JSON text that equal values share: sorted keys, no white space.

    Args:
        value: plain types only.

    Raises:
        ValueError: for NaN and infinities.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256(text: str | bytes) -> str:
    """Return the hexadecimal sha256 of a text (as UTF-8) or of bytes."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


class Frozen(BaseModel, frozen=True, extra="forbid"):
    """An immutable record that rejects unknown fields and has a digest."""

    def digest(self) -> str:
        """Return the sha256 of the canonical JSON, with every default written out. It does not depend on paths or the machine."""
        return sha256(canonical(self.model_dump(mode="json")))


MOST_VOXELS = 2**31
"""Largest grid that an option may ask for."""


def _bounded(sides: tuple[int, ...]) -> tuple[int, ...]:
    if math.prod(sides) > MOST_VOXELS:
        raise ValueError(f"expected at most {MOST_VOXELS} voxels")
    return sides


Grid = Annotated[tuple[Annotated[int, Field(gt=0, le=100_000)], ...], AfterValidator(_bounded)]
"""The sides of an image, in pixels or voxels."""


LOCAL = "local"
"""The distribution of plug-ins that are files without a package, and of data sets that their folder declares."""

NAMED_IN_FULL = frozenset({LOCAL, "monai"})
"""Distributions whose plug-ins users name in full, since they are found on demand and not listed by name."""


class Part(Frozen):
    """A plugin with all of its options resolved."""

    name: str
    """Full name, "distribution:name"."""
    options: dict[str, Any] = {}
    """Every option, defaults included."""

    @property
    def short(self) -> str:
        """The name as users type it: without its distribution, unless it is one of `NAMED_IN_FULL`."""
        distribution = self.name.rpartition(":")[0]
        return self.name if distribution in NAMED_IN_FULL else self.name.split(":", 1)[-1]


class Track(Frozen):
    """What the rows of one leaderboard share."""

    protocol: Part
    """The rule that draws the split."""
    dataset: Part
    """The data set."""
    data: str
    """Digest of every case that the protocol may use."""
    recipe: Part | Literal["own"]
    """The recipe that all rows share, or "own": each entry brings its own."""
    tuning: str = "default"
    """Either "default" or "validation:N" with the number of trials N."""

    @property
    def is_phantom(self) -> bool:
        """Whether the data are phantoms, which must never be mixed with real results."""
        return self.dataset.options.get("phantom") is not None

    @property
    def title(self) -> str:
        """A readable title: "tus (phantom) · synthetic · quick · 3fa94b12"."""
        dataset = f"{self.dataset.short} (phantom)" if self.is_phantom else self.dataset.short
        parts = [dataset, self.protocol.short, self.recipe if isinstance(self.recipe, str) else self.recipe.short]
        if self.tuning != "default":
            parts.append(f"tuned {self.tuning}")
        return " · ".join([*parts, self.digest()[:8]])


class Entry(Frozen):
    """Who competes."""

    method: Part
    """The method."""
    terms: dict[str, Any] = {}
    """The resolved weight, ramp and gate of every loss term."""
    backbone: Part
    """The network."""
    init: str | None = None
    """sha256 of the start weights; None: random."""
    recipe: Part | None = None
    """The entry's own recipe, if the track says "own"."""
    unlabeled_from: Literal["labeled"] | None = None
    """Where the unlabeled images come from. "labeled": a control, whose unlabeled pool is the labeled images. None: the protocol
    decides; the record then leaves the field out, so that the key is that of a version without it."""

    @model_serializer(mode="wrap")
    def _record(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        record: dict[str, Any] = dump(self)
        if self.unlabeled_from is None:
            del record["unlabeled_from"]
        return record

    @property
    def is_control(self) -> bool:
        """Whether the unlabeled images are the labeled ones, so that only the method's other parts act."""
        return self.unlabeled_from == "labeled"


class Replicate(Frozen):
    """What a row averages over."""

    draw: int | None = None
    """Number of the random split; None: an official one."""
    fold: int | None = None
    """Fold of the split; None: it has no folds."""
    seed: int = 0
    """Training seed."""


class RunSpec(Frozen):
    """One run. Its digest is the run key."""

    track: Track
    """What rows of one leaderboard share."""
    entry: Entry
    """Who competes."""
    replicate: Replicate
    """What a row averages over."""

    @property
    def key(self) -> str:
        """The run key."""
        return self.digest()

    @property
    def row(self) -> str:
        """Digest of the row that this run belongs to: (track, entry)."""
        return sha256(canonical({"track": self.track.digest(), "entry": self.entry.digest()}))

    @property
    def name(self) -> str:
        """A readable name within the track: "mgcc · mgcc-net · draw 0 · seed 0"."""
        axes = {"draw": self.replicate.draw, "fold": self.replicate.fold, "seed": self.replicate.seed}
        replicate = [f"{axis} {value}" for axis, value in axes.items() if value is not None]
        control = ["control"] if self.entry.is_control else []
        return " · ".join([self.entry.method.short, self.entry.backbone.short, *control, *replicate])

    @property
    def recipe(self) -> Part:
        """The recipe of this run: the track's, or the entry's if the track says "own"."""
        if isinstance(self.track.recipe, Part):
            return self.track.recipe
        if self.entry.recipe is None:
            raise ValueError("a track with recipe 'own' needs an entry with a recipe")
        return self.entry.recipe


class Score(Frozen):
    """How a finished run is scored. Not part of its key, so that a run can be scored many times without training."""

    checkpoint: Literal["last", "best"] = "last"
    """The weights at the end, or the best on validation."""
    predictor: str | None = None
    """A name from `Method.predictors`; None: the method's default predictor."""
    convention: str = "semibench-1"
    """Short name of the convention."""
