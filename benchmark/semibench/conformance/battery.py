"""All checks over registered plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from semibench.conformance.backbones import BACKBONE_CHECKS
from semibench.conformance.case import BackboneCase, MethodCase
from semibench.conformance.datasets import DATASET_CHECKS, DatasetCase
from semibench.conformance.generators import GENERATOR_CHECKS, GeneratorCase
from semibench.conformance.learning import LEARNING_CHECKS, LearningCase
from semibench.conformance.method_runs import METHOD_RUN_CHECKS, MethodRunCase
from semibench.conformance.methods import METHOD_CHECKS
from semibench.conformance.protocols import PROTOCOL_CHECKS, ProtocolCase
from semibench.conformance.registration import REGISTRATION_CHECKS, RegisteredCase
from semibench.contracts.deprecation import deprecated
from semibench.contracts.errors import UnknownNameError, UsageError
from semibench.registry import Registered, Registry, registry

CHECKS: Mapping[str, Mapping[str, Callable[[Any], str | None]]] = {
    "method": {**METHOD_CHECKS, **METHOD_RUN_CHECKS, **LEARNING_CHECKS},
    "backbone": BACKBONE_CHECKS,
    "dataset": DATASET_CHECKS,
    "protocol": PROTOCOL_CHECKS,
    "generator": GENERATOR_CHECKS,
}
"""Kind -> its checks by name. `REGISTRATION_CHECKS` hold for every kind."""


@dataclass(frozen=True, eq=False)
class BoundCheck:
    """One check of one plugin in one setting. str() is its id: "method-bcp-2d-empty_foreground". dims is 0 where the fact
    has none. known: why it is known to fail, as the plugin's class declares it."""

    kind: str
    name: str
    dims: int
    fact: str
    case: (
        MethodCase
        | MethodRunCase
        | LearningCase
        | BackboneCase
        | DatasetCase
        | ProtocolCase
        | GeneratorCase
        | RegisteredCase
    )
    known: str = ""

    def __str__(self) -> str:
        return "-".join([self.kind, self.name, *([f"{self.dims}d"] if self.dims else []), self.fact])

    @property
    def function(self) -> Callable[[Any], str | None]:
        """The check itself; its docstring says what must hold."""
        return REGISTRATION_CHECKS[self.fact] if isinstance(self.case, RegisteredCase) else CHECKS[self.kind][self.fact]

    def __call__(self) -> str | None:
        """Raises AssertionError where the plugin breaks this fact; may return what was found, in words."""
        return self.function(self.case)

    def reason(self) -> str | None:
        """What is wrong, in words, or None where the plugin passes. Other errors than AssertionError are raised."""
        try:
            self()
        except AssertionError as error:
            return str(error) or "an assertion failed"
        return None


def battery(
    names: Mapping[str, Sequence[str] | None] | None = None,
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    slow: bool = False,
    plugins: Registry | None = None,
    methods: Sequence[str] | None = None,
    backbones: Sequence[str] | None = None,
) -> list[BoundCheck]:
    """All checks of several registered plugins, by kind: `battery({"method": ["cps"], "dataset": None})`. None in place of
    the names: all of that kind; nothing at all: everything that is registered. A method is run with the backbone of its
    card, else the default one. options: of a plugin, by its name, to make it small. slow: see `checks_of`.

    methods, backbones: old forms (see `semibench.contracts.deprecation`). Raises UnknownNameError."""
    found = plugins or registry()
    chosen = dict(names) if names is not None else {}
    for kind, old in (("method", methods), ("backbone", backbones)):
        if old is not None:
            deprecated(f"battery({kind}s=...)")
            chosen[kind] = old
    if names is None and not chosen:
        chosen = dict.fromkeys(CHECKS)
    checks: list[BoundCheck] = []
    for kind, wanted in chosen.items():
        if kind not in CHECKS:
            raise UnknownNameError("kind with a battery", kind, CHECKS)
        for name in [item.full_name for item in found.cards(f"{kind}s")] if wanted is None else wanted:
            short = name.split(":")[-1]
            checks += checks_of(name, kind, options=(options or {}).get(short), slow=slow, plugins=found)
    return checks


