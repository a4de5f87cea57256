"""The plug points of Semibench. This file is their manual.

A plugin is an ordinary Python package with an entry point in the group `semibench` that names a module (or object) with
functions marked `@semibench.hookimpl`. Every hook returns *cards*: small records that describe a plugin and name its class
(`load="package.module:Class"`). Import nothing heavy to return a card: `bench list` calls all hooks.

    # pyproject.toml
    [project.entry-points.semibench]
    my-plugin = "my_package.cards"

    # my_package/cards.py
    from semibench import MethodCard, hookimpl

    @hookimpl
    def semibench_methods():
        return [MethodCard(name="my-method", title="My method", load="my_package.method:MyMethod")]
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from semibench.contracts.cards import (
    BackboneCard,
    CommandCard,
    ConventionCard,
    DatasetCard,
    EngineCard,
    GeneratorCard,
    ListenerCard,
    MethodCard,
    ProtocolCard,
    RecipeCard,
    SplitCard,
    SuiteCard,
)

PROJECT = "semibench"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def semibench_methods() -> Iterable[MethodCard]:  # type: ignore[empty-body]
    """Semi-supervised methods; `load` names a subclass of `semibench.Method`."""


@hookspec
def semibench_backbones() -> Iterable[BackboneCard]:  # type: ignore[empty-body]
    """Networks; `load` names a subclass of `semibench.Backbone`."""


@hookspec
def semibench_datasets() -> Iterable[DatasetCard]:  # type: ignore[empty-body]
    """Data sets; `load` names a subclass of `semibench.Dataset` whose `card` is this card."""


@hookspec
def semibench_protocols() -> Iterable[ProtocolCard]:  # type: ignore[empty-body]
    """Protocols; `load` names a subclass of `semibench.DrawProtocol`."""


@hookspec
def semibench_generators() -> Iterable[GeneratorCard]:  # type: ignore[empty-body]
    """Generators of synthetic cases; `load` names a subclass of `semibench.Generator`."""


@hookspec
def semibench_conventions() -> Iterable[ConventionCard]:  # type: ignore[empty-body]
    """Conventions for scoring; `load` names a subclass of `semibench.Convention`."""


@hookspec
def semibench_splits() -> Iterable[SplitCard]:  # type: ignore[empty-body]
    """Published splits of a data set that another package registered; `load` names a `semibench.PublishedSplits`."""


@hookspec
def semibench_recipes() -> Iterable[RecipeCard]:  # type: ignore[empty-body]
    """Values of recipes (`paper`, `quick`, `smoke` or your own names) for some dims, protocols or data sets."""


@hookspec
def semibench_commands() -> Iterable[CommandCard]:  # type: ignore[empty-body]
    """Sub-commands of `bench`; `load` names a `typer.Typer` (a group) or a function (one command)."""


@hookspec
def semibench_engines() -> Iterable[EngineCard]:  # type: ignore[empty-body]
    """Engines that run the cells of `bench matrix`; `load` names a subclass of `semibench.Engine`."""


@hookspec
def semibench_suites() -> Iterable[SuiteCard]:  # type: ignore[empty-body]
    """Named lists of runs, such as a published table; `load` names a function that returns the cells."""


@hookspec
def semibench_listeners() -> Iterable[ListenerCard]:  # type: ignore[empty-body]
    """Callbacks invoked after tracked runs finish; `load` names the function, see `ListenerCard`."""
