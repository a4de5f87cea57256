"""The `bench run` line that makes a run again, from its spec: names, and every option that isn't what they imply."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from semibench.contracts.errors import SemibenchError
from semibench.contracts.identity import RunSpec
from semibench.files import jsonable
from semibench.registry import registry
from semibench.run.settings import merge
from semibench_leaderboards.reading.differences import flat
from semibench_leaderboards.reading.records import RunRecord

Nested = Mapping[str, Any]
NOTHING: Nested = {}
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*$")


def command(records: Sequence[RunRecord]) -> str:
    """One line that makes the runs of a row again (records: of one row). Where they form no product of one draw, one fold and
    some seeds, one line for each (draw, fold), joined by newlines."""
    places: dict[tuple[int | None, int | None], list[RunRecord]] = {}
    for record in records:
        places.setdefault(record.draw_fold, []).append(record)
    lines = []
    for (draw, fold), members in places.items():
        words = words_of(members[0].spec, study=members[0].study, tuning=members[0].tuning)
        words += ["--draw", str(draw)] if draw else []
        words += ["--fold", str(fold)] if fold is not None else []
        words += _seeds(sorted({record.replicate[2] for record in members}))
        lines.append(shlex.join(words))
    return "\n".join(lines)


def words_of(spec: RunSpec, *, study: Any = None, tuning: str = "default") -> list[str]:
    """The words of the line without draw, fold and seed. What a part of the harness or a plug-in implies is left out where it
    can be known; where a plug-in isn't installed all options are written out."""
    track, entry = spec.track, spec.entry
    own = track.recipe == "own"
    recipe = dict(spec.recipe.options)
    name = "own" if own else spec.recipe.short.rstrip("*")
    dims = recipe.get("dims") or entry.backbone.options.get("dims")
    words = ["bench", "run", "-p", track.protocol.short, "-d", track.dataset.short, "-m", entry.method.short]
    words += ["-b", entry.backbone.short, "-r", name]
    words += ["--dims", str(dims)] if dims else []
    phantom = track.dataset.options.get("phantom")
    words.append("--no-phantom" if phantom is None else "--phantom")
    base, layer = _recipe(name, dims, track.protocol.short, track.dataset.short)
    tuned = tuning != "default" and isinstance(study, str | Mapping)
    if tuned:
        words += ["--tuned", str(study.get("name", study)) if isinstance(study, Mapping) else study]
    if entry.init:
        words += ["--weights", f"FILE-WITH-SHA256-{entry.init[:12]}"]
    settings = [
        *_changed("recipe", {k: v for k, v in recipe.items() if k not in ("name", "dims")}, base),
        *_changed("phantom", phantom or {}, _phantom()),
        *_changed("dataset", _without(track.dataset.options, "phantom"), _dataset(track.dataset.name, recipe)),
        *_protocol(track.protocol.options, merge(_options("protocols", track.protocol.name), layer), track.protocol.name, name),
        *_changed("backbone", _without(entry.backbone.options, "dims"), _backbone(entry.backbone.name, recipe)),
        *_changed("method", entry.method.options, _options("methods", entry.method.name)),
    ]  # fmt: skip
    if not tuned:
        settings += _changed("term", entry.terms, _terms(entry.method.name))
    for text in settings:
        words += ["--set", text]
    return words


def _without(options: Nested, *names: str) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}


def _changed(part: str, found: Nested, implied: Nested) -> list[str]:
    """ "part.name=value" for each value that isn't implied."""
    known = flat(jsonable(implied))
    return [
        f"{part}.{name}={yaml_value(value)}"
        for name, value in flat(jsonable(found)).items()
        if name and (name not in known or known[name] != value)
    ]


