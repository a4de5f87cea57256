"""What a semi-supervised method is. Images (B, C, *spatial), labels (B, *spatial), logits (B, K, *spatial), K >= 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from semibench.contracts.backbone import Backbones
from semibench.contracts.schedule import Clock, Stage, Stream, Term

IGNORE = 255
"""Label of padding: no loss and no metric counts it."""

Losses = Mapping[str, Tensor]
"""Term -> unweighted scalar."""


@dataclass
class Samples:
    """One stream of a batch.

    image: float32 (B, C, *spatial), the weak view; strong: further views of the same geometry; label: uint8-valued
    int64 (B, *spatial) with IGNORE on padding, None unless the pool is "labeled"; valid: bool (B, *spatial), False
    where padded; domain: int64 (B,), index into task.domains; index: int64 (B,), position of the sample in its pool.
    """

    image: Tensor
    strong: tuple[Tensor, ...]
    label: Tensor | None
    valid: Tensor
    domain: Tensor
    index: Tensor

    @property
    def target(self) -> Tensor:
        """The label of a labeled stream; raises where there is none."""
        if self.label is None:
            raise LookupError("this stream has no labels: only streams of the pool 'labeled' do")
        return self.label


Batch = Mapping[str, Samples]
"""By the names in `Method.streams`."""


class Pools(Protocol):
    """The training cases, for what must be known before a stage. No test case, no label of an unlabeled case."""

    def batches(self, pool: str) -> Iterator[Samples]:
        """One pass over a pool in fixed order, not augmented."""
        ...

    def class_voxels(self) -> Tensor:
        """(K,) float64 voxel counts over the labeled cases."""
        ...


@dataclass(frozen=True, eq=False)
class Optimiser:
    """What one optimiser trains; None means the recipe's. Two may share parameters.

    settings: betas, momentum, weight_decay, clip_norm, clip_value, power ...
    """

    modules: Sequence[nn.Module]
    kind: Literal["sgd", "adam", "adamw", "rmsprop"] | None = None
    lr: float | None = None
    lr_factor: float = 1.0
    schedule: Literal["poly", "constant"] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


class Optimise(Protocol):
    """Weighs and adds the losses, sends gradients to the parameters of the optimisers `on` (may be left out where there
    is one) and to no others, clips and steps them. step=False keeps the gradients and frees the graph; a later call
    steps. Returns whether it stepped (False: fp16 overflow, or step=False)."""

    def __call__(self, losses: Losses, *, on: Sequence[str] = (), step: bool = True) -> bool: ...


@dataclass(frozen=True)
class Task:
    """What is to be learned. dims: of the network (2 on volumes means slices); classes[0] is the background; patch: the
    training size; domains: of the training pools; cases: pool -> number of samples (cases, or slices for a 2D network
    on volumes); budget: iterations of the run."""

    dims: int
    channels: int
    classes: tuple[str, ...]
    patch: tuple[int, ...]
    domains: tuple[str, ...]
    cases: Mapping[str, int]
    budget: int = 0


class MethodOptions(BaseModel, frozen=True, extra="forbid"):
    """Base of a method's options; a field's ge/gt/le/lt bounds are its range, its description is shown by `bench show`."""


def tunable(
    default: Any, low: float | None = None, high: float | None = None, *, log: bool = False, choices: Sequence[Any] = (),
    **more: Any,
) -> Any:  # fmt: skip
    """A field of a method's Options that `bench tune` may search: from low to high (log: on a logarithmic scale), or one of
    choices. more: arguments of `pydantic.Field` (description, ge, le ...), which say what is valid; the range says what is
    worth trying.

        class Options(MethodOptions, frozen=True, extra="forbid"):
            decay: float = tunable(0.99, 0.9, 0.999, ge=0, le=1, description="of the teacher")
    """
    search: dict[str, Any] = {"choices": list(choices)} if choices else {"low": low, "high": high, "log": log}
    if not choices and (low is None or high is None or not low < high):
        raise ValueError(f"tunable: expected low < high or choices, got {low!r} to {high!r}")
    return Field(default, json_schema_extra={"search": search}, **more)


class Method(nn.Module):
    """A semi-supervised learner: turns a batch into named loss terms, and predicts.

    Class attributes: `terms` (defaults), `streams`, `presets` (paper constants by setting: {"options", "terms",
    "recipe"}), `Options`. The harness sets the resolved `terms` on the instance after construction.
    Memory of any kind is a parameter or a fixed-shape buffer.
    """

    terms: Mapping[str, Term] = {}
    streams: ClassVar[Mapping[str, Stream]] = {"labeled": Stream("labeled"), "unlabeled": Stream("unlabeled")}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    rehearsal_options: ClassVar[Mapping[str, Any]] = {}
    """Options under which the battery rehearses its three steps, e.g. a confidence that an untrained network has."""

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """No options."""

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """Why this task must be skipped, or None."""
        return None

    def __init__(self, task: Task, backbones: Backbones, options: Any) -> None:
        super().__init__()
        self.notes: dict[str, Tensor] = {}
        """Diagnostics to log (kept fraction, threshold), detached; never optimised."""

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """UNWEIGHTED scalars by term. Write this, or override `step`."""
        raise NotImplementedError(f"{type(self).__name__}: abstract, write losses() or override step()")

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """One iteration. Override for several optimisations; default: all losses, all optimisers."""
        optimise(self.losses(batch, clock), on=tuple(self.optimisers()))

    def after_step(self, clock: Clock) -> None:
        """Once per iteration, called by the harness after `step`: EMA, statistics."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K, *spatial) of the default predictor."""
        raise NotImplementedError(f"{type(self).__name__}: abstract, write forward()")

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Everything that is scored: name -> images to logits; the first is the default."""
        return {"main": self}

    def stages(self) -> Sequence[Stage]:
        """Parts of the run; shares sum to 1."""
        return (Stage(),)

    def begin(self, stage: str, pools: Pools) -> None:
        """Once before a stage's first step, not on resume: copy, freeze, look at the training pools."""

    def optimisers(self) -> Mapping[str, Optimiser]:
        """By name; default: one over everything that requires gradients."""
        return {"main": Optimiser((self,))}

    def weight(self, term: str, clock: Clock) -> float:
        """weight x ramp of a term now; 0 outside its gate."""
        return self.terms[term].at(clock.progress)

    def total(self, losses: Losses, clock: Clock) -> Tensor:
        """What `optimise` minimises, the weighted sum; for inner loops too."""
        parts = [self.weight(name, clock) * loss for name, loss in losses.items()]
        return torch.stack(parts).sum() if parts else torch.zeros(())
