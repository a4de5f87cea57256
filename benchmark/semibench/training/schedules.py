"""How the iterations are shared among stages, and how an optimiser and its learning rate come from the contracts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from semibench.contracts.errors import PluginError, UsageError
from semibench.contracts.method import Method, Optimiser
from semibench.contracts.recipe import Recipe
from semibench.contracts.schedule import Stage


@dataclass(frozen=True)
class StagePlan:
    """A stage with its place in the run. steps: iterations it gets; offset: iterations before it."""

    stage: Stage
    steps: int
    offset: int

    @property
    def name(self) -> str:
        return self.stage.name


def allot(total: int, shares: Sequence[float]) -> list[int]:
    """Splits `total` iterations by shares (that sum to 1), largest remainder first (ties: the earlier), each at least 1.

    Raises UsageError where there are fewer iterations than shares, PluginError where the shares are no shares.
    """
    if not shares or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise PluginError(f"the shares of a method's stages must be positive and sum to 1, got {list(shares)}")
    if total < len(shares):
        raise UsageError(f"{total} iterations can't be shared by {len(shares)} stages; raise the recipe's iterations")
    exact = [share * total for share in shares]
    parts = [math.floor(value + 1e-9) for value in exact]
    by_remainder = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], i))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    for i, part in enumerate(parts):
        if part == 0:
            parts[max(range(len(parts)), key=lambda j: parts[j])] -= 1
            parts[i] = 1
    return parts


def plan_stages(method: Method, iterations: int) -> list[StagePlan]:
    """The stages of a method with the iterations each gets. Raises PluginError for equal or no names."""
    stages = tuple(method.stages())
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names) or not all(names):
        raise PluginError(f"{type(method).__name__}: stages need names that differ, got {names}")
    plan, offset = [], 0
    for stage, steps in zip(stages, allot(iterations, [stage.share for stage in stages]), strict=True):
        plan.append(StagePlan(stage, steps, offset))
        offset += steps
    return plan


def poly(step: int, steps: int, power: float) -> float:
    """max(0, 1 - step/steps)^power: real and 0 beyond the end, where the unclamped power would be complex."""
    return max(0.0, 1.0 - step / steps) ** power


def constant(step: int, steps: int, power: float) -> float:
    return 1.0


SCHEDULES: Mapping[str, Callable[[int, int, float], float]] = {"poly": poly, "constant": constant}

KINDS: Mapping[str, tuple[type[torch.optim.Optimizer], tuple[str, ...]]] = {
    "sgd": (torch.optim.SGD, ("momentum", "weight_decay", "nesterov", "dampening")),
    "adam": (torch.optim.Adam, ("betas", "weight_decay", "eps", "amsgrad")),
    "adamw": (torch.optim.AdamW, ("betas", "weight_decay", "eps", "amsgrad")),
    "rmsprop": (torch.optim.RMSprop, ("momentum", "weight_decay", "alpha", "eps", "centered")),
}
"""Kind -> class and the settings it takes. What `settings` leaves open comes from the recipe (momentum, betas,
weight_decay), the rest from torch."""

OWN = ("clip_norm", "clip_value", "power")


@dataclass(eq=False)
class Driver:
    """One optimiser at work in a stage: its parameters, learning rate, clipping, and the gradients it has not used yet.

    gradients: position in `parameters` -> gradient. Kept here and not in `.grad`, because two optimisers may share a
    parameter. overflow: some of them were not finite in fp16, so that the next step is left out.
    """

    name: str
    optimiser: torch.optim.Optimizer
    parameters: list[nn.Parameter]
    lr: float
    schedule: str = "poly"
    power: float = 0.9
    clip_norm: float | None = None
    clip_value: float | None = None
    gradients: dict[int, Tensor] = field(default_factory=dict)
    overflow: bool = False

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step: step k uses lr(k)."""
        return self.lr * SCHEDULES[self.schedule](step, steps, self.power)

    def set_rate(self, step: int, steps: int) -> float:
        rate = self.rate(step, steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        return rate

    def collect(self, fresh: Mapping[nn.Parameter, Tensor], *, copy: bool) -> None:
        """Adds gradients to those kept. copy: another optimiser keeps the same tensors."""
        for position, parameter in enumerate(self.parameters):
            gradient = fresh.get(parameter)
            if gradient is None:
                continue
            if position in self.gradients:
                self.gradients[position].add_(gradient)
            else:
                self.gradients[position] = gradient.clone() if copy else gradient

    def step(self) -> bool:
        """Clips and steps with the gradients kept, then drops them. Returns whether it stepped (not: nothing to do, or
        overflow). Parameters without gradient are left alone, momentum and decay included."""
        due = bool(self.gradients) and not self.overflow
        if due:
            touched = []
            for position, gradient in self.gradients.items():
                self.parameters[position].grad = gradient
                touched.append(self.parameters[position])
            if self.clip_value is not None:
                nn.utils.clip_grad_value_(touched, self.clip_value)
            if self.clip_norm is not None:
                nn.utils.clip_grad_norm_(touched, self.clip_norm)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        self.gradients.clear()
        self.overflow = False
        return due


def trainable(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    """Parameters that require gradients, each once, in order of the modules."""
    found = dict.fromkeys(parameter for module in modules for parameter in module.parameters())
    return [parameter for parameter in found if parameter.requires_grad]


def build_driver(name: str, contract: Optimiser, recipe: Recipe, owner: str = "method") -> Driver:
    """The torch optimiser of a contract; what it leaves open is the recipe's, weight decay included.

    Raises PluginError for an unknown kind, schedule or setting, and where there is nothing to train.
    """
    kind = contract.kind or recipe.optimiser
    schedule = contract.schedule or recipe.schedule
    if kind not in KINDS or schedule not in SCHEDULES:
        raise PluginError(
            f"{owner}: optimiser {name!r} wants kind {kind!r} with schedule {schedule!r}; "
            f"known kinds: {', '.join(KINDS)}; schedules: {', '.join(SCHEDULES)}"
        )
    made, accepted = KINDS[kind]
    unknown = set(contract.settings) - set(accepted) - set(OWN)
    if unknown:
        raise PluginError(
            f"{owner}: optimiser {name!r} ({kind}) takes no setting {', '.join(sorted(unknown))}; "
            f"it takes {', '.join((*accepted, *OWN))}"
        )
    parameters = trainable(contract.modules)
    if not parameters:
        raise PluginError(
            f"{owner}: optimiser {name!r} has nothing to train: no parameter of its modules requires gradients. "
            "Leave it out of optimisers() in this stage, or unfreeze something in begin()"
        )
    chosen: dict[str, Any] = {"momentum": recipe.momentum, "betas": recipe.betas, "weight_decay": recipe.weight_decay}
    chosen = {key: value for key, value in (chosen | dict(contract.settings)).items() if key in accepted}
    lr = (recipe.lr if contract.lr is None else contract.lr) * contract.lr_factor
    return Driver(
        name=name,
        optimiser=made(parameters, lr=lr, **chosen),  # type: ignore[call-arg]
        parameters=parameters,
        lr=lr,
        schedule=schedule,
        power=float(contract.settings.get("power", recipe.power)),
        clip_norm=contract.settings.get("clip_norm", recipe.clip_norm),
        clip_value=contract.settings.get("clip_value", recipe.clip_value),
    )


def build_drivers(method: Method, recipe: Recipe) -> dict[str, Driver]:
    """All optimisers of a method for the stage that begins now, with fresh state."""
    contracts = method.optimisers()
    owner = type(method).__name__
    if not contracts:
        raise PluginError(f"{owner}: optimisers() is empty; name at least one")
    return {name: build_driver(name, contract, recipe, owner) for name, contract in contracts.items()}