def checks_of(
    name: str,
    kind: str | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    known: Mapping[str, str] | None = None,
    slow: bool = False,
    plugins: Registry | None = None,
) -> list[BoundCheck]:
    """All checks of one registered plugin, those of its registration first. kind: "method" and so on, needed where several
    kinds have the name. options: of a method, protocol or generator, to make it small. slow: also whether
    a method learns, in 2D where it can (a minute).

    known: fact -> why it is known to fail ("3d-fact": in 3D only), over what the class declares in an attribute
    `known_failures`. Raises UnknownNameError, and UsageError for a fact that there isn't."""
    found = plugins or registry()
    kind = kind or kind_of(name, found)
    if kind not in CHECKS:
        raise UnknownNameError("kind with a battery", kind, CHECKS)
    item = found.get(f"{kind}s", name)
    name = item.name
    registered = RegisteredCase(item)
    checks = [BoundCheck(kind, name, 0, fact, registered) for fact in REGISTRATION_CHECKS]
    cls = item.resolve()
    given = options or {}
    if kind == "method":
        for dims, plain in method_cases(found, item):
            case = replace(plain, options={**cls.rehearsal_options, **given})
            run = MethodRunCase(case, item)
            checks += [BoundCheck("method", name, dims, fact, case) for fact in METHOD_CHECKS]
            checks += [BoundCheck("method", name, dims, fact, run) for fact in METHOD_RUN_CHECKS]
            if slow and dims == min(item.card.dims):
                learning = LearningCase(replace(plain, options=given))
                for fact in LEARNING_CHECKS:
                    if item.card.uses_unlabeled or fact != "unlabeled_samples_help":
                        checks.append(BoundCheck("method", name, dims, fact, learning))
    elif kind == "backbone":
        checks += _backbones(item)
    else:
        other = _case(item, cls, given)
        checks += [BoundCheck(kind, name, 0, fact, other) for fact in CHECKS[kind]]
    reasons = {**getattr(cls, "known_failures", {}), **(known or {})}
    facts = {*CHECKS[kind], *REGISTRATION_CHECKS} | {f"{check.dims}d-{check.fact}" for check in checks if check.dims}
    strange = sorted(set(reasons) - facts)
    if strange:
        raise UsageError(f"known_failures of {kind} {name!r} names {strange}; checks are: {', '.join(sorted(facts))}")
    return [
        replace(check, known=reasons.get(check.fact, reasons.get(f"{check.dims}d-{check.fact}", "")))
        for check in checks
    ]


def kind_of(name: str, plugins: Registry) -> str:
    """The kind that has a plugin of this name; raises UsageError where several do, PluginError where
    only a broken one does, UnknownNameError where none does."""
    names = {kind: [item.name for item in plugins.cards(f"{kind}s")] for kind in CHECKS}
    kinds = [kind for kind, known in names.items() if name in known or name in _full(plugins, kind)]
    if len(kinds) > 1:
        raise UsageError(f"{name!r} is a {' and a '.join(kinds)}; say which: --kind {kinds[0]}")
    if not kinds:
        for problem in plugins.problems:
            if name in (*problem.names, problem.entry_point, problem.distribution):
                plugins.get(problem.kind or "methods", name)
        raise UnknownNameError("plug-in", name, {known for each in names.values() for known in each})
    return kinds[0]


def _full(plugins: Registry, kind: str) -> list[str]:
    return [item.full_name for item in plugins.cards(f"{kind}s")]


def _case(item: Registered, cls: Any, options: Mapping[str, Any]) -> DatasetCase | ProtocolCase | GeneratorCase:
    if item.kind == "datasets":
        return DatasetCase(cls, item.card)
    if item.kind == "protocols":
        return ProtocolCase(cls, options)
    return GeneratorCase(cls, item.card, options)


def _backbones(item: Registered) -> list[BoundCheck]:
    cases = [(dims, BackboneCase(item.resolve(), dims, card=item.card)) for dims in item.card.dims]
    return [BoundCheck("backbone", item.name, dims, fact, case) for dims, case in cases for fact in BACKBONE_CHECKS]


def method_cases(plugins: Registry, item: Registered) -> Iterator[tuple[int, MethodCase]]:
    """A case for each of the method's dims."""
    for dims in item.card.dims:
        yield dims, MethodCase(item.resolve(), _backbone(plugins, item, dims).resolve(), dims, card=item.card)


def _backbone(plugins: Registry, method: Registered, dims: int) -> Registered:
    if method.card.backbone is not None:
        own = plugins.get("backbones", method.card.backbone)
        if dims in own.card.dims:
            return own
    return next(item for item in plugins.cards("backbones") if dims in item.card.default_for)
