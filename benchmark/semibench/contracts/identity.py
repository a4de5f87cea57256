"""What a run is: track, entry, replicate (architecture.md, section 4). Light: pydantic and the standard library only."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel

NUMERICS = 1
"""Raised by hand whenever a change of the harness changes the digits of a run (tests/test_numerics.py pins them)."""

SHORT = 12
"""Characters of a digest that are shown to people."""


def canonical(value: Any) -> str:
    """JSON text that two equal values share: sorted keys, no white space, plain types only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256(text: str | bytes) -> str:
    """Hexadecimal sha256 of a text (as UTF-8) or of bytes."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


class Frozen(BaseModel, frozen=True, extra="forbid"):
    """An immutable record that refuses unknown fields and can be digested."""

    def digest(self) -> str:
        """sha256 of the canonical JSON with every default written out; holds no path and nothing of the machine."""
        return sha256(canonical(self.model_dump(mode="json")))


class Part(Frozen):
    """A plugin with all of its options resolved; `name` is "distribution:name"."""

    name: str
    options: dict[str, Any] = {}

    @property
    def short(self) -> str:
        """The name without its distribution, as people type it."""
        return self.name.split(":", 1)[-1]


class Track(Frozen):
    """What the rows of one leaderboard share."""

    protocol: Part
    dataset: Part
    data: str
    recipe: Part | Literal["own"]
    tuning: str = "default"

    @property
    def is_phantom(self) -> bool:
        """Whether the data are procedural stand-ins: never to be mixed with real results."""
        return self.dataset.options.get("phantom") is not None

    @property
    def title(self) -> str:
        """The track in readable words: "tus (phantom) · synthetic · quick · 3fa94b12"."""
        dataset = f"{self.dataset.short} (phantom)" if self.is_phantom else self.dataset.short
        parts = [dataset, self.protocol.short, self.recipe if isinstance(self.recipe, str) else self.recipe.short]
        if self.tuning != "default":
            parts.append(f"tuned {self.tuning}")
        return " · ".join([*parts, self.digest()[:8]])


class Entry(Frozen):
    """Who competes. `terms`: the resolved weight, ramp and gate of every loss term."""

    method: Part
    terms: dict[str, Any] = {}
    backbone: Part
    init: str | None = None
    recipe: Part | None = None


class Replicate(Frozen):
    """What a row averages over: which drawn split (None: an official one), which fold of it, which training seed."""

    draw: int | None = None
    fold: int | None = None
    seed: int = 0


class RunSpec(Frozen):
    """One run. Its digest is the run key."""

    track: Track
    entry: Entry
    replicate: Replicate

    @property
    def key(self) -> str:
        return self.digest()

    @property
    def row(self) -> str:
        """Digest of the row this run belongs to: (track, entry)."""
        return sha256(canonical({"track": self.track.digest(), "entry": self.entry.digest()}))

    @property
    def name(self) -> str:
        """The run within its track: "mgcc · mgcc-net · draw 0 · seed 0"."""
        axes = {"draw": self.replicate.draw, "fold": self.replicate.fold, "seed": self.replicate.seed}
        replicate = [f"{axis} {value}" for axis, value in axes.items() if value is not None]
        return " · ".join([self.entry.method.short, self.entry.backbone.short, *replicate])

    @property
    def recipe(self) -> Part:
        """The recipe that trains this run: the track's, or the entry's where the track says "own"."""
        if isinstance(self.track.recipe, Part):
            return self.track.recipe
        if self.entry.recipe is None:
            raise ValueError("a track with recipe 'own' needs an entry with a recipe")
        return self.entry.recipe


class Score(Frozen):
    """How a finished run is read; not part of its key, so that a run is scored many times without training."""

    checkpoint: Literal["last", "best"] = "last"
    """Which weights: the last ones, or the best on validation."""
    predictor: str | None = None
    """Which network of a method; None for the method's default one."""
    convention: str = "semibench-1"
    """How predictions become numbers: the short name of a convention."""
