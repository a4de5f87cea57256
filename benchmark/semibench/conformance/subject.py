"""What a check examines: a method or a backbone, with small inputs and few steps."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semibench.blocks.seeds import derive_seed
from semibench.conformance.data import BlobData, blobs
from semibench.conformance.rehearsal import Rehearsal, tensors
from semibench.conformance.watching import watched
from semibench.contracts.backbone import Backbone
from semibench.contracts.cards import BackboneCard, MethodCard
from semibench.contracts.method import Batch, Method, Pools, Task
from semibench.contracts.recipe import Recipe
from semibench.contracts.schedule import Term
from semibench.reporting import Reporter
from semibench.run.settings import build
from semibench.training.loop import train
from semibench.training.schedules import plan_stages
from semibench.training.seeding import seed_all, seed_construction

PATCH = {2: (32, 32), 3: (32, 32, 16)}
BATCH = 2
STEPS = 3
"""Iterations of each stage in a rehearsal."""


@dataclass(frozen=True, eq=False)
class SmallBackbones:
    """A `Backbones` factory that builds the given class by default and looks others up by name in the registry."""

    cls: type[Backbone]
    task: Task
    options: Mapping[str, Any]

    def __call__(
        self, name: str | None = None, *, channels: int | None = None, outputs: int | None = None, **options: Any
    ) -> Backbone:
        cls = self.cls
        if name is not None:
            from semibench.discovery.registry import registry

            cls = registry().get("backbones", name).resolve()
        parsed = build(cls.Options, f"backbone {name or cls.__name__}", self.options if name is None else {}, options)
        return cls(
            dims=self.task.dims,
            channels=channels or self.task.channels,
            outputs=outputs or len(self.task.classes),
            patch=self.task.patch,
            options=parsed,
        )


@dataclass(frozen=True)
class Resumed:
    """Final states of a training that was resumed in a stage, and of the same training without interruption.

    begun: stages whose `begin` ran in the resumed process. due: stages whose `begin` must run there.
    """

    stage: str
    straight: Mapping[str, Tensor]
    resumed: Mapping[str, Tensor]
    begun: tuple[str, ...]
    due: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MethodSubject:
    """A method on small synthetic data; results that several checks share are computed once.

    method, backbone: classes. options: of the method. backbone_options: of the network. classes, channels, domains: how
    many. card: what the plug-in declares, if it is registered. steps: iterations of each stage in the rehearsal `done`.
    """

    method: type[Method]
    backbone: type[Backbone]
    dims: int = 2
    classes: int = 2
    channels: int = 1
    domains: int = 3
    options: Mapping[str, Any] = field(default_factory=dict)
    backbone_options: Mapping[str, Any] = field(default_factory=lambda: {"width": 0.125})
    card: MethodCard | None = None
    steps: int = STEPS

    @property
    def task(self) -> Task:
        names = ("background", *(f"class-{k}" for k in range(1, self.classes)))
        domains = tuple(f"domain-{d}" for d in range(self.domains))
        count = 4 * self.domains
        cases = {"labeled": count, "unlabeled": count, "all": 2 * count}
        return Task(self.dims, self.channels, names, PATCH[self.dims], domains, cases, budget=100)

    def recipe(self, iterations: int, checkpoint_every: int = 0) -> Recipe:
        return Recipe(
            name="conformance",
            dims=2 if self.dims == 2 else 3,
            iterations=iterations,
            labeled_batch=BATCH,
            unlabeled_batch=BATCH,
            patch=PATCH[self.dims],
            evaluate_every=0,
            checkpoint_every=checkpoint_every,
        )

    def parsed_options(self) -> Any:
        """Returns the validated options of the method."""
        return build(self.method.Options, f"method {self.method.__name__}", self.options)

    def build(self, seed: int = 0) -> Method:
        """Returns a fresh method, built as the harness builds it."""
        seed_construction(seed)
        backbones = SmallBackbones(self.backbone, self.task, self.backbone_options)
        method = self.method(self.task, backbones, self.parsed_options())
        method.terms = dict(self.method.terms)
        return method

    def data(self, *, seed: int = 0, empty: bool = False) -> BlobData:
        return BlobData(self.task, self.method.streams, batch=BATCH, seed=seed, empty=empty)

    def images(self, count: int = 3, seed: int = 5) -> Tensor:
        """Returns images (count, C, *spatial) that no training used."""
        return blobs(self.task, seed=seed).image[:count]

    def variant(self, **changes: Any) -> MethodSubject:
        """Returns a copy with other numbers of classes, channels or domains, or other options."""
        return replace(self, **changes)

    def rehearse(self, *, seed: int = 0, data_seed: int = 0, empty: bool = False, steps: int = STEPS) -> Rehearsal:
        """Returns a rehearsal of a fresh method, not started yet, with `steps` iterations in each stage."""
        method = self.build(seed)
        stages = len(method.stages())
        return Rehearsal(method, self.data(seed=data_seed, empty=empty), self.recipe(steps * stages), seed, steps)

    @cached_property
    def done(self) -> Rehearsal:
        """A rehearsal that ran through all stages. Checks share it: don't modify it."""
        return self._watched[0]

    @property
    def optimises(self) -> bool:
        """Whether the method has optimisers; otherwise it learns in `begin` only."""
        return bool(self.done.method.optimisers())

    @property
    def touched(self) -> tuple[str, ...]:
        """Files that the rehearsal `done` wrote, connections it opened and processes it started."""
        return self._watched[1]

    @cached_property
    def _watched(self) -> tuple[Rehearsal, tuple[str, ...]]:
        assert self.brief  # rehearse once unwatched: libraries create their caches on first use
        with watched() as touched:
            rehearsal = self.rehearse(steps=self.steps).run()
        return rehearsal, tuple(dict.fromkeys(touched))

    @cached_property
    def brief(self) -> Rehearsal:
        """A rehearsal of one iteration per stage with constant weights."""
        return self.rehearse_constant(1.0)

    def rehearse_constant(self, factor: float, seed: int = 0) -> Rehearsal:
        """Rehearses one iteration per stage; every weight is constant and multiplied by `factor`."""
        rehearsal = self.rehearse(seed=seed, steps=1)
        rehearsal.method.terms = {name: Term(factor * term.weight) for name, term in self.method.terms.items()}
        return rehearsal.run()

    @cached_property
    def wide(self) -> MethodSubject:
        """A copy with four classes and three channels."""
        return self.variant(classes=4, channels=3, steps=2)

    @cached_property
    def resumes(self) -> tuple[Resumed, ...]:
        """For each stage: a training in the real loop that is resumed from a checkpoint within it, and one without interruption.

        The checkpoint is the one that the uninterrupted training had written at that moment."""
        method = self.build()
        iterations = STEPS * len(method.stages())
        while min(plan.steps for plan in plan_stages(method, iterations)) < 2:
            iterations += 1
        plans = plan_stages(method, iterations)
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            stops = [plan.offset + max(1, plan.steps - 1) for plan in plans]
            straight = self._trained(method, iterations, root / "straight", keep=stops)
            outcomes = []
            for number, (plan, stop) in enumerate(zip(plans, stops, strict=True)):
                second = self.build(seed=1)
                begun: list[str] = []
                begin = second.begin

                def recorded_begin(
                    stage: str, pools: Pools, seen: list[str] = begun, begin: Callable[[str, Pools], None] = begin
                ) -> None:
                    seen.append(stage)
                    begin(stage, pools)

                second.begin = recorded_begin  # type: ignore[method-assign]
                after = self._trained(second, iterations, root / str(stop))
                due = tuple(later.name for later in plans[number + 1 :])
                outcomes.append(Resumed(plan.name, straight, after, tuple(begun), due))
        return tuple(outcomes)

    def _trained(self, method: Method, iterations: int, folder: Path, keep: Sequence[int] = ()) -> dict[str, Tensor]:
        """Returns the state after training in the real loop; resumes if the folder holds a checkpoint.

        keep: before each of these iterations, the folder is copied to a sibling named after the iteration."""
        data = self.data()
        batch = data.batch

        def copying_batch(iteration: int) -> Batch:
            if iteration in keep:
                shutil.copytree(folder, folder.with_name(str(iteration)))
            return batch(iteration)

        data.batch = copying_batch  # type: ignore[method-assign]
        train(
            method,
            data,
            self.recipe(iterations, checkpoint_every=1 if keep else 0),
            seed=0,
            device=torch.device("cpu"),
            folder=folder,
            validate=None,
            reporter=Reporter(),
            resume=folder.exists(),
            key="conformance",
        )
        return {name: value.clone() for name, value in tensors(method.state_dict()).items()}


@dataclass(frozen=True, eq=False)
class BackboneSubject:
    """A backbone on small inputs. card: what the plug-in declares, if it is registered."""

    backbone: type[Backbone]
    dims: int = 2
    channels: int = 1
    outputs: int = 2
    options: Mapping[str, Any] = field(default_factory=lambda: {"width": 0.125})
    card: BackboneCard | None = None

    def build(self, seed: int = 0, **changes: Any) -> Backbone:
        """Returns a fresh network. changes: dims, channels, outputs, patch or options."""
        seed_construction(seed)
        arguments: dict[str, Any] = {"dims": self.dims, "channels": self.channels, "outputs": self.outputs}
        arguments["patch"] = PATCH[self.dims]
        options = build(self.backbone.Options, self.backbone.__name__, self.options, changes.pop("options", {}))
        return self.backbone(**(arguments | changes), options=options)

    def images(self, count: int = 2, size: tuple[int, ...] | None = None, channels: int | None = None) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(0, "images"))
        return torch.randn((count, channels or self.channels, *(size or PATCH[self.dims])), generator=generator)


def reseed() -> None:
    """Puts the global random generators into the same state on every call."""
    seed_all(derive_seed(0, "conformance"))
