"""The contract of a method. Images are (B, C, *spatial), labels (B, *spatial), logits (B, K, *spatial) with K >= 2."""

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
"""Label of padding; losses and metrics ignore it."""

Losses = Mapping[str, Tensor]
"""Term -> unweighted scalar loss."""


@dataclass
class Samples:
    """One stream of a batch."""

    image: Tensor
    """The weak view, float32 (B, C, *spatial)."""
    strong: tuple[Tensor, ...]
    """Strong views with the same geometry and shape."""
    label: Tensor | None
    """uint8-valued int64 (B, *spatial) with IGNORE on padding; None unless the pool is "labeled"."""
    valid: Tensor
    """bool (B, *spatial), False on padding."""
    domain: Tensor
    """int64 (B,), index into `Task.domains`."""
    index: Tensor
    """int64 (B,), position of the sample in its pool."""

    @property
    def target(self) -> Tensor:
        """The label of a labeled stream.

        Raises:
            LookupError: if the stream has no labels.
        """
        if self.label is None:
            raise LookupError("this stream has no labels: only streams of the pool 'labeled' do")
        return self.label


Batch = Mapping[str, Samples]
"""Stream -> samples, by the names in `Method.streams`."""


class Pools(Protocol):
    """The training cases, for what a method must know before a stage. Hides test cases and labels of unlabeled cases."""

    def batches(self, pool: str) -> Iterator[Samples]:
        """Pass once over a pool in a fixed order, without augmentation.

        Args:
            pool: "labeled", "unlabeled" or "all".
        """
        ...

    def class_voxels(self) -> Tensor:
        """Return the number of voxels of each class in the labeled cases, float64 (K,)."""
        ...

    def label_maps(self) -> Iterator[Tensor]:
        """Yield the label map of each labeled case on its working grid, uint8 (*spatial): a whole volume even where the network
        is 2D. IGNORE marks padding."""
        ...


@dataclass(frozen=True, eq=False)
class Optimiser:
    """What one optimiser trains, and how; None means the recipe's value. Two optimisers may share parameters."""

    modules: Sequence[nn.Module]
    """The modules whose parameters it trains."""
    kind: Literal["sgd", "adam", "adamw", "rmsprop"] | None = None
    """Kind of optimiser."""
    lr: float | None = None
    """Learning rate at the start."""
    lr_factor: float = 1.0
    """Factor on the learning rate."""
    schedule: Literal["poly", "constant"] | None = None
    """Course of the learning rate."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Other values of the recipe to override: betas, momentum, weight_decay, clip_norm, clip_value, power ..."""


class Optimise(Protocol):
    """Takes one optimisation step: weights and adds the losses, computes gradients, clips them and steps."""

    def __call__(self, losses: Losses, *, on: Sequence[str] = (), step: bool = True) -> bool:
        """Minimise the weighted sum of the losses.

        Args:
            losses: unweighted scalars by term.
            on: names of the optimisers to use; only their parameters receive gradients. Optional if there is only one.
            step: False keeps the gradients and frees the graph, which saves memory; a later call steps.

        Returns:
            Whether it stepped: False after an fp16 overflow or with `step=False`.
        """
        ...


@dataclass(frozen=True)
class Task:
    """What a method has to learn."""

    dims: int
    """Dimensions of the network; 2 on volumes means slices."""
    channels: int
    """Channels of an image."""
    classes: tuple[str, ...]
    """Names of the classes; the first is the background."""
    patch: tuple[int, ...]
    """Spatial size of the training images."""
    domains: tuple[str, ...]
    """Domains of the training pools."""
    cases: Mapping[str, int]
    """Pool -> number of samples: cases, or slices for a 2D network on volumes."""
    budget: int = 0
    """Iterations of the run."""


class MethodOptions(BaseModel, frozen=True, extra="forbid"):
    """Base of a method's options. A field's ge/gt/le/lt bounds are its valid range; `bench show` prints its description."""


def tunable(
    default: Any, low: float | None = None, high: float | None = None, *, log: bool = False, choices: Sequence[Any] = (),
    **more: Any,
) -> Any:  # fmt: skip
    """Declare a field of a method's `Options` that `bench tune` may search.

    The search range says which values are worth trying; the bounds in `more` say which are valid.

        class Options(MethodOptions, frozen=True, extra="forbid"):
            decay: float = tunable(0.99, 0.9, 0.999, ge=0, le=1, description="of the teacher")

    Args:
        default: value of the option when it is not tuned.
        low: low end of the search range.
        high: high end of the search range.
        log: search on a logarithmic scale.
        choices: values to choose from, instead of a range.
        more: arguments of `pydantic.Field` (description, ge, le ...).

    Raises:
        ValueError: if there are neither choices nor a range with low < high.
    """
    search: dict[str, Any] = {"choices": list(choices)} if choices else {"low": low, "high": high, "log": log}
    if not choices and (low is None or high is None or not low < high):
        raise ValueError(f"tunable: expected low < high or choices, got {low!r} to {high!r}")
    return Field(default, json_schema_extra={"search": search}, **more)


