"""Discover plugins through the entry-point group `semibench`, and look them up by name.

Every entry point is loaded in its own try, and every hook is called in its own try: a broken plugin is a `Problem` in
`Registry.problems` (`bench doctor` shows it) and never takes down a healthy one. Requesting the broken one by name raises
`PluginError` with that message.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import traceback
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pluggy

from semibench.contracts import cards
from semibench.contracts.errors import PluginError, SemibenchError, UnknownNameError, UsageError
from semibench.contracts.identity import LOCAL, NAMED_IN_FULL
from semibench.discovery import guard, hookspecs, local_files, on_demand
from semibench.discovery.adapted import convention_options
from semibench.discovery.configuration import plugin_places
from semibench.discovery.registered import KINDS, Kind, Problem, Registered, Source
from semibench.installed_packages import Package, damaged_packages, packages
from semibench.process import prints_to_stderr

__all__ = [
    "BUILT_IN", "GROUP", "KINDS", "Kind", "Problem", "Registered", "Registry", "Source", "also_registered", "installed", "registry",
]  # fmt: skip

GROUP = hookspecs.PROJECT

BUILT_IN = "semibench"
"""The distribution whose plugins keep their short names when another one registers the same."""


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
        except SemibenchError as error:  # of a file: it says all
            self._problem("import", source, str(error), error.__cause__)
            return []
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
        if not callers and source.file is None:  # a file beside plug-ins may hold parts of theirs
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
                module = source.value.split(":")[0] if source.file is None else source.value
                assumed = "" if source.file is None else local_files.assumed(getattr(card, "load", ""))
                healthy.append(
                    Registered(
                        kind.name, card, source.distribution, source.version, source.entry_point, module, source.file, assumed
                    )
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

    def known(self) -> list[Registered]:
        """Return every healthy plugin, and those that were found on demand in this process."""
        return [item for kind in KINDS for item in self.cards(kind)] + on_demand.found()

    def label(self, item: Registered) -> str:
        """Return the name by which a plugin is told from all others of its kind: the short one, unless another plugin has it."""
        plain = convention_options.plain_name(item.name)
        if item.distribution in NAMED_IN_FULL or (item.kind, plain) in self._ambiguous:
            return item.full_name
        first = min((other for other in self._items[item.kind] if other.name == plain), key=_built_in_first)
        return item.name if first.distribution == item.distribution else item.full_name

    def get(self, kind: str, name: str) -> Registered:
        """Look up a plugin.

        Args:
            kind: "methods", "backbones" ...
            name: its short or full name, FILE.py:CLASS, or monai:NETWORK; for a convention with options also NAME@OPTION=VALUE.

        Raises:
            PluginError: if it is broken.
            UsageError: if the name is ambiguous: several distributions, none of them the built-in one, registered it.
            UnknownNameError: otherwise; lists the valid names.
        """
        self._check_kind(kind)
        parts = convention_options.in_parts(name) if kind == "conventions" else None
        if parts is not None:
            return convention_options.with_options(self.get(kind, parts[0]), parts[1])
        if (kind, name) in self._ambiguous:
            owners = ", ".join(item.full_name for item in self._ambiguous[kind, name])
            raise UsageError(f"{KINDS[kind].singular} {name!r} is ambiguous; use one of: {owners}")
        matches = [item for item in self._items[kind] if name in (item.name, item.full_name)]
        if matches:
            return min(matches, key=_built_in_first)
        found = on_demand.find(kind, name)
        if found is not None:
            return self._only(found)
        short = name.split(":")[-1]
        for problem in self.problems:
            if short in problem.names and problem.kind == kind:
                raise PluginError(f"{KINDS[kind].singular} {name!r} is broken. {problem} (see `bench doctor`)")
        for problem in self.problems:
            if name in (problem.entry_point, problem.distribution) or problem.distribution == name.split(":")[0]:
                raise PluginError(f"plugin {name!r} is broken. {problem} (see `bench doctor`)")
        error = UnknownNameError(KINDS[kind].singular, name, [item.name for item in self._items[kind]])
        if name.startswith(f"{LOCAL}:"):
            error.args = (
                f"{error} {name!r} was in a file: name the file (./FILE.py:CLASS), or its folder (--plugins FOLDER).",
            )
        broken = sorted(
            {problem.distribution for problem in self.problems if problem.outcome in ("import", "hook", "raised")}
        )
        if broken:
            error.args = (f"{error} Plugins that failed to load: {', '.join(broken)} (see `bench doctor`).",)
        raise error

    def _only(self, found: Registered) -> Registered:
        """Returns a plug-in that was found by reference, or the same one as a named folder has it.

        Raises:
            UsageError: if a folder has another file with a plug-in of this name.
        """
        for item in self._items[found.kind]:
            if item.full_name == found.full_name:
                if item.file == found.file:
                    return item
                raise UsageError(
                    f"two files define {KINDS[found.kind].singular} {found.full_name!r}: {item.file} and {found.file}; rename "
                    "one of the classes"
                )
        return found

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
    try:
        places, fault = plugin_places(), ""
    except UsageError as error:  # a damaged configuration file ends no command that needs nothing from it
        places, fault = (), str(error)
    return _scanned(tuple(_more), places, fault)


guard.name_by(lambda: registry().known())


@functools.cache
def _scanned(more: tuple[Source, ...], places: tuple[tuple[Path, str], ...], fault: str) -> Registry:
    files = [source for place, named_by in places for source in local_files.sources_of(place, named_by)]
    scanned = Registry([*installed(), *files, *more], damaged_packages())
    if fault:
        scanned.problems.append(Problem("configuration", LOCAL, local_files.VERSION, "", fault))
    return scanned


@contextlib.contextmanager
def also_registered(*sources: Source) -> Iterator[None]:
    """Within the block, `registry()` also contains these sources, in this process only."""
    _more.extend(sources)
    try:
        yield
    finally:
        del _more[-len(sources) :]
