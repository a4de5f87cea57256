"""All checks over registered plugins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from semibench.conformance.backbones import BACKBONE_CHECKS
from semibench.conformance.case import BackboneCase, MethodCase
from semibench.conformance.methods import METHOD_CHECKS
from semibench.registry import Registered, Registry, registry


@dataclass(frozen=True, eq=False)
class BoundCheck:
    """One check of one plugin in one setting. str() is its id: "method-bcp-2d-empty_foreground"."""

    kind: str
    name: str
    dims: int
    fact: str
    case: MethodCase | BackboneCase

    def __str__(self) -> str:
        return f"{self.kind}-{self.name}-{self.dims}d-{self.fact}"

    def __call__(self) -> None:
        """Raises AssertionError where the plugin breaks this fact."""
        checks: dict[str, Any] = {**(METHOD_CHECKS if self.kind == "method" else BACKBONE_CHECKS)}
        checks[self.fact](self.case)

    def reason(self) -> str | None:
        """What is wrong, in words, or None where the plugin passes. Other errors than AssertionError are raised."""
        try:
            self()
        except AssertionError as error:
            return str(error)
        return None


def battery(
    methods: Sequence[str] | None = None,
    backbones: Sequence[str] | None = None,
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    plugins: Registry | None = None,
) -> list[BoundCheck]:
    """Checks for the named methods and backbones in each of their dims. None: all that are registered; if only one of
    the two is given, the other is left out. A method is run with the backbone of its card, else the default one.
    options: of a method, by its name, to make it small."""
    found = plugins or registry()
    if methods is None and backbones is None:
        methods = [item.name for item in found.cards("methods")]
        backbones = [item.name for item in found.cards("backbones")]
    checks: list[BoundCheck] = []
    for name in methods or ():
        for dims, method in method_cases(found, name):
            method = replace(method, options=(options or {}).get(name, {}))
            checks += [BoundCheck("method", name, dims, fact, method) for fact in METHOD_CHECKS]
    for name in backbones or ():
        item = found.get("backbones", name)
        for dims in item.card.dims:
            backbone = BackboneCase(item.resolve(), dims, card=item.card)
            checks += [BoundCheck("backbone", name, dims, fact, backbone) for fact in BACKBONE_CHECKS]
    return checks


def method_cases(plugins: Registry, name: str) -> Iterator[tuple[int, MethodCase]]:
    """A case for each of the method's dims."""
    item = plugins.get("methods", name)
    for dims in item.card.dims:
        yield dims, MethodCase(item.resolve(), _backbone(plugins, item, dims).resolve(), dims, card=item.card)


def _backbone(plugins: Registry, method: Registered, dims: int) -> Registered:
    if method.card.backbone is not None:
        own = plugins.get("backbones", method.card.backbone)
        if dims in own.card.dims:
            return own
    return next(item for item in plugins.cards("backbones") if dims in item.card.default_for)
