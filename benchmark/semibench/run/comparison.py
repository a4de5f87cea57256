"""Runs that a first run is shown beside: the labels alone, and the method without what a protocol adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from semibench.contracts.errors import UsageError
from semibench.contracts.identity import Score
from semibench.discovery.registry import Registered, Registry
from semibench.run.defaults import base_recipe
from semibench.run.names import Names, find_names
from semibench.run.request import Request
from semibench.run.resolve import settable_parts
from semibench.run.settings import assign, parse, texts
from semibench.runfolder.records import Result, ScoreSummary


@dataclass(frozen=True)
class Compared:
    """A row of a first comparison. title: what the row is."""

    title: str
    request: Request


def comparison(request: Request, plugins: Registry) -> tuple[Compared, ...]:
    """Returns the rows of the comparison that a request without a method asks for, the request itself last.

    All rows have the same network, recipe, draw and seed. If the protocol adds something to another one with the same split
    (`ProtocolCard.adds_to`), the rows beside it run under that one.

    Args:
        request: names no method, or any.
        plugins: the registry.

    Returns:
        The labels alone, the method under the protocol that this one adds to (if there is one), the request.
    """
    names = find_names(request, plugins)
    card = names.protocol.card
    plain = card.adds_to or names.protocol.name
    reference = _labels_alone(plugins, names.dims)
    method = names.method
    rows: list[Compared] = []
    if reference is not None and reference.full_name != method.full_name:
        rows.append(Compared("labels alone", _beside(request, plain, reference, names, plugins)))
    if card.adds_to:
        without = _beside(request, plain, method, names, plugins)
        rows.append(Compared(f"{method.name}, {plain}", without))
    return (*rows, Compared(f"{method.name}, {names.protocol.name}" if card.adds_to else method.name, request))


def main_dice(result: Result) -> ScoreSummary | None:
    """Returns the Dice that boards rank: of the last weights, the method's own predictor and Semibench's convention."""
    for score in result.scores:
        if (score.checkpoint, score.convention, score.metric) == ("last", Score().convention, "dice"):
            return score
    return None


def _labels_alone(plugins: Registry, dims: int) -> Registered | None:
    """Returns the method that declares itself the reference for labels alone."""
    for item in plugins.cards("methods"):
        if item.card.reference == "labels alone" and dims in item.card.dims:
            return item
    return None


def _beside(request: Request, protocol: str, method: Registered, names: Names, plugins: Registry) -> Request:
    """Returns the request with another protocol and method, without the settings that these don't have.

    Where the recipe has other values under the request's own protocol, they become settings: all rows train alike.
    """
    changed = request.model_copy(
        update={
            "protocol": protocol,
            "method": method.reference,
            "backbone": names.backbone.reference,
            "preset": request.preset if request.method and names.method.full_name == method.full_name else None,
            "control": False,
            "tuned": None,
            "settings": (),
        }
    )
    parts = settable_parts(changed, plugins)
    kept = tuple(text for text in request.settings if _has(parts, text))
    given = assign(parse(kept), parts).get("recipe", {})
    implied = {
        f"recipe.{name}": value for name, value in _recipe(request, protocol, names, plugins) if name not in given
    }
    return changed.model_copy(update={"settings": (*texts(implied), *kept)})


def _recipe(request: Request, protocol: str, names: Names, plugins: Registry) -> list[tuple[str, Any]]:
    """Returns the fields in which the recipe under the request's protocol differs from the one under another protocol."""
    if request.recipe.rstrip("*") == "own":
        return []
    own, other = (
        base_recipe(plugins, request.recipe, dims=names.dims, protocol=name, dataset=names.card.name)[0]
        for name in (names.protocol.name, protocol)
    )
    return list(own.changed(other).items())


def _has(parts: dict[str, set[str]], text: str) -> bool:
    try:
        assign(parse([text]), parts)
    except UsageError:
        return False
    return True
