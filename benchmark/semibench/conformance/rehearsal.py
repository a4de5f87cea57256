"""Runs a method through the harness's own optimisation, without files, and records what it does."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semibench.conformance.data import BlobData
from semibench.conformance.holding import with_graph
from semibench.contracts.method import Losses, Method
from semibench.contracts.recipe import Recipe
from semibench.contracts.schedule import Clock
from semibench.training import seeding
from semibench.training.optimise import Optimisation
from semibench.training.precision import LossScale, autocast
from semibench.training.records import Steps, Watch
from semibench.training.schedules import Driver, StagePlan, build_drivers, plan_stages


def tensors(state: Mapping[str, Any], prefix: str = "") -> dict[str, Tensor]:
    """Returns the tensors of a state by name, including those nested in mappings and lists."""
    by_name: dict[str, Tensor] = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            by_name[f"{prefix}{name}"] = value
        elif isinstance(value, Mapping):
            by_name |= tensors(value, f"{prefix}{name}.")
        elif isinstance(value, (list, tuple)):
            by_name |= tensors({str(position): inner for position, inner in enumerate(value)}, f"{prefix}{name}.")
    return by_name


@dataclass(frozen=True)
class Call:
    """One call of `optimise`. values, shapes, weights: of each loss at that moment."""

    stage: str
    step: int
    values: Mapping[str, float]
    shapes: Mapping[str, tuple[int, ...]]
    weights: Mapping[str, float]
    on: tuple[str, ...]
    grad_enabled: bool
    has_graph: bool


FEWEST = 32
"""Numbers that a weight must have, so that moving towards another one is no coincidence."""
SAME_WAY = 0.98
"""Cosine from which two changes count as the same."""


def moved_towards(before: Tensor, after: Tensor, goal: Tensor) -> bool:
    """Whether a tensor changed in the direction of another one, as a moving average does."""
    change, way = (after - before).flatten().double(), (goal - before).flatten().double()
    return bool(change @ way > SAME_WAY * change.norm() * way.norm())


@dataclass(eq=False)
class Rehearsal:
    """The iterations of a run, in the order of `training.loop`: batch, seeds, step, end of step, after_step.

    Gradients come from the real `Optimisation` and drivers. filter: may change the losses of a call before they are
    optimised. precision: in which each step is computed, as in a recipe. calls: the calls of `optimise`. reached: parameter
    -> its largest absolute gradient. trainable: parameters that required gradients at the start of some stage. owned:
    parameters that belonged to an optimiser. begun: stages whose `begin` ran. overwritten: parameters that an optimiser
    trained and that then moved towards another parameter outside of it. graphs: tensors that held a graph at the end of a
    stage.
    """

    method: Method
    data: BlobData
    recipe: Recipe
    seed: int
    steps: int
    filter: Callable[[Losses], Losses] = lambda losses: losses
    precision: str = "fp32"
    calls: list[Call] = field(default_factory=list)
    reached: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    trainable: set[str] = field(default_factory=set)
    owned: set[str] = field(default_factory=set)
    begun: list[str] = field(default_factory=list)
    overwritten: dict[str, str] = field(default_factory=dict)
    graphs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.plan = plan_stages(self.method, self.recipe.iterations)
        self.initial = {name: tuple(value.shape) for name, value in tensors(self.method.state_dict()).items()}
        self._named: dict[str, nn.Parameter] = {}
        self._stepped: dict[str, Tensor] = {}
        self._watch = Watch(Steps(Path(os.devnull)), type(self.method).__name__, eager=True)

    def run(self) -> Rehearsal:
        """Runs all iterations of all stages."""
        for plan in self.plan:
            drivers = self._enter(plan)
            optimise = Optimisation(self.method, drivers, self._watch, LossScale(False))
            for step in range(plan.steps if drivers else 0):
                self._iterate(plan, step, drivers, optimise)
            self.graphs += with_graph(self.method)
        return self

    def _enter(self, plan: StagePlan) -> dict[str, Driver]:
        self._stepped.clear()
        seeding.seed_begin(self.seed, plan.name)
        self.method.train()
        self.method.begin(plan.name, self.data.pools)
        self.begun.append(plan.name)
        drivers = build_drivers(self.method, self.recipe)
        self._named = dict(self.method.named_parameters())
        names = {parameter: name for name, parameter in self._named.items()}
        self.trainable |= {name for name, parameter in self._named.items() if parameter.requires_grad}
        self.owned |= {names[p] for driver in drivers.values() for p in driver.parameters if p in names}
        return drivers

    def _iterate(self, plan: StagePlan, step: int, drivers: Mapping[str, Driver], optimise: Optimisation) -> None:
        iteration = plan.offset + step
        clock = Clock(plan.name, step, plan.steps, self.data.passes(iteration))
        batch = self.data.batch(iteration)
        self._named = dict(self.method.named_parameters())
        seeding.seed_step(self.seed, plan.name, step)
        self.method.train()
        self._watch.begin(iteration, clock, batch)
        optimise.begin(clock)
        with autocast(self.precision, torch.device("cpu")):
            self.method.step(batch, clock, self._recording(clock, drivers, optimise))
        optimise.end()
        with torch.no_grad():
            self.method.after_step(clock)
        self._find_overwritten()
        self._watch.notes(self.method.notes)
        self.method.notes.clear()

    def _recording(self, clock: Clock, drivers: Mapping[str, Driver], optimise: Optimisation) -> Callable[..., bool]:
        names: dict[nn.Parameter, str] = {parameter: name for name, parameter in self._named.items()}
        updated: dict[str, nn.Parameter] = {}

        def record_and_optimise(losses: Losses, *, on: Sequence[str] = (), step: bool = True) -> bool:
            self._find_overwritten()
            graph = any(isinstance(value, Tensor) and value.requires_grad for value in losses.values())
            self.calls.append(
                Call(
                    clock.stage,
                    clock.step,
                    {name: float(value.detach()) for name, value in losses.items() if value.numel() == 1},
                    {name: tuple(value.shape) for name, value in losses.items()},
                    {name: self.method.weight(name, clock) for name in losses if name in self.method.terms},
                    tuple(on),
                    torch.is_grad_enabled(),
                    graph,
                )
            )
            optimise(self.filter(losses), on=on, step=False)
            for driver in drivers.values():
                for position, gradient in driver.gradients.items():
                    name = names.get(driver.parameters[position], driver.name)
                    self.reached[name] = max(self.reached[name], float(gradient.abs().max()))
                    updated[name] = driver.parameters[position]
            stepped = optimise({}, on=on, step=True) if step else False
            if stepped:
                self._stepped |= {name: parameter.detach().clone() for name, parameter in updated.items()}
                updated.clear()
            return stepped

        return record_and_optimise

    def _find_overwritten(self) -> None:
        """Notes trained weights that changed since their optimiser's last step, towards another weight. Vectors say little:
        those of normalisations start alike in all networks."""
        for name, before in self._stepped.items():
            after = self._named.get(name)
            if after is None or after.ndim < 2 or after.numel() < FEWEST or not self.reached[name]:
                continue
            if torch.equal(after, before):
                continue
            for other, goal in self._named.items():
                if (
                    other != name
                    and goal.shape == before.shape
                    and moved_towards(before, after.detach(), goal.detach())
                ):
                    self.overwritten[name] = other
                    break

    def losses(self) -> list[dict[str, float]]:
        """Returns the values of the losses in each call."""
        return [dict(call.values) for call in self.calls]

    def state(self) -> dict[str, Tensor]:
        """Returns a copy of weights and buffers."""
        return {name: value.detach().clone() for name, value in tensors(self.method.state_dict()).items()}
