"""The `bench run` line that repeats a run, made from its spec: names, and every option that the names don't imply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from semibench.contracts.errors import SemibenchError
from semibench.contracts.identity import LOCAL, RunSpec
from semibench.contracts.recipe import network_options
from semibench.data.declared.naming import find_dataset
from semibench.discovery.registry import registry
from semibench.files import jsonable
from semibench.run.request import Cell, parts_of, without
from semibench.run.settings import default_options, merge, term_records, texts
from semibench_leaderboards.reading.differences import flat
from semibench_leaderboards.reading.recorded_files import references
from semibench_leaderboards.reading.records import DrawFold, RunRecord

Nested = Mapping[str, Any]
NOTHING: Nested = {}


def command(records: Sequence[RunRecord]) -> str:
    """The lines that repeat the runs of a row, one for each draw and fold, joined by newlines.

    records: runs of one row.
    """
    by_draw_fold: dict[DrawFold, list[RunRecord]] = {}
    for record in records:
        by_draw_fold.setdefault(record.draw_fold, []).append(record)
    lines = []
    for (draw, fold), members in by_draw_fold.items():
        cell = cell_of(members[0].spec, study=members[0].study, tuning=members[0].tuning)
        seeds = sorted({record.replicate[2] for record in members})
        cell = cell.model_copy(update=references(members[0].provenance))
        cell = cell.model_copy(update={"draw": draw or 0, "fold": fold, "seed": seeds[0]})
        more = f" --seeds {_listed(seeds)}" if len(seeds) > 1 else ""
        lines.append(cell.to_command(leave_out=("seed",) if more else ()) + more)
    return "\n".join(lines)


def cell_of(spec: RunSpec, *, study: Any = None, tuning: str = "default") -> Cell:
    """The cell of a run, with short names. Options that the harness or a plug-in implies are left out; where a plug-in isn't
    installed, all of its options are written out."""
    track, entry = spec.track, spec.entry
    changes: dict[str, Any] = {
        "protocol": track.protocol.short,
        "dataset": track.dataset.name if track.dataset.name.startswith(f"{LOCAL}:") else track.dataset.short,
        "method": entry.method.short,
        "backbone": entry.backbone.short,
        "recipe": spec.recipe.short.rstrip("*"),
        "dims": spec.recipe.options.get("dims") or entry.backbone.options.get("dims"),
        "weights": Path(f"FILE-WITH-SHA256-{entry.init[:12]}") if entry.init else None,
    }
    tuned = tuning != "default" and isinstance(study, str | Mapping)
    if tuned:
        changes["tuned"] = Path(str(study.get("name", study)) if isinstance(study, Mapping) else study)
    settings = _settings(spec, changes["recipe"], changes["dims"], tuned=tuned)
    if track.recipe == "own":
        changes["recipe"] = spec.recipe.short
        for name, preset in _own_presets(entry.method.name).items():
            with_preset = _settings(spec, "own", changes["dims"], preset, tuned=tuned)
            if len(with_preset) < len(settings):  # the preset that the run had needs the fewest settings
                settings = with_preset
                changes |= {"preset": name, "recipe": "own"}
    changes["settings"] = texts(settings)
    return Cell.from_spec(spec).model_copy(update=changes)


def _settings(spec: RunSpec, recipe: str, dims: Any, preset: Nested = NOTHING, *, tuned: bool) -> dict[str, Any]:
    """The settings of a run that its names don't imply. preset: of the method; without one, the recipe "own" implies nothing."""
    track, entry, parts = spec.track, spec.entry, parts_of(spec)
    base, layer = _recipe(recipe, dims, track.protocol.short, track.dataset.short)
    base = NOTHING if recipe == "own" and not preset else jsonable(merge(base, preset.get("recipe", {})))
    implied_protocol = merge(_options("protocols", track.protocol.name), layer)
    settings = {
        **_changed("recipe", parts["recipe"], base),
        **_changed("phantom", parts["phantom"], _phantom()),
        **_changed("dataset", parts["dataset"], _dataset(track.dataset.name, spec.recipe.options)),
        **_protocol(track.protocol.options, implied_protocol, track.protocol.name, recipe),
        **_changed(
            "backbone", parts["backbone"],
            merge(_backbone(entry.backbone.name, spec.recipe.options), preset.get("backbone", {})),
        ),
        **_changed("method", parts["method"], merge(_options("methods", entry.method.name), preset.get("options", {}))),
    }  # fmt: skip
    terms = _terms(entry.method.name, preset)
    return settings if tuned else settings | _changed("term", parts["term"], terms)


