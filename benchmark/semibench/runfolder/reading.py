"""Reads a run folder: the only thing the mirror knows about a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from semibench.contracts.errors import IdentityError
from semibench.contracts.identity import SHORT, RunSpec, canonical, sha256


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested plain values as (dotted key, text) pairs; an empty mapping or list is one pair."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(item, (Mapping, list)) for item in value):
        for number, inner in enumerate(value):
            yield from flatten(inner, f"{prefix}.{number}")
    elif isinstance(value, (Mapping, list, tuple)):
        yield prefix, json.dumps(value, ensure_ascii=False)
    else:
        yield prefix, "" if value is None else str(value)


class RunFolder:
    """One run as its files say it. A file that isn't written yet reads as empty; `spec.json` must be there.

    Raises IdentityError where the folder holds no readable run spec.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        file = self.path / "spec.json"
        if not file.is_file():
            raise IdentityError(
                f"expected a run folder with a spec.json, found none in {self.path}; give the folder of one run"
            )
        try:
            self.spec = RunSpec.model_validate_json(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise IdentityError(f"{file} is not a run spec: {error}") from error

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object by file name; empty where the file isn't there. Raises IdentityError for broken JSON."""
        file = self.path / name
        if not file.is_file():
            return {}
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise IdentityError(
                f"{file} is not JSON ({error}); was the file cut off? Run again with --force"
            ) from error
        if not isinstance(value, dict):
            raise IdentityError(f"{file}: expected a JSON object, found {type(value).__name__}")
        return value

    @cached_property
    def status(self) -> dict[str, Any]:
        return self.json("status.json")

    @cached_property
    def provenance(self) -> dict[str, Any]:
        return self.json("provenance.json")

    @cached_property
    def plan(self) -> dict[str, Any]:
        return self.json("plan.json")

    @cached_property
    def result(self) -> dict[str, Any]:
        return self.json("result.json")

    @property
    def state(self) -> str:
        """running, done, failed or interrupted."""
        return str(self.status.get("state", "running"))

    @property
    def phantom(self) -> bool:
        """Whether the data are procedural stand-ins: never to be mixed with real results."""
        return self.spec.track.dataset.options.get("phantom") is not None

    @property
    def recipe(self) -> str:
        """Name of the recipe as it is shown: `name*` where values were changed."""
        return self.spec.recipe.short

    @property
    def title(self) -> str:
        """The track in readable words: "tus (phantom) · synthetic · quick · 3fa94b12"."""
        track = self.spec.track
        dataset = f"{track.dataset.short} (phantom)" if self.phantom else track.dataset.short
        recipe = track.recipe if isinstance(track.recipe, str) else self.recipe  # "own": each entry has another
        parts = [dataset, track.protocol.short, recipe]
        if track.tuning != "default":
            parts.append(f"tuned {track.tuning}")
        return " · ".join([*parts, track.digest()[:8]])

    @property
    def name(self) -> str:
        """The run within its track: "mgcc · mgcc-net · draw 0 · seed 0"."""
        entry, replicate = self.spec.entry, self.spec.replicate
        parts = [entry.method.short, entry.backbone.short]
        parts += [f"{axis} {value}" for axis, value in replicate.model_dump().items() if value is not None]
        return " · ".join(parts)

    def params(self) -> dict[str, str]:
        """Everything that makes the run key, flat: `protocol.*`, `dataset.*`, `recipe.*`, `method.*`, `terms.*` ..."""
        spec = self.spec
        record: dict[str, Any] = {
            "protocol": {"name": spec.track.protocol.name, **spec.track.protocol.options},
            "dataset": {"name": spec.track.dataset.name, **spec.track.dataset.options},
            "recipe": {"name": spec.recipe.name, **{k: v for k, v in spec.recipe.options.items() if k != "name"}},
            "tuning": spec.track.tuning,
            "method": {"name": spec.entry.method.name, **spec.entry.method.options},
            "terms": spec.entry.terms,
            "backbone": {"name": spec.entry.backbone.name, **spec.entry.backbone.options},
            "init": spec.entry.init,
            **spec.replicate.model_dump(mode="json"),
        }
        return dict(flatten(record))

    def tags(self) -> dict[str, str]:
        """What runs are searched by; everything that isn't in the run key but was recorded stands here too."""
        spec, replicate = self.spec, self.spec.replicate
        tags = {
            "semibench.key": spec.key,
            "semibench.key12": spec.key[:SHORT],
            "semibench.row": spec.row[:SHORT],
            "semibench.track": spec.track.digest()[:SHORT],
            "semibench.data": spec.track.data,
            "semibench.data_kind": "phantom" if self.phantom else "real",
            "semibench.state": self.state,
            "semibench.code": self.code,
            "semibench.folder": str(self.path),
            "protocol": spec.track.protocol.short,
            "dataset": spec.track.dataset.short,
            "method": spec.entry.method.short,
            "backbone": spec.entry.backbone.short,
            "recipe": self.recipe,
            "draw": "" if replicate.draw is None else str(replicate.draw),
            "fold": "" if replicate.fold is None else str(replicate.fold),
            "seed": str(replicate.seed),
        }
        for role, plugin in self.provenance.get("plugins", {}).items():
            tags |= {f"plugins.{role}.{key}": str(plugin.get(key, "")) for key in ("version", "source")}
        for part in ("versions", "machine", "git"):
            if self.provenance.get(part):
                tags.update((f"{part}.{key}", text) for key, text in flatten(self.provenance[part]))
        if self.status.get("error"):
            tags["semibench.error"] = str(self.status["error"])
        return tags

    @property
    def code(self) -> str:
        """Digest of what decides the digits beside the key: the plugins' sources and the harness's numerics. Runs with
        one key and another code are not the same."""
        plugins = self.provenance.get("plugins", {})
        sources = {role: record.get("source") for role, record in plugins.items()}
        return sha256(canonical([sources, self.provenance.get("versions", {}).get("numerics")]))[:SHORT]

    @cached_property
    def steps(self) -> list[tuple[str, int, float]]:
        """(metric, step, value) of steps.parquet in file order; step: iteration of the run, over all stages."""
        file = self.path / "steps.parquet"
        if not file.is_file():
            return []
        import pyarrow.parquet as parquet

        table = parquet.read_table(file, columns=["step", "name", "value"]).to_pydict()
        return [
            (str(name), int(step), float(value))
            for step, name, value in zip(table["step"], table["name"], table["value"], strict=True)
        ]

    def steps_digest(self, rows: int) -> str:
        """Digest of the first rows of `steps`, digit for digit; empty text for none."""
        return sha256(repr(self.steps[:rows]))[:SHORT] if rows else ""

    def scores(self) -> dict[str, float]:
        """Final scores by name, `last.main.semibench-1.dice` (mean over cases), with `.std` and `.<class>`; training and
        model figures as `training.*`, `model.*`, `inference.*`. What is undefined is left out."""
        values: dict[str, Any] = {}
        for score in self.result.get("scores", []):
            convention = str(score["convention"]).split(":", 1)[-1]
            stem = f"{score['checkpoint']}.{score['predictor']}.{convention}.{score['metric']}"
            values[stem] = score["mean"]
            values[f"{stem}.std"] = score.get("std_over_cases")
            for name, value in score.get("per_class", {}).items():
                values[f"{stem}.{name}"] = value["mean"] if isinstance(value, Mapping) else value
        for part in ("training", "model", "inference"):
            values.update((f"{part}.{name}", value) for name, value in self.result.get(part, {}).items())
        return {
            name: float(value)
            for name, value in values.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
        }
