"""Semibench: the benchmark harness for semi-supervised medical image segmentation.

The public face: everything a plugin author needs is importable from here (shared parts are in `semibench.blocks`).
Names are resolved on first use, so that `import semibench` is instant and cards import nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "semibench.contracts.backbone": ("Backbone", "BackboneOptions", "Backbones", "Decoder"),
    "semibench.contracts.cards": (
        "API", "OLDEST_API", "BackboneCard", "Card", "CommandCard", "ConventionCard", "DatasetCard", "EngineCard",
        "GeneratorCard", "ListenerCard", "MethodCard", "ProtocolCard", "RecipeCard", "SplitCard", "SuiteCard", "WeightFile",
    ),
    "semibench.contracts.cases": (
        "Case", "CaseRef", "Dataset", "DatasetOptions", "Frame", "LayoutProblem", "PhantomOptions", "PublishedSplits",
        "Split", "Truth",
    ),
    "semibench.contracts.engine": ("Engine", "EngineOptions", "Job", "Outcome"),
    "semibench.contracts.errors": (
        "BusyError", "CaseError", "DivergedError", "IdentityError", "LayoutError", "PluginError", "SemibenchError",
        "UnknownNameError", "UnsupportedError", "UsageError",
    ),
    "semibench.contracts.generator": ("Curated", "Fitted", "Generator", "GeneratorOptions"),
    "semibench.contracts.identity": ("NUMERICS", "Entry", "Frozen", "Part", "Replicate", "RunSpec", "Score", "Track"),
    "semibench.contracts.method": (
        "IGNORE", "Batch", "Losses", "Method", "MethodOptions", "Optimise", "Optimiser", "Pools", "Samples", "Task",
        "tunable",
    ),
    "semibench.contracts.metric": ("Convention", "Inference"),
    "semibench.contracts.protocol": ("Catalog", "DrawProtocol", "ProtocolOptions", "Synthesis"),
    "semibench.contracts.recipe": ("Recipe", "StrongPolicy", "WeakPolicy"),
    "semibench.contracts.schedule": ("Clock", "Ramp", "Stage", "Stream", "Term"),
    "semibench.hookspecs": ("hookimpl",),
}  # fmt: skip
_WHERE = {name: module for module, names in _HOME.items() for name in names}
_RENAMED: dict[str, str] = {}
"""Old public name -> new one; "semibench.Old" stands in `semibench.contracts.deprecation.DEPRECATIONS`."""
__all__ = ["__version__", *sorted(_WHERE)]

if TYPE_CHECKING:
    from semibench.contracts.backbone import Backbone, BackboneOptions, Backbones, Decoder
    from semibench.contracts.cards import (
        API,
        OLDEST_API,
        BackboneCard,
        Card,
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
        WeightFile,
    )
    from semibench.contracts.cases import (
        Case,
        CaseRef,
        Dataset,
        DatasetOptions,
        Frame,
        LayoutProblem,
        PhantomOptions,
        PublishedSplits,
        Split,
        Truth,
    )
    from semibench.contracts.engine import Engine, EngineOptions, Job, Outcome
    from semibench.contracts.errors import (
        BusyError,
        CaseError,
        DivergedError,
        IdentityError,
        LayoutError,
        PluginError,
        SemibenchError,
        UnknownNameError,
        UnsupportedError,
        UsageError,
    )
    from semibench.contracts.generator import Curated, Fitted, Generator, GeneratorOptions
    from semibench.contracts.identity import NUMERICS, Entry, Frozen, Part, Replicate, RunSpec, Score, Track
    from semibench.contracts.method import (
        IGNORE,
        Batch,
        Losses,
        Method,
        MethodOptions,
        Optimise,
        Optimiser,
        Pools,
        Samples,
        Task,
        tunable,
    )
    from semibench.contracts.metric import Convention, Inference
    from semibench.contracts.protocol import Catalog, DrawProtocol, ProtocolOptions, Synthesis
    from semibench.contracts.recipe import Recipe, StrongPolicy, WeakPolicy
    from semibench.contracts.schedule import Clock, Ramp, Stage, Stream, Term
    from semibench.hookspecs import hookimpl


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        from semibench.contracts.deprecation import deprecated

        deprecated(f"semibench.{name}")
        name = _RENAMED[name]
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'semibench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
