"""Discover plugins through the entry-point group `semibench`, and look them up by name.

Every entry point is loaded in its own try, and every hook is called in its own try: a broken plugin is a `Problem` in
`Registry.problems` (`bench doctor` shows it) and never takes down a healthy one. Requesting the broken one by name raises
`PluginError` with that message.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import importlib.util
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pluggy

from semibench import hookspecs
from semibench.contracts import cards
from semibench.contracts.errors import PluginError, UnknownNameError, UsageError
from semibench.installed_packages import Package, damaged_packages, packages
from semibench.process import prints_to_stderr

GROUP = hookspecs.PROJECT

BUILT_IN = "semibench"
"""The distribution whose plugins keep their short names when another one registers the same."""


@dataclass(frozen=True)
class Kind:
    """A plug point: its hook, its card and the class that `load` must name."""

    name: str
    singular: str
    hook: str
    card: type[Any]
    base: str | None


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("methods", "method", "semibench_methods", cards.MethodCard, "semibench.contracts.method:Method"),
        Kind("backbones", "backbone", "semibench_backbones", cards.BackboneCard, "semibench.contracts.backbone:Backbone"),
        Kind("datasets", "dataset", "semibench_datasets", cards.DatasetCard, "semibench.contracts.cases:Dataset"),
        Kind("protocols", "protocol", "semibench_protocols", cards.ProtocolCard, "semibench.contracts.protocol:DrawProtocol"),
        Kind("generators", "generator", "semibench_generators", cards.GeneratorCard, "semibench.contracts.generator:Generator"),
        Kind("conventions", "convention", "semibench_conventions", cards.ConventionCard, "semibench.contracts.metric:Convention"),
        Kind("splits", "split", "semibench_splits", cards.SplitCard, "semibench.contracts.cases:PublishedSplits"),
        Kind("recipes", "recipe", "semibench_recipes", cards.RecipeCard, None),
        Kind("engines", "engine", "semibench_engines", cards.EngineCard, "semibench.contracts.engine:Engine"),
        Kind("suites", "suite", "semibench_suites", cards.SuiteCard, None),
        Kind("commands", "command", "semibench_commands", cards.CommandCard, None),
        Kind("listeners", "listener", "semibench_listeners", cards.ListenerCard, None),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Registered:
    """A healthy card and its origin."""

    kind: str
    card: Any
    distribution: str
    version: str
    entry_point: str
    module: str

    @property
    def name(self) -> str:
        return str(self.card.name)

    @property
    def full_name(self) -> str:
        """The name that specs store: "distribution:name"."""
        return f"{self.distribution}:{self.name}"

    @property
    def origin(self) -> str:
        """The file that defines the class, or the card if it loads nothing."""
        module = self.card.load.split(":")[0] if getattr(self.card, "load", "") else self.module
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            spec = None
        return spec.origin if spec and spec.origin else f"{module} (not found)"

    def resolve(self) -> Any:
        """Import and return the class.

        Raises:
            PluginError: if that fails; names the plugin, what was expected and what was found.
        """
        who = f"{KINDS[self.kind].singular} {self.full_name!r} (load={self.card.load!r})"
        module_name, attribute = self.card.load.split(":")
        try:
            with prints_to_stderr():
                loaded = getattr(importlib.import_module(module_name), attribute)
        except AttributeError as error:
            raise PluginError(f"{who}: the module has no {attribute!r}; correct the card's `load`") from error
        except (Exception, SystemExit) as error:
            raise PluginError(f"{who} can't be imported: {type(error).__name__}: {error}") from error
        base_path = KINDS[self.kind].base
        if base_path is not None:
            base_module, base_name = base_path.split(":")
            base = getattr(importlib.import_module(base_module), base_name)
            if not (isinstance(loaded, type) and issubclass(loaded, base)):
                raise PluginError(f"{who}: expected a subclass of semibench.{base_name}, found {loaded!r}")
        return loaded


@dataclass(frozen=True)
class Problem:
    """A problem with a plugin. names: names of the affected cards, if known."""

    outcome: str
    distribution: str
    version: str
    entry_point: str
    message: str
    trace: str = ""
    kind: str = ""
    names: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """The distribution and, where one is at fault, its entry point."""
        point = f", entry point {self.entry_point!r}" if self.entry_point else ""
        return f"{self.distribution} {self.version}{point}"

    def __str__(self) -> str:
        return f"{self.origin}: {self.message}"


@dataclass(frozen=True)
class Source:
    """An entry point of the group."""

    distribution: str
    version: str
    entry_point: str
    value: str
    load: Callable[[], Any] = field(compare=False)


def installed() -> list[Source]:
    """Return all entry points of the group `semibench`, each once, in a fixed order."""
    sources: dict[tuple[str, str, str], Source] = {}
    for package in packages():
        for point in package.entry_points:
            if point.group == GROUP:
                key = (package.name, point.name, point.value)
                sources.setdefault(key, Source(package.name, package.version, point.name, point.value, point.load))
    return [sources[key] for key in sorted(sources)]


def _built_in_first(item: Registered) -> tuple[bool, str]:
    return item.distribution != BUILT_IN, item.distribution


class Registry:
    """All plugins of this environment. `registry()` builds it once per process; tests build others from sources.

    damaged: packages, plugins or not, whose entry points can't be read.
    """

    def __init__(self, sources: Iterable[Source], damaged: Iterable[Package] = ()) -> None:
        self.sources = tuple(sources)
        self.problems = [
            Problem("metadata", package.name, package.version, "", package.fault or "") for package in damaged
        ]
        claims: dict[tuple[str, str], list[Registered]] = defaultdict(list)
        for source in self.sources:
            for item in self._load(source):
                claims[item.kind, item.name if item.kind != "recipes" else f"{item.name}#{len(claims)}"].append(item)
        self._items: dict[str, list[Registered]] = {kind: [] for kind in KINDS}
        self._ambiguous: dict[tuple[str, str], list[Registered]] = {}
        for (kind, name), items in claims.items():
            self._admit(kind, name, items)

    def _problem(
        self, outcome: str, source: Source, message: str, error: BaseException | None = None, **more: Any
    ) -> None:
        trace = "".join(traceback.format_exception(error)) if error is not None else ""
        self.problems.append(
            Problem(outcome, source.distribution, source.version, source.entry_point, message, trace, **more)
        )

    def _load(self, source: Source) -> list[Registered]:
        """Imports an entry point and calls its hooks.

        Each plug-in gets a pluggy manager of its own: pluggy checks and calls its hooks (wrappers and optional hooks
        included), and what goes wrong is known to be this plug-in's.
        """
        try:
            with prints_to_stderr():
                plugin = source.load()
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            self._problem("import", source, f"{source.value!r} can't be imported: {reason}", error)
            return []
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        try:
            manager.register(plugin, name=f"{source.distribution}:{source.entry_point}")
        except Exception as error:
            self._problem("hook", source, f"pluggy rejects it: {error}", error)
            return []
        callers = manager.get_hookcallers(plugin) or []
        if not callers:
            hooks = ", ".join(sorted(kind.hook for kind in KINDS.values()))
            self._problem(
                "empty", source, f"no function marked @semibench.hookimpl in {source.value!r}; hooks are: {hooks}"
            )
        self._report_misspelt(source, callers)
        implemented = {caller.name: caller for caller in callers}
        return [
            card
            for kind in KINDS.values()
            if kind.hook in implemented
            for card in self._cards(source, kind, implemented[kind.hook])
        ]

    def _report_misspelt(self, source: Source, callers: Iterable[pluggy.HookCaller]) -> None:
        """Reports every hook that has no specification, unless it is marked `optionalhook`.

        pluggy's `check_pending` has the same rule, but stops at the first such hook and can't suggest the right name.
        """
        hooks = sorted(kind.hook for kind in KINDS.values())
        for caller in callers:
            if caller.has_spec() or all(hook.optionalhook for hook in caller.get_hookimpls()):
                continue
            near = difflib.get_close_matches(caller.name, hooks, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else f"; hooks are: {', '.join(hooks)}"
            self._problem("misspelt", source, f"there is no hook {caller.name!r}{hint}")

    def _cards(self, source: Source, kind: Kind, caller: pluggy.HookCaller) -> list[Registered]:
        try:
            with prints_to_stderr():
                results = caller()
            returned = [card for result in results for card in result]
        except (Exception, SystemExit) as error:
            self._problem(
                "raised", source, f"hook {kind.hook} raised {type(error).__name__}: {error}", error, kind=kind.name
            )
            return []
        if not results:  # pluggy drops None
            message = f"hook {kind.hook} must return {kind.card.__name__} records, found None; return [] for none"
            self._problem("card", source, message, kind=kind.name)
        healthy = []
        for card in returned:
            if not isinstance(card, kind.card):
                message = (
                    f"hook {kind.hook} must return {kind.card.__name__} records, found {type(card).__name__}: {card!r}"
                )
                names = (str(card.name),) if isinstance(getattr(card, "name", None), str) else ()
                self._problem("card", source, message, kind=kind.name, names=names)
            elif not cards.OLDEST_API <= card.api <= cards.API:
                oldest = f", and takes plug-ins from {cards.OLDEST_API} on" if card.api < cards.OLDEST_API else ""
                advice = (
                    f"update {source.distribution}, or install an older version of Semibench"
                    if oldest
                    else f"update Semibench, or install an older version of {source.distribution}"
                )
                message = (
                    f"{kind.singular} {card.name!r} was made for contract version {card.api}, this Semibench has "
                    f"{cards.API}{oldest}: {advice}"
                )
                self._problem("api", source, message, kind=kind.name, names=(card.name,))
            else:
                healthy.append(
                    Registered(kind.name, card, source.distribution, source.version, source.entry_point, source.value.split(":")[0])
                )  # fmt: skip
        return healthy

    def _admit(self, kind: str, name: str, items: list[Registered]) -> None:
        by_owner: dict[str, list[Registered]] = defaultdict(list)
        for item in items:
            by_owner[item.distribution].append(item)
        single = KINDS[kind].singular
        healthy = []
        for owner, claims in by_owner.items():
            if len(claims) > 1:
                origins = ", ".join(sorted({f"{item.entry_point} ({item.card.load})" for item in claims}))
                source = Source(owner, claims[0].version, claims[0].entry_point, claims[0].module, lambda: None)
                message = (
                    f"{single} {name!r} is registered {len(claims)} times in one distribution: {origins}; keep one"
                )
                self._problem("duplicate", source, message, kind=kind, names=(name,))
            else:
                healthy.append(claims[0])
        self._items[kind] += healthy
        if len(healthy) > 1:
            own = next((item for item in healthy if item.distribution == BUILT_IN), None)
            if own is None:
                self._ambiguous[kind, name] = healthy
            all_names = ", ".join(item.full_name for item in healthy)
            for item in (item for item in healthy if item is not own):
                source = Source(item.distribution, item.version, item.entry_point, item.module, lambda: None)
                message = f"{single} {name!r} comes from several distributions ({all_names}); use its full name"
                if own is not None:
                    message = (
                        f"{single} {name!r} is also built in, and {own.full_name!r} keeps the short name; use {item.full_name!r} "
                        "for this one, or rename it"
                    )
                self._problem("clash", source, message, kind=kind)

    def cards(self, kind: str) -> list[Registered]:
        """Return all healthy plugins of a kind ("methods", "backbones" ...), sorted by name; of one name, the built-in first."""
        self._check_kind(kind)
        return sorted(self._items[kind], key=lambda item: (item.name, *_built_in_first(item)))

    def label(self, item: Registered) -> str:
        """Return the name by which a plugin is told from all others of its kind: the short one, unless another plugin has it."""
        same = [other for other in self._items[item.kind] if other.name == item.name]
        if (item.kind, item.name) in self._ambiguous or min(same, key=_built_in_first) is not item:
            return item.full_name
        return item.name

    def get(self, kind: str, name: str) -> Registered:
        """Look up a plugin.

        Args:
            kind: "methods", "backbones" ...
            name: its short or full name.

        Raises:
            PluginError: if it is broken.
            UsageError: if the name is ambiguous: several distributions, none of them the built-in one, registered it.
            UnknownNameError: otherwise; lists the valid names.
        """
        self._check_kind(kind)
        if (kind, name) in self._ambiguous:
            owners = ", ".join(item.full_name for item in self._ambiguous[kind, name])
            raise UsageError(f"{KINDS[kind].singular} {name!r} is ambiguous; use one of: {owners}")
        matches = [item for item in self._items[kind] if name in (item.name, item.full_name)]
        if matches:
            return min(matches, key=_built_in_first)
        short = name.split(":")[-1]
        for problem in self.problems:
            if short in problem.names and problem.kind == kind:
                raise PluginError(f"{KINDS[kind].singular} {name!r} is broken. {problem} (see `bench doctor`)")
        for problem in self.problems:
            if name in (problem.entry_point, problem.distribution) or problem.distribution == name.split(":")[0]:
                raise PluginError(f"plugin {name!r} is broken. {problem} (see `bench doctor`)")
        error = UnknownNameError(KINDS[kind].singular, name, [item.name for item in self._items[kind]])
        broken = sorted(
            {problem.distribution for problem in self.problems if problem.outcome in ("import", "hook", "raised")}
        )
        if broken:
            error.args = (f"{error} Plugins that failed to load: {', '.join(broken)} (see `bench doctor`).",)
        raise error

    def _check_kind(self, kind: str) -> None:
        if kind not in KINDS:
            raise UnknownNameError("kind of plugin", kind, KINDS)

    def owners(self) -> list[tuple[str, str, list[Source], list[Problem]]]:
        """Return (name, version, entry points, problems) for each distribution."""
        names = sorted({(source.distribution, source.version) for source in self.sources})
        return [
            (
                name,
                version,
                [source for source in self.sources if source.distribution == name],
                [problem for problem in self.problems if problem.distribution == name],
            )
            for name, version in names
        ]


_more: list[Source] = []


def registry() -> Registry:
    """Return the registry of this environment, scanned once per process."""
    return _scanned(tuple(_more))


@functools.cache
def _scanned(more: tuple[Source, ...]) -> Registry:
    return Registry([*installed(), *more], damaged_packages())


@contextlib.contextmanager
def also_registered(*sources: Source) -> Iterator[None]:
    """Within the block, `registry()` also contains these sources, in this process only."""
    _more.extend(sources)
    try:
        yield
    finally:
        del _more[-len(sources) :]
