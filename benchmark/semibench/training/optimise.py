"""Implements the contract `Optimise`: weight, add and check the losses, compute gradients, clip, step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from semibench.contracts.errors import PluginError
from semibench.contracts.method import Losses, Method
from semibench.contracts.schedule import Clock
from semibench.discovery.guard import wrong_return
from semibench.training.precision import LossScale
from semibench.training.records import Watch
from semibench.training.schedules import Driver


class Optimisation:
    """The `optimise` that a method receives. One object serves a stage; `begin` and `end` bracket each iteration.

    A term whose weight is 0 is logged but left out of the sum, so that it changes no digit; if its value is not finite, a
    warning is enough. Only the parameters of the optimisers `on` receive gradients: teachers, frozen parts and the networks
    of other optimisers receive none, even if the graph leads to them.
    """

    def __init__(self, method: Method, drivers: Mapping[str, Driver], watch: Watch, scale: LossScale) -> None:
        self.method, self.drivers, self.watch, self.scale = method, drivers, watch, scale
        self.owner = type(method).__name__
        self.clock = Clock("train", 0, 1, {})
        self._overflow = False
        self._untried = set(drivers)
        self._fruitless: dict[str, list[str]] = {}

    def begin(self, clock: Clock) -> None:
        """Set the learning rates of this step."""
        self.clock = clock
        self._overflow = False
        for name, driver in self.drivers.items():
            self.watch.scalar(f"lr/{name}", driver.set_rate(clock.step, clock.steps))
        if self.scale.enabled:
            self.watch.scalar("scale", self.scale.scale)

    def __call__(self, losses: Losses, *, on: Sequence[str] = (), step: bool = True) -> bool:
        """Take one optimisation step; see `semibench.Optimise`.

        Returns:
            Whether any optimiser stepped: False with `step=False`, after an fp16 overflow, or if no term had a weight and a
            gradient.

        Raises:
            PluginError: for undeclared terms, values that are not scalars, unknown or missing `on`, or disabled gradients.
            DivergedError: for a value that is NaN or infinite.
        """
        drivers = self._drivers(on)
        if not torch.is_grad_enabled():
            raise PluginError(
                f"{self.owner}: optimise() was called with gradients disabled (no_grad or inference_mode)"
            )
        if not isinstance(losses, Mapping):
            raise wrong_return(self.method, "losses", "a mapping from the names of terms to scalars", losses)
        if losses:
            self._backward(losses, drivers)
        if not step:
            return False
        stepped = [driver.step() for driver in drivers]
        return any(stepped)

    def end(self) -> None:
        """End an iteration. Raise PluginError for gradients that were never stepped or were computed elsewhere, and for an
        optimiser that gets none when its losses count for the first time in a stage."""
        left = [driver.name for driver in self.drivers.values() if driver.gradients]
        if left:
            raise PluginError(
                f"{self.owner}: at the end of step {self.clock.step} of stage {self.clock.stage!r} the optimisers "
                f"{', '.join(left)} hold gradients that were never stepped; call optimise(..., step=True) last"
            )
        self._refuse_foreign()
        self._refuse_fruitless()
        self.scale.update(self._overflow)

    def _drivers(self, on: Sequence[str]) -> list[Driver]:
        if isinstance(on, str):
            raise PluginError(f"{self.owner}: `on` is a list of optimisers, got the text {on!r}; write on=[{on!r}]")
        names = ", ".join(self.drivers)
        if not on:
            if len(self.drivers) > 1:
                raise PluginError(f"{self.owner}: there are several optimisers; choose with on=[...] among {names}")
            return list(self.drivers.values())
        unknown = [name for name in on if name not in self.drivers]
        if unknown:
            raise PluginError(f"{self.owner}: no optimiser is called {', '.join(unknown)}; known: {names}")
        return [self.drivers[name] for name in dict.fromkeys(on)]

    def _refuse_foreign(self) -> None:
        for driver in self.drivers.values():
            if any(parameter.grad is not None for parameter in driver.parameters):
                raise PluginError(
                    f"{self.owner}: parameters of optimiser {driver.name!r} hold gradients that optimise() did not compute; "
                    "never call backward() in a method: pass losses to optimise(), or use torch.autograd.grad"
                )

    def _backward(self, losses: Losses, drivers: Sequence[Driver]) -> None:
        undeclared = [name for name in losses if name not in self.method.terms]
        if undeclared:
            raise PluginError(
                f"{self.owner}: losses named {', '.join(undeclared)} are not declared in `terms`; "
                f"declared: {', '.join(self.method.terms) or 'none'}"
            )
        names, weights, values = tuple(losses), [], []
        for name, value in losses.items():
            if not isinstance(value, Tensor) or value.numel() != 1:
                found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise PluginError(f"{self.owner}: the loss {name!r} must be one number in a tensor, got {found}")
            value = value.reshape(())
            values.append(value.float() if value.dtype in (torch.bfloat16, torch.float16) else value)
            weights.append(float(self.method.weight(name, self.clock)))
        self.watch.terms(names, tuple(weights), torch.stack([value.detach() for value in values]))
        self._refuse_foreign()
        counted = [weight * value for weight, value in zip(weights, values, strict=True) if weight != 0.0]
        parameters = dict.fromkeys(p for driver in drivers for p in driver.parameters if p.requires_grad)
        if not counted or not parameters:
            return
        reached = False
        with torch.autocast(values[0].device.type, enabled=False):
            total = torch.stack(counted).sum()
            if total.requires_grad:
                torch.autograd.backward(self.scale.apply(total), inputs=list(parameters))
                reached = True
        if reached:
            self._hand_out(parameters, drivers)
        if self._untried:
            self._try(drivers, dict(zip(names, zip(weights, values, strict=True), strict=True)))

    def _try(self, drivers: Sequence[Driver], losses: Mapping[str, tuple[float, Tensor]]) -> None:
        """Note which of the optimisers that never had a gradient got one from these losses (weight, value), and which should
        have.

        A loss that is a constant 0, or a term whose weight is 0, may be the one that is to train an optimiser later on."""
        counted = [name for name, (weight, value) in losses.items() if weight and (value.requires_grad or bool(value))]
        idle = len(counted) < len(losses) or not all(self.method.weight(name, self.clock) for name in self.method.terms)
        fed = [driver.name for driver in drivers if driver.gradients]
        self._untried.difference_update(fed)
        for driver in drivers:
            if driver.name in self._untried and counted and (len(drivers) == 1 or not fed or not idle):
                self._fruitless.setdefault(driver.name, []).extend(counted)

    def _refuse_fruitless(self) -> None:
        """Raise PluginError for an optimiser whose losses count for the first time, but gave it no gradient."""
        for name, losses in self._fruitless.items():
            if name in self._untried:
                raise PluginError(
                    f"{self.owner}: in step {self.clock.step} of stage {self.clock.stage!r}, no parameter of the optimiser "
                    f"{name!r} got a gradient from its losses {', '.join(dict.fromkeys(losses))}. They don't depend on its "
                    "parameters: a loss was detached (detach(), item(), argmax), was computed under torch.no_grad(), or "
                    "comes from another network. Compute it with gradients; if this optimiser has nothing to learn yet, "
                    "don't name it in `on`"
                )
        self._fruitless.clear()

    def _hand_out(self, parameters: Mapping[nn.Parameter, None], drivers: Sequence[Driver]) -> None:
        """Move the fresh gradients from `.grad` to the optimisers that asked for them."""
        fresh: dict[nn.Parameter, Tensor] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                fresh[parameter], parameter.grad = parameter.grad, None
        finite = self.scale.restore(list(fresh.values()))
        # a parameter of two optimisers needs a copy, because clipping and accumulation work in place
        taken: set[nn.Parameter] = set()
        for driver in drivers:
            shared = not taken.isdisjoint(driver.parameters)
            driver.collect(fresh, copy=shared)
            driver.overflow |= not finite
            taken.update(driver.parameters)
        self._overflow |= not finite
