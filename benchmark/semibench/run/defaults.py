"""Defaults for what a request leaves out: recipe values, method, backbone, dims of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semibench.contracts.cards import DatasetCard, RecipeCard
from semibench.contracts.cases import Dataset
from semibench.contracts.errors import UnknownNameError, UnsupportedError, UsageError
from semibench.contracts.recipe import Recipe, grid_options
from semibench.discovery.registry import BUILT_IN, Registered, Registry
from semibench.run.settings import build, merge


def base_recipe(
    plugins: Registry, name: str, *, dims: int, protocol: str, dataset: str
) -> tuple[Recipe, dict[str, Any]]:
    """Returns the recipe of this name for a protocol and data set, and the protocol options that come with it.

    All matching cards are merged; a more specific card overrides a more general one. The cards of a recipe that they extend
    come before them.

    Raises:
        UnknownNameError: if no card has the name.
        UsageError: if no card of the name has values for this combination, or recipes extend each other in a circle.
    """
    cards = _matching(plugins, name, dims, protocol, dataset, ())
    if not any(card.values for card in cards):
        names = {item.card.name for item in plugins.cards("recipes")}
        if name not in names:
            raise UnknownNameError("recipe", name, names | {"own"})
        raise UsageError(f"recipe {name!r} has no values for {dims}D, protocol {protocol!r}, data set {dataset!r}")
    values = merge(*(card.values for card in cards))
    options = merge(*(card.protocol for card in cards))
    return build(Recipe, f"recipe {name!r}", {"name": name, "dims": dims}, values), options


def _matching(
    plugins: Registry, name: str, dims: int, protocol: str, dataset: str, extending: tuple[str, ...]
) -> list[RecipeCard]:
    """Returns the cards of a recipe that apply, those of recipes that it extends first, then the general ones."""
    if name in extending:
        raise UsageError(f"recipes extend each other in a circle: {' -> '.join((*extending, name))}")
    matches: list[tuple[int, RecipeCard]] = []
    for item in plugins.cards("recipes"):
        card = item.card
        fits = (
            card.dims in (None, dims)
            and protocol in (card.protocols or (protocol,))
            and dataset in (card.datasets or (dataset,))
        )
        if card.name == name and fits:
            matches.append((sum((card.dims is not None, bool(card.protocols), bool(card.datasets))), card))
    cards = [card for _, card in sorted(matches, key=lambda pair: pair[0])]
    bases = dict.fromkeys(card.extends for card in cards if card.extends)
    extended = [_matching(plugins, base, dims, protocol, dataset, (*extending, name)) for base in bases]
    return [card for base in extended for card in base] + cards


def with_precision(settings: Mapping[str, Any], device: str, dims: int) -> dict[str, Any]:
    """Returns the settings of a recipe with the precision that `precision=auto` stands for: the key names what is computed.

    Args:
        settings: field -> value.
        device: as a request names it.
        dims: 2 or 3, of the networks.
    """
    if settings.get("precision") != "auto":
        return dict(settings)
    from semibench.training.device import choose
    from semibench.training.low_precision import fastest_precision

    return {**settings, "precision": fastest_precision(choose(device), dims)}


def own_recipe(base: Recipe, name: str, method: Registered, preset: str | None, settings: Mapping[str, Any]) -> Recipe:
    """Returns the recipe of a method: that of a preset, laid over the recipe `paper` of the data set.

    A request made from a stored spec has no preset. Its settings give every field, so they are the recipe.

    Args:
        base: the recipe `paper`.
        name: "own", or "own*" in a request made from the spec of a run whose recipe was changed.
        method: the method.
        preset: its preset; None where the request names none and the method has none for the data set.
        settings: the settings of the recipe.

    Raises:
        UsageError: if the preset has no recipe; the message names those that have one.
    """
    presets = method.resolve().presets
    values = presets[preset].get("recipe") if preset is not None else None
    if set(settings) >= set(Recipe.model_fields) - {"name", "dims"}:
        return build(Recipe, f"recipe {name!r}", base.model_dump(), settings, {"name": name})
    if values is None:
        usable = [
            other
            for other, parts in presets.items()
            if "recipe" in parts and len(parts["recipe"].get("patch", base.patch)) == base.dims
        ]
        missing = "none is named after this data set" if preset is None else f"preset {preset!r} has none"
        advice = (
            f"name one with --preset: {', '.join(usable)}; or use" if usable else f"it has none in {base.dims}D; use"
        )
        raise UsageError(
            f"--recipe own takes the recipe of a preset of method {method.name!r}, but {missing}; {advice} --recipe paper"
        )
    return build(Recipe, "recipe 'own'", base.model_dump(), values, {"name": "own"})


def default_method(plugins: Registry, protocol: str, dims: int) -> Registered:
    """Returns the protocol's default method for these dims: a built-in one if there is one; of several, the one that supports
    fewer dims."""
    for item in sorted(plugins.cards("methods"), key=lambda item: (item.distribution != BUILT_IN, len(item.card.dims))):
        if protocol in item.card.default_for and dims in item.card.dims:
            return item
    names = ", ".join(item.name for item in plugins.cards("methods") if dims in item.card.dims)
    raise UsageError(f"protocol {protocol!r} has no default method in {dims}D; name one with --method: {names}")


def default_backbone(
    plugins: Registry, method: Registered, *, dims: int, recipe: str, protocol: str, dataset: str
) -> Registered:
    """Returns the backbone that the method names, else that of the recipe, else the harness's default for these dims."""
    if method.card.backbone is not None:
        return plugins.get("backbones", method.card.backbone)
    base = "paper" if recipe.rstrip("*") == "own" else recipe
    named = [card.backbone for card in _matching(plugins, base, dims, protocol, dataset, ()) if card.backbone]
    if named:
        return plugins.get("backbones", named[-1])
    for item in plugins.cards("backbones"):
        if dims in item.card.default_for:
            return item
    raise UsageError(f"there is no default backbone in {dims}D; name one with --backbone")


def choose_dims(asked: int | None, card: DatasetCard, method: Registered | None, backbone: Registered | None) -> int:
    """Returns the dims of the network.

    These are the requested dims, or else those of the data (or the card's `network_dims`) if method and backbone support them,
    or else the other ones.

    Raises:
        UsageError: for a 3D network on images.
        UnsupportedError: if method and backbone support none of them.
    """
    if asked is not None:
        candidates: tuple[int, ...] = (asked,)
    else:
        candidates = (card.dims,) if card.dims == 2 else (2, 3) if card.network_dims == 2 else (3, 2)
    if card.dims == 2 and 3 in candidates:
        raise UsageError(f"data set {card.name!r} has images: a 3D network can't be trained on them")
    for dims in candidates:
        if all(dims in item.card.dims for item in (method, backbone) if item is not None):
            return dims
    parts = [f"{item.kind[:-1]} {item.name!r}: {item.card.dims}" for item in (method, backbone) if item is not None]
    raise UnsupportedError(f"no common dims: tried {candidates}; {'; '.join(parts)}")


def grid_of(dataset: type[Dataset], recipe: Recipe, dims: int) -> dict[str, Any]:
    """Returns what a recipe sets for the options of a data set: its grid, unless the data set has one of its own as default.

    Args:
        dataset: the class of the data set.
        recipe: the recipe of a run.
        dims: dimensions of its cases.
    """
    own = dataset.Options.model_fields["size"].default
    return grid_options(recipe, dims) if own is None else {}