def _protocol(found: Nested, implied: Nested, name: str, recipe: str) -> list[str]:
    """A protocol's options, with those that the data would decide always written out; a generator's under its own name."""
    decided = _decided(name)
    maker = str(found.get("generator") or "")
    options, curation = _generator(maker, recipe)
    inner = found.get("generator_options") or {}
    rest = _without(found, "generator_options", *decided)
    known = {key: value for key, value in merge(implied, {"curation": curation}).items() if key not in decided}
    if maker.split(":", 1)[-1] == known.get("generator"):
        rest.pop("generator")
    forced = [f"protocol.{key}={yaml_value(found[key])}" for key in decided if key in found]
    return [*forced, *_changed("protocol", rest, known), *_changed("generator", inner, options)]


def yaml_value(value: Any) -> str:
    """A value as `--set` reads it back: plain words bare, all else as JSON (which is YAML)."""
    if (
        isinstance(value, str)
        and PLAIN.match(value)
        and value.lower() not in ("null", "true", "false", "yes", "no", "on", "off")
    ):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _seeds(seeds: Sequence[int]) -> list[str]:
    if len(seeds) == 1:
        return ["--seed", str(seeds[0])]
    runs = seeds[-1] - seeds[0] == len(seeds) - 1
    return ["--seeds", f"{seeds[0]}-{seeds[-1]}" if runs else ",".join(map(str, seeds))]


# ---- what names imply ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _options(kind: str, name: str) -> Nested:
    """The default options of a plug-in; nothing where it isn't installed, so that all are written out."""
    try:
        item = registry().get(kind, name)
        fields: Mapping[str, Any] = item.resolve().Options.model_fields
    except SemibenchError:
        return NOTHING
    return {
        key: _dumped(field.get_default(call_default_factory=True))
        for key, field in fields.items()
        if not field.is_required()
    }


def _dumped(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


@lru_cache(maxsize=64)
def _decided(protocol: str) -> tuple[str, ...]:
    """Options of a protocol that the data would decide where they are left out."""
    from semibench.contracts.protocol import DrawProtocol

    try:
        cls = registry().get("protocols", protocol).resolve()
    except SemibenchError:
        return ()
    if cls.defaults is DrawProtocol.defaults:
        return ()
    return tuple(
        name for name in ("source", "split", "target", "sources", "datasets") if name in cls.Options.model_fields
    )


@lru_cache(maxsize=256)
def _terms(method: str) -> Nested:
    try:
        terms = registry().get("methods", method).resolve().terms
    except SemibenchError:
        return NOTHING
    return {name: term.record() for name, term in terms.items()}


@lru_cache(maxsize=64)
def _generator(name: str, recipe: str) -> tuple[Nested, Nested]:
    """The options of a generator under a recipe, and those of its curation."""
    if not name:
        return NOTHING, NOTHING
    try:
        cls = registry().get("generators", name).resolve()
    except SemibenchError:
        return NOTHING, NOTHING
    options = merge(_options("generators", name), cls.presets.get(recipe, {}))
    return options, cls.Curation().model_dump(mode="json")


def _backbone(name: str, recipe: Nested) -> Nested:
    widths = recipe.get("widths") or {}
    return merge(_options("backbones", name), {"width": widths.get(name.split(":", 1)[-1], widths.get("*", 1.0))})


def _dataset(name: str, recipe: Nested) -> Nested:
    """The data set's options; images come at the size of the recipe's patch."""
    implied = dict(_options("datasets", name))
    patch = recipe.get("patch")
    if "size" in implied and isinstance(patch, Iterable) and len(list(patch)) == 2:
        implied["size"] = list(patch)
    return implied


@lru_cache(maxsize=1)
def _phantom() -> Nested:
    from semibench.contracts.cases import PhantomOptions

    found: Nested = PhantomOptions().model_dump(mode="json")
    return found


@lru_cache(maxsize=256)
def _recipe(name: str, dims: Any, protocol: str, dataset: str) -> tuple[Nested, Nested]:
    """The values of a recipe for a setting, and the protocol options that come with it."""
    from semibench.run.resolve import base_recipe

    try:
        values, layer = base_recipe(
            registry(), "paper" if name == "own" else name, dims=int(dims), protocol=protocol, dataset=dataset
        )
    except (SemibenchError, TypeError, ValueError):
        return NOTHING, NOTHING
    return values.model_dump(mode="json"), layer
