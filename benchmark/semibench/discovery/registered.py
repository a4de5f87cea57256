"""What the registry holds: plug points, healthy plug-ins with their origin, problems, and the sources that they come from."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semibench.contracts import cards
from semibench.contracts.errors import PluginError
from semibench.contracts.metric import undeclared
from semibench.process import prints_to_stderr


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
    """A healthy card and its origin.

    file: where a plug-in of the distribution `local` is; None for one of a package. assumed: what its card doesn't say and was
    inferred, as a sentence for the user; empty where a card was written.
    """

    kind: str
    card: Any
    distribution: str
    version: str
    entry_point: str
    module: str
    file: Path | None = None
    assumed: str = ""

    @property
    def name(self) -> str:
        return str(self.card.name)

    @property
    def full_name(self) -> str:
        """The name that specs store: "distribution:name"."""
        return f"{self.distribution}:{self.name}"

    @property
    def reference(self) -> str:
        """The name by which another process on this file system finds the plug-in: FILE:CLASS for a file, else the full name."""
        return self.full_name if self.file is None else f"{self.file}:{self.card.load.rpartition(':')[2]}"

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
        """Import and return the class. A plain torch network that a backbone's card names is adapted to the contract.

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
        if self.kind == "backbones" and is_plain_network(loaded):
            from semibench.discovery.adapted.backbone import adapted

            return adapted(loaded)
        base_path = KINDS[self.kind].base
        if base_path is not None:
            base_module, base_name = base_path.split(":")
            base = getattr(importlib.import_module(base_module), base_name)
            if not (isinstance(loaded, type) and issubclass(loaded, base)):
                raise PluginError(f"{who}: expected a subclass of semibench.{base_name}, found {loaded!r}")
        lacking = undeclared(loaded) if self.kind == "conventions" else None
        if lacking is not None:
            raise PluginError(f"{who}: {lacking}")
        return loaded


def is_plain_network(cls: Any) -> bool:
    """Whether a class is a torch module that isn't written for Semibench."""
    import torch

    from semibench.contracts.backbone import Backbone
    from semibench.contracts.method import Method

    return isinstance(cls, type) and issubclass(cls, torch.nn.Module) and not issubclass(cls, Backbone | Method)


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
    """An entry point of the group. file: that of a plug-in without a package."""

    distribution: str
    version: str
    entry_point: str
    value: str
    load: Callable[[], Any] = field(compare=False)
    file: Path | None = None
