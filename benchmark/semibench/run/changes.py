"""What a run sets otherwise than the names in its request imply, by a preset or by settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from semibench.contracts.cases import PhantomOptions
from semibench.contracts.recipe import grid_options, limited_confidence, network_options
from semibench.contracts.schedule import ramped
from semibench.files import jsonable
from semibench.run.request import parts_of, without
from semibench.run.settings import Nested, default_options, merge, term_records
from semibench.runfolder.plans import ChangedSetting

if TYPE_CHECKING:
    from semibench.run.resolve import Resolved


def changed_settings(resolved: Resolved) -> dict[str, ChangedSetting]:
    """Returns the settings of a run that differ from the default: "part.name" -> value and default.

    The default is what the same names give without a preset and without `--set`. For the recipe `own`, it is the recipe `paper`.
    """
    defaults = _defaults(resolved)
    changed: dict[str, ChangedSetting] = {}
    for part, values in parts_of(resolved.spec).items():
        implied = dict(_leaves(jsonable(defaults[part])))
        for name, value in _leaves(jsonable(values)):
            if name in implied and implied[name] != value:
                changed[f"{part}.{name}"] = ChangedSetting(value=value, default=implied[name])
    return changed


def split_name(options: Mapping[str, Any]) -> str:
    """Returns the name of the split that a protocol's options select: "drawn", or that of a published one.

    Protocols name it `split`, or `source` if their split is the only source of cases; others draw theirs.
    """
    return str(options.get("split", options.get("source", "drawn")))


def _defaults(resolved: Resolved) -> dict[str, Nested]:
    """Returns the default of every option, by part."""
    names, options, data = resolved.names, resolved.options, resolved.data
    size = grid_options(options.recipe, names.card.dims)
    known = options.backbone.Options.model_fields
    network = network_options(options.recipe.model_dump(), names.backbone.name, known)
    protocol, generator = _protocol_defaults(resolved)
    return {
        "recipe": without(options.base.model_dump(mode="json"), "name", "dims"),
        "method": merge(
            default_options(options.method.Options),
            limited_confidence(options.method.Options, options.recipe.highest_confidence),
        ),
        "term": term_records(ramped(options.method.terms, options.recipe.unlabeled_ramp), {}),
        "backbone": merge(default_options(options.backbone.Options), network),
        "protocol": protocol,
        "dataset": merge(default_options(names.dataset.resolve().Options), size),
        "phantom": default_options(PhantomOptions) if data.phantom else {},
        "generator": generator,
    }


def _protocol_defaults(resolved: Resolved) -> tuple[Nested, Nested]:
    """Returns the default options of the protocol and those of its generator."""
    options, data = resolved.options, resolved.data
    protocol = merge(
        default_options(options.protocol.Options), options.protocol.defaults(data.catalog), options.recipe_protocol
    )
    if options.generator is None:
        return protocol, {}
    generator = options.generator.resolve()
    protocol["generator"] = options.generator.full_name
    protocol["curation"] = default_options(generator.Curation)
    presets = generator.presets.get(options.recipe.name.rstrip("*"), {})
    return protocol, merge(default_options(generator.Options), presets)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Returns the values within values, with dotted names."""
    leaves: list[tuple[str, Any]] = []
    for name, value in values.items():
        leaves += _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return leaves
