"""Binds every check to the registered plug-ins that it applies to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from semibench.conformance.backbones import BACKBONE_CHECKS
from semibench.conformance.conventions import CONVENTION_CHECKS, ConventionSubject
from semibench.conformance.datasets import DATASET_CHECKS, OF_PLUGINS_ALONE, DatasetSubject
from semibench.conformance.generators import GENERATOR_CHECKS, GeneratorSubject
from semibench.conformance.learning import LEARNING_CHECKS, LearningSubject
from semibench.conformance.method_runs import METHOD_RUN_CHECKS, MethodRunSubject
from semibench.conformance.methods import METHOD_CHECKS
from semibench.conformance.plain_networks import plain_checks, plain_subjects
from semibench.conformance.protocols import PROTOCOL_CHECKS, ProtocolSubject
from semibench.conformance.registration import REGISTRATION_CHECKS, RegisteredSubject, registration_checks
from semibench.conformance.splits import RECIPE_CHECKS, SPLIT_CHECKS, RecipeSubject, SplitSubject
from semibench.conformance.subject import BackboneSubject, MethodSubject
from semibench.contracts.deprecation import deprecated
from semibench.contracts.errors import LayoutError, UnknownNameError, UsageError
from semibench.data.declared.naming import DeclaredSet, find_dataset, is_path, own_names
from semibench.discovery.adapted.backbone import PlainNetwork
from semibench.discovery.adapted.convention_options import in_parts
from semibench.discovery.local_files import Reference, kinds_of
from semibench.discovery.registry import KINDS, Registered, Registry, registry

CHECKS: Mapping[str, Mapping[str, Callable[[Any], str | None]]] = {
    "method": {**METHOD_CHECKS, **METHOD_RUN_CHECKS, **LEARNING_CHECKS},
    "backbone": BACKBONE_CHECKS,
    "dataset": DATASET_CHECKS,
    "protocol": PROTOCOL_CHECKS,
    "generator": GENERATOR_CHECKS,
    "convention": CONVENTION_CHECKS,
    "split": SPLIT_CHECKS,
    "recipe": RECIPE_CHECKS,
}
"""Kind -> its checks by name. `REGISTRATION_CHECKS` apply to every kind."""


@dataclass(frozen=True, eq=False)
class BoundCheck:
    """One check of one plug-in. `str()` returns its id: "method-bcp-2d-empty_foreground".

    dims: of the network, 0 if the fact doesn't depend on it. subject: what the check examines. known: why the check is known
    to fail, as the plug-in's class declares it; empty if it should pass.
    """

    kind: str
    name: str
    dims: int
    fact: str
    subject: (
        MethodSubject
        | MethodRunSubject
        | LearningSubject
        | BackboneSubject
        | DatasetSubject
        | ProtocolSubject
        | GeneratorSubject
        | ConventionSubject
        | SplitSubject
        | RecipeSubject
        | RegisteredSubject
    )
    known: str = ""

    @property
    def case(self) -> Any:
        """The old name of `subject`."""
        deprecated("BoundCheck.case")
        return self.subject

    def __str__(self) -> str:
        return "-".join([self.kind, self.name, *([f"{self.dims}d"] if self.dims else []), self.fact])

    @property
    def function(self) -> Callable[[Any], str | None]:
        """The check itself; its docstring states what must hold."""
        return (
            REGISTRATION_CHECKS[self.fact]
            if isinstance(self.subject, RegisteredSubject)
            else CHECKS[self.kind][self.fact]
        )

    def __call__(self) -> str | None:
        """Runs the check; may return a sentence about the outcome.

        Raises:
            AssertionError: if the plug-in breaks this fact.
        """
        return self.function(self.subject)

    def reason(self) -> str | None:
        """Returns what is wrong in one sentence, or None if the plug-in passes. Propagates errors other than AssertionError."""
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
    """Returns all checks of several registered plug-ins: `battery({"method": ["cps"], "dataset": None})`.

    A method runs with the backbone that its card names, or else with the default one.

    Args:
        names: kind -> names of plug-ins; None instead of the names selects all of that kind. Default: every plug-in.
        options: name of a plug-in -> options that make it small.
        slow: also train methods for a while and check what they learned; see `checks_of`.
        plugins: the registry to look in. Default: the installed plug-ins.
        methods: deprecated (see `semibench.contracts.deprecation`).
        backbones: deprecated, likewise.

    Raises:
        UnknownNameError: for an unknown kind or name.
    """
    plugins = plugins or registry()
    by_kind = dict(names) if names is not None else {}
    for kind, old in (("method", methods), ("backbone", backbones)):
        if old is not None:
            deprecated(f"battery({kind}s=...)")
            by_kind[kind] = old
    if names is None and not by_kind:
        by_kind = dict.fromkeys(CHECKS)
    checks: list[BoundCheck] = []
    for kind, selected in by_kind.items():
        if kind not in CHECKS:
            raise UnknownNameError("kind with a battery", kind, CHECKS)
        every = dict.fromkeys(item.full_name for item in plugins.cards(f"{kind}s"))
        for name in every if selected is None else selected:
            short = name.split(":")[-1]
            checks += checks_of(name, kind, options=(options or {}).get(short), slow=slow, plugins=plugins)
    return checks


def checks_of(
    name: str,
    kind: str | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    network: Mapping[str, Any] | None = None,
    known: Mapping[str, str] | None = None,
    slow: bool = False,
    plugins: Registry | None = None,
    data_root: Path | None = None,
) -> list[BoundCheck]:
    """Returns all checks of one registered plug-in, starting with those of its registration.

    Args:
        name: of the plug-in, or the folder of a data set of one's own.
        kind: "method" and so on; required if several kinds have a plug-in of this name.
        options: of a method, protocol or generator, to make it small.
        network: options of a method's network. Default: an eighth of its width.
        known: fact -> why it is known to fail ("3d-fact": in 3D only); takes precedence over the class attribute
            `known_failures`.
        slow: also train a method for a while, in 2D if it supports that, and check what it learned (takes a minute).
        plugins: the registry to look in. Default: the installed plug-ins.
        data_root: folder with the real files of a data set, every case of which is then read; its phantom is checked without. A
            data set of one's own is always checked on its files.

    Raises:
        UnknownNameError: for an unknown kind or name.
        LayoutError: if the folder doesn't hold the data set.
        UsageError: for a folder of data where the plug-in is no data set, or a known failure of a check that doesn't exist.
    """
    plugins = plugins or registry()
    kind = kind or kind_of(name, plugins)
    if kind not in CHECKS:
        raise UnknownNameError("kind with a battery", kind, CHECKS)
    asked = name
    item = find_dataset(plugins, name) if kind == "dataset" else plugins.get(f"{kind}s", name)
    name = item.name
    if data_root is not None and kind != "dataset":
        raise UsageError(f"--data-root is for data sets; {name!r} is a {kind}")
    registered = RegisteredSubject(item)
    checks = [BoundCheck(kind, name, 0, fact, registered) for fact in registration_checks(item)]
    cls: Any = None if kind == "recipe" else item.resolve()
    given = options or {}
    if kind == "method":
        for dims, plain in method_subjects(plugins, item):
            subject = replace(plain, options={**cls.rehearsal_options, **given})
            if network is not None:
                subject = replace(subject, backbone_options=network)
            run = MethodRunSubject(subject, item)
            checks += [BoundCheck("method", name, dims, fact, subject) for fact in METHOD_CHECKS]
            checks += [BoundCheck("method", name, dims, fact, run) for fact in METHOD_RUN_CHECKS]
            if slow and dims == min(item.card.dims):
                learning = LearningSubject(replace(plain, options=given))
                learned = () if item.card.reference == "no image" else tuple(LEARNING_CHECKS)
                checks += [BoundCheck("method", name, dims, fact, learning) for fact in learned]
    elif kind == "backbone":
        checks += _backbones(item)
    else:
        other = _subject(item, cls, given, plugins)
        if isinstance(item, DeclaredSet) and isinstance(other, DatasetSubject):
            other = replace(other, root=item.home, data_root=data_root, named=asked)
        elif data_root is not None:
            other = _with_files(item, other, data_root)
        left_out = OF_PLUGINS_ALONE if isinstance(item, DeclaredSet) else ()
        checks += [BoundCheck(kind, name, 0, fact, other) for fact in CHECKS[kind] if fact not in left_out]
    reasons = {**getattr(cls, "known_failures", {}), **(known or {})}
    facts = {*CHECKS[kind], *REGISTRATION_CHECKS} | {f"{check.dims}d-{check.fact}" for check in checks if check.dims}
    unknown = sorted(set(reasons) - facts)
    if unknown:
        raise UsageError(f"known_failures of {kind} {name!r} names {unknown}; checks are: {', '.join(sorted(facts))}")
    return [
        replace(check, known=reasons.get(check.fact, reasons.get(f"{check.dims}d-{check.fact}", "")))
        for check in checks
    ]


def kind_of(name: str, plugins: Registry) -> str:
    """Returns the kind that has a plug-in of this name.

    Raises:
        UsageError: if several kinds have one.
        PluginError: if only a broken plug-in has the name.
        UnknownNameError: if none has it.
    """
    if name.lower().startswith("monai:"):
        return "backbone"
    if in_parts(name) is not None:
        return "convention"
    if is_path(name) and (Path(name).expanduser().is_dir() or name.lower().endswith((".csv", ".json"))):
        return "dataset"
    reference = Reference.of(name)
    if reference is not None:
        return _kind_in_file(name, reference)
    names = {kind: [item.name for item in plugins.cards(f"{kind}s")] for kind in CHECKS}
    kinds = [kind for kind, short in names.items() if name in short or name in _full_names(plugins, kind)]
    if len(kinds) > 1:
        raise UsageError(f"{name!r} is a {' and a '.join(kinds)}; say which: --kind {kinds[0]}")
    if not kinds and name in own_names(plugins):
        return "dataset"
    if not kinds:
        for problem in plugins.problems:
            if name in (*problem.names, problem.entry_point, problem.distribution):
                plugins.get(problem.kind or "methods", name)
        unknown = UnknownNameError("plug-in", name, {short for each in names.values() for short in each})
        if Path(name).is_dir():
            unknown.args = (f"no plug-in is called {name!r}. There is a folder {name!r} here: bench check ./{name}",)
        raise unknown
    return kinds[0]


def _kind_in_file(name: str, reference: Reference) -> str:
    """Returns the kind of what a file holds. Raises UsageError if it holds none with a battery, or several."""
    kinds = [KINDS[kind].singular for kind in kinds_of(reference) if KINDS[kind].singular in CHECKS]
    if len(kinds) != 1:
        found = f"{' and '.join(kinds)}: say which with --kind" if kinds else "nothing with a battery"
        raise UsageError(f"{name}: expected one of {', '.join(CHECKS)}; found {found}")
    return kinds[0]


def _full_names(plugins: Registry, kind: str) -> list[str]:
    return [item.full_name for item in plugins.cards(f"{kind}s")]


def _subject(
    item: Registered, cls: Any, options: Mapping[str, Any], plugins: Registry
) -> DatasetSubject | ProtocolSubject | GeneratorSubject | ConventionSubject | SplitSubject | RecipeSubject:
    if item.kind == "conventions":
        return ConventionSubject(cls, item.card)
    if item.kind == "splits":
        return SplitSubject(cls, item.card, plugins)
    if item.kind == "recipes":
        own = (other for other in plugins.cards("recipes") if other.full_name == item.full_name)
        return RecipeSubject(tuple(other.card for other in own), plugins)
    if item.kind == "datasets":
        return DatasetSubject(cls, item.card)
    if item.kind == "protocols":
        return ProtocolSubject(cls, options)
    return GeneratorSubject(cls, item.card, options)


def _with_files(item: Registered, subject: Any, data_root: Path) -> DatasetSubject:
    """Returns the subject of a data set with its real files. Raises LayoutError if the folder doesn't hold them."""
    from semibench.data.roots import locate

    location = locate(item.name, data_root, aliases=item.card.folders)
    if location.path is None:
        raise LayoutError(location.lacking(item.card.tree))
    with_files: DatasetSubject = replace(subject, root=location.path, data_root=data_root)
    return with_files


def _backbones(item: Registered) -> list[BoundCheck]:
    cls = item.resolve()
    if issubclass(cls, PlainNetwork):
        return [
            BoundCheck("backbone", item.name, subject.dims, fact, subject)
            for subject in plain_subjects(cls, item.card)
            for fact in plain_checks(subject)
        ]
    subjects = [(dims, BackboneSubject(cls, dims, card=item.card)) for dims in item.card.dims]
    return [
        BoundCheck("backbone", item.name, dims, fact, subject) for dims, subject in subjects for fact in BACKBONE_CHECKS
    ]


def method_subjects(plugins: Registry, item: Registered) -> Iterator[tuple[int, MethodSubject]]:
    """Yields (dims, subject) for each of the method's dims."""
    for dims in item.card.dims:
        yield dims, MethodSubject(item.resolve(), _backbone(plugins, item, dims).resolve(), dims, card=item.card)


def _backbone(plugins: Registry, method: Registered, dims: int) -> Registered:
    if method.card.backbone is not None:
        own = plugins.get("backbones", method.card.backbone)
        if dims in own.card.dims:
            return own
    return next(item for item in plugins.cards("backbones") if dims in item.card.default_for)