class Method(nn.Module):
    """A semi-supervised learner: turns a batch into named loss terms, and predicts.

    Most methods write `losses` and `after_step`. Whatever a method must remember (teacher, bank, class statistics) is a
    parameter or a buffer of fixed shape.
    """

    terms: Mapping[str, Term] = {}
    """Default terms by name. The harness sets the resolved terms on the instance after construction."""
    streams: ClassVar[Mapping[str, Stream]] = {"labeled": Stream("labeled"), "unlabeled": Stream("unlabeled")}
    """The streams of a batch, by name."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Constants of the paper by setting: {"options", "terms", "recipe"}."""
    whole_cases: ClassVar[bool] = False
    """Whether the predictors take whole cases, (B, C, *spatial) of any size, and volumes even where the run's network is 2D. By
    default they take patches and slices, whose place in the case they don't know."""
    rehearsal_options: ClassVar[Mapping[str, Any]] = {}
    """Options for the three steps that the battery rehearses, e.g. a confidence that an untrained network reaches."""

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """No options."""

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """Return why this task must be skipped, or None.

        Args:
            task: what is to be learned.
            options: an instance of `Options`.
        """
        return None

    def __init__(self, task: Task, backbones: Backbones, options: Any) -> None:
        """Build the networks.

        Args:
            task: what is to be learned.
            backbones: builds networks with fresh weights.
            options: an instance of `Options`.
        """
        super().__init__()
        self.notes: dict[str, Tensor] = {}
        """Diagnostics to log (kept fraction, threshold), detached; they are never optimised."""

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """Compute the loss terms, UNWEIGHTED: `optimise` applies the weights. Write this, or override `step`.

        Args:
            batch: the samples of each stream.
            clock: the current time in training.

        Returns:
            Term -> scalar.
        """
        raise NotImplementedError(f"{type(self).__name__}: abstract, write losses() or override step()")

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Run one iteration. Override it for several optimisations; by default all losses go to all optimisers.

        Args:
            batch: the samples of each stream.
            clock: the current time in training.
            optimise: takes one optimisation step.
        """
        optimise(self.losses(batch, clock), on=tuple(self.optimisers()))

    def after_step(self, clock: Clock) -> None:
        """Update what is not optimised (EMA, statistics). The harness calls it once per iteration, after `step`.

        Args:
            clock: the current time in training.
        """

    def forward(self, images: Tensor) -> Tensor:
        """Predict with the default predictor.

        Args:
            images: (B, C, *spatial).

        Returns:
            Logits (B, K, *spatial).
        """
        raise NotImplementedError(f"{type(self).__name__}: abstract, write forward()")

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Return everything that is scored: name -> function from images to logits. The first one is the default."""
        return {"main": self}

    def stages(self) -> Sequence[Stage]:
        """Return the parts of the run; one by default. Their shares sum to 1."""
        return (Stage(),)

    def begin(self, stage: str, pools: Pools) -> None:
        """Prepare a stage: copy, freeze, look at the training pools. Called once before its first step, not on resume.

        Args:
            stage: name of the stage.
            pools: the training cases.
        """

    def optimisers(self) -> Mapping[str, Optimiser]:
        """Return the optimisers by name; by default one for everything that requires gradients.

        None: nothing is optimised. All that the method learns, it learns in `begin`, and the harness runs no iterations.
        """
        return {"main": Optimiser((self,))}

    def weight(self, term: str, clock: Clock) -> float:
        """Return weight x ramp of a term now; 0 outside its gate.

        Args:
            term: name of the term.
            clock: the current time in training.
        """
        return self.terms[term].at(clock.progress)

    def total(self, losses: Losses, clock: Clock) -> Tensor:
        """Return the weighted sum that `optimise` minimises. Inner loops may use it too.

        Args:
            losses: unweighted scalars by term.
            clock: the current time in training.
        """
        parts = [self.weight(name, clock) * loss for name, loss in losses.items()]
        return torch.stack(parts).sum() if parts else torch.zeros(())
