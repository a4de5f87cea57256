"""Share the iterations among stages, and build optimisers and learning rates from the contracts."""

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
from semibench.discovery.guard import calling, returned, returned_mapping


@dataclass(frozen=True)
class StagePlan:
    """A stage and its position in the run."""

    stage: Stage
    """The stage that the method declared."""
    steps: int
    """Number of its iterations."""
    offset: int
    """Number of iterations before it."""

    @property
    def name(self) -> str:
        return self.stage.name


def allot(total: int, shares: Sequence[float]) -> list[int]:
    """Divide `total` iterations by shares, largest remainder first (ties: the earlier), each at least 1.

    Raises:
        UsageError: if there are fewer iterations than shares.
        PluginError: if the shares are not positive or do not sum to 1.
    """
    if not shares or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise PluginError(f"the shares of a method's stages must be positive and sum to 1, got {list(shares)}")
    if total < len(shares):
        raise UsageError(
            f"{total} iterations cannot be divided among {len(shares)} stages; raise the recipe's iterations"
        )
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
    """Return the stages of a method with their iterations. Raise PluginError for missing or duplicate names."""
    with calling(method, "stages"):
        stages = tuple(method.stages())
    for stage in stages:
        returned(method, "stages", stage, Stage, "a sequence of Stage")
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names) or not all(names):
        raise PluginError(f"{type(method).__name__}: stages need different names, got {names}")
    plan, offset = [], 0
    for stage, steps in zip(stages, allot(iterations, [stage.share for stage in stages]), strict=True):
        plan.append(StagePlan(stage, steps, offset))
        offset += steps
    return plan


def poly(step: int, steps: int, power: float) -> float:
    """Return max(0, 1 - step/steps)^power; without the clamp, the power beyond the end would be complex."""
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
"""Kind -> class and accepted settings. Defaults come from the recipe (momentum, betas, weight_decay), otherwise from torch."""

OWN = ("clip_norm", "clip_value", "power")


@dataclass(eq=False)
class Driver:
    """One optimiser of a stage: its parameters, learning rate, clipping, and pending gradients."""

    name: str
    optimiser: torch.optim.Optimizer
    parameters: list[nn.Parameter]
    lr: float
    schedule: str = "poly"
    power: float = 0.9
    warm_up: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    gradients: dict[int, Tensor] = field(default_factory=dict)
    """Position in `parameters` -> gradient. Not stored in `.grad`, because two optimisers may share a parameter."""
    overflow: bool = False
    """Some gradients were not finite in fp16; the next step is skipped."""

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step: step k uses lr(k), multiplied by (k + 1) / w in the first w = warm_up x steps."""
        rising = min(1.0, (step + 1) / (self.warm_up * steps)) if self.warm_up else 1.0
        return self.lr * rising * SCHEDULES[self.schedule](step, steps, self.power)

    def set_rate(self, step: int, steps: int) -> float:
        rate = self.rate(step, steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        return rate

    def collect(self, fresh: Mapping[nn.Parameter, Tensor], *, copy: bool) -> None:
        """Add to the pending gradients. Set `copy` if another optimiser holds the same tensors."""
        for position, parameter in enumerate(self.parameters):
            gradient = fresh.get(parameter)
            if gradient is None:
                continue
            if position in self.gradients:
                self.gradients[position].add_(gradient)
            else:
                self.gradients[position] = gradient.clone() if copy else gradient

    def step(self) -> bool:
        """Clip, step, and drop the pending gradients; return whether it stepped: not after an overflow or without gradients.

        Parameters without a gradient do not change, not even by momentum or decay.
        """
        steps = bool(self.gradients) and not self.overflow
        if steps:
            updated = []
            for position, gradient in self.gradients.items():
                self.parameters[position].grad = gradient
                updated.append(self.parameters[position])
            if self.clip_value is not None:
                nn.utils.clip_grad_value_(updated, self.clip_value)
            if self.clip_norm is not None:
                nn.utils.clip_grad_norm_(updated, self.clip_norm)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        self.gradients.clear()
        self.overflow = False
        return steps


def trainable(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    """Return the parameters that require gradients, each once, in the order of the modules."""
    parameters = dict.fromkeys(parameter for module in modules for parameter in module.parameters())
    return [parameter for parameter in parameters if parameter.requires_grad]


def build_driver(name: str, contract: Optimiser, recipe: Recipe, owner: str = "method") -> Driver:
    """Build the torch optimiser of a contract; the recipe fills in everything that the contract leaves open.

    Raise PluginError for an unknown kind, schedule or setting, and if there is nothing to train.
    """
    kind = contract.kind or recipe.optimiser
    schedule = contract.schedule or recipe.schedule
    if kind not in KINDS or schedule not in SCHEDULES:
        raise PluginError(
            f"{owner}: optimiser {name!r} has kind {kind!r} and schedule {schedule!r}; "
            f"known kinds: {', '.join(KINDS)}; schedules: {', '.join(SCHEDULES)}"
        )
    optimiser_class, accepted = KINDS[kind]
    unknown = set(contract.settings) - set(accepted) - set(OWN)
    if unknown:
        raise PluginError(
            f"{owner}: optimiser {name!r} ({kind}) does not accept {', '.join(sorted(unknown))}; "
            f"it accepts {', '.join((*accepted, *OWN))}"
        )
    parameters = trainable(contract.modules)
    if not parameters:
        raise PluginError(
            f"{owner}: optimiser {name!r} has nothing to train: no parameter of its modules requires gradients. "
            "Leave it out of optimisers() in this stage, or unfreeze something in begin()"
        )
    defaults: dict[str, Any] = {"momentum": recipe.momentum, "betas": recipe.betas, "weight_decay": recipe.weight_decay}
    settings = {key: value for key, value in (defaults | dict(contract.settings)).items() if key in accepted}
    lr = (recipe.lr if contract.lr is None else contract.lr) * contract.lr_factor
    return Driver(
        name=name,
        optimiser=optimiser_class(parameters, lr=lr, **settings),  # type: ignore[call-arg]
        parameters=parameters,
        lr=lr,
        schedule=schedule,
        power=float(contract.settings.get("power", recipe.power)),
        warm_up=recipe.warm_up if contract.schedule is None else 0.0,
        clip_norm=contract.settings.get("clip_norm", recipe.clip_norm),
        clip_value=contract.settings.get("clip_value", recipe.clip_value),
    )


def build_drivers(method: Method, recipe: Recipe) -> dict[str, Driver]:
    """Build all optimisers of a method for the stage that begins, with fresh state. None: the stage has no iterations.

    Raise PluginError if there are none although the method has parameters to train.
    """
    with calling(method, "optimisers"):
        contracts = returned_mapping(method, "optimisers", method.optimisers(), "name -> Optimiser")
    for contract in contracts.values():
        returned(method, "optimisers", contract, Optimiser, "name -> Optimiser")
    owner = type(method).__name__
    if not contracts and trainable((method,)):
        raise PluginError(
            f"{owner}: optimisers() is empty, but parameters require gradients; name an optimiser for them, or freeze them"
        )
    return {name: build_driver(name, contract, recipe, owner) for name, contract in contracts.items()}