def _changed(part: str, options: Nested, implied: Nested) -> dict[str, Any]:
    """ "part.name" -> value for each value that isn't implied."""
    implied_values = flat(jsonable(implied))
    return {
        f"{part}.{name}": value
        for name, value in flat(jsonable(options)).items()
        if name and (name not in implied_values or implied_values[name] != value)
    }


def _protocol(options: Nested, implied: Nested, name: str, recipe: str) -> dict[str, Any]:
    """Settings for the options of a protocol, and for those of its generator under the generator's own name.

    Options that the data would decide are always written out.
    """
    decided = _decided(name)
    generator = str(options.get("generator") or "")
    implied_generator, curation = _generator(generator, recipe)
    generator_options = options.get("generator_options") or {}
    rest = without(options, "generator_options", *decided)
    implied_options = {
        key: value for key, value in merge(implied, {"curation": curation}).items() if key not in decided
    }
    if generator.split(":", 1)[-1] == implied_options.get("generator"):
        rest.pop("generator")
    forced = {f"protocol.{key}": options[key] for key in decided if key in options}
    changed = _changed("protocol", rest, implied_options)
    return forced | changed | _changed("generator", generator_options, implied_generator)


def _listed(seeds: Sequence[int]) -> str:
    """Sorted seeds as `--seeds` takes them."""
    consecutive = seeds[-1] - seeds[0] == len(seeds) - 1
    return f"{seeds[0]}-{seeds[-1]}" if consecutive else ",".join(map(str, seeds))


# ---- what names imply ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _options(kind: str, name: str) -> Nested:
    """The default options of a plug-in; empty where it isn't installed, so that all options are written out."""
    try:
        item = find_dataset(registry(), name) if kind == "datasets" else registry().get(kind, name)
        return default_options(item.resolve().Options)
    except SemibenchError:
        return NOTHING


@lru_cache(maxsize=64)
def _decided(protocol: str) -> tuple[str, ...]:
    """Options of a protocol that the data decide where they are left out."""
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


def _terms(method: str, preset: Nested) -> Nested:
    try:
        return term_records(registry().get("methods", method).resolve().terms, preset.get("terms", {}))
    except SemibenchError:
        return NOTHING


def _own_presets(method: str) -> dict[str, Nested]:
    """The presets of a method that have a recipe."""
    try:
        presets = registry().get("methods", method).resolve().presets
    except SemibenchError:
        return {}
    return {name: preset for name, preset in presets.items() if "recipe" in preset}


@lru_cache(maxsize=64)
def _generator(name: str, recipe: str) -> tuple[Nested, Nested]:
    """The default options of a generator under a recipe, and those of its curation."""
    if not name:
        return NOTHING, NOTHING
    try:
        cls = registry().get("generators", name).resolve()
    except SemibenchError:
        return NOTHING, NOTHING
    options = merge(_options("generators", name), cls.presets.get(recipe, {}))
    return options, cls.Curation().model_dump(mode="json")


def _backbone(name: str, recipe: Nested) -> Nested:
    own = _options("backbones", name)
    return merge(own, network_options(recipe, name.split(":", 1)[-1], own))


def _dataset(name: str, recipe: Nested) -> Nested:
    """The data set's default options. Images have the size of the recipe's patch."""
    implied = dict(_options("datasets", name))
    patch = recipe.get("patch")
    if implied.get("size", 0) is None and isinstance(patch, Iterable) and len(list(patch)) == 2:
        implied["size"] = list(patch)
    return implied


@lru_cache(maxsize=1)
def _phantom() -> Nested:
    from semibench.contracts.cases import PhantomOptions

    found: Nested = PhantomOptions().model_dump(mode="json")
    return found


@lru_cache(maxsize=256)
def _recipe(name: str, dims: Any, protocol: str, dataset: str) -> tuple[Nested, Nested]:
    """The values of a recipe for a protocol and data set, and the protocol options that it sets."""
    from semibench.run.defaults import base_recipe

    try:
        values, layer = base_recipe(
            registry(), "paper" if name == "own" else name, dims=int(dims), protocol=protocol, dataset=dataset
        )
    except (SemibenchError, TypeError, ValueError):
        return NOTHING, NOTHING
    return values.model_dump(mode="json"), layer
