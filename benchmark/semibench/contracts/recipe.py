"""Recipes: how long to train and with what optimiser. Every field is explicit and enters the run key. Imports pydantic only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from semibench.contracts.identity import Frozen, Grid

Probability = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0)]

UNCHANGED = (0.0, 1.0, 1.0)
"""(probability, smallest, largest) of a change that never happens."""


def _in_order(change: tuple[float, float, float]) -> tuple[float, float, float]:
    _, low, high = change
    if not 0 < low <= high:
        raise ValueError("expected 0 < smallest <= largest")
    return change


Changed = Annotated[tuple[Probability, float, float], AfterValidator(_in_order)]
"""(probability, smallest, largest) of a change, both greater than 0."""


class WeakPolicy(Frozen):
    """Augmentation of the weak view: geometry that image and label share, then changes of the image's intensities. Whole
    batches, on the training device, one resampling per view. Every change is drawn independently of the others, for each
    sample. Published scripts draw otherwise: with MGCC's flips and turns one image in six stays as it is here, and one in
    three in its code."""

    flip: Probability | tuple[Probability, ...] = 0.5
    """Probability for each axis, or one for each spatial axis in their order: (0, 0.5) flips left and right alone."""
    rotate90: Probability = 0.5
    """Probability of a right-angle rotation in the image plane: the last two axes; in 3D the first two spatial axes, if
    their sides are equal (RandomRotFlip of SSL4MIS)."""
    rotate: tuple[Probability, Strength] = (0.25, 20.0)
    """(probability, largest angle in degrees) of a rotation in the image plane."""
    scale: Changed = UNCHANGED
    """(probability, smallest factor, largest factor)."""
    crop: bool = True
    """Take random crops of the patch where the grid is larger; otherwise central ones."""
    blur: Changed = UNCHANGED
    """(probability, smallest sigma, largest sigma) of a Gaussian blur, in voxels."""
    brightness: Changed = UNCHANGED
    """(probability, smallest factor, largest factor) on intensities, which are scaled to 0..1 by the sample's range."""
    contrast: Changed = UNCHANGED
    """(probability, smallest factor, largest factor) on the distance to the sample's mean."""
    gamma: Changed = UNCHANGED
    """(probability, smallest exponent, largest exponent) on intensities scaled to 0..1."""

    @property
    def changes_intensities(self) -> bool:
        """Whether any of the four intensity changes can happen."""
        return any(getattr(self, name)[0] > 0 for name in INTENSITIES)


INTENSITIES = ("blur", "brightness", "contrast", "gamma")
"""Fields of `WeakPolicy` that change intensities, in the order in which they are applied."""


def network_options(recipe: Mapping[str, Any], name: str, known: Collection[str]) -> dict[str, Any]:
    """Return the defaults that a recipe sets for the options of a backbone.

    Args:
        recipe: the record of a recipe, as in a run spec. Records from before a field existed lack it.
        name: name of the backbone, without its distribution.
        known: the options that the backbone has.

    Returns:
        Option -> value: the width, what `networks` says for "*" (as far as the backbone has the option), and what it says
        for this backbone. A network that isn't written for Semibench has no width and gets only what is said for it by name:
        its options mean something else.
    """
    widths, networks = recipe.get("widths", {}), recipe.get("networks", {})
    if "width" not in known:
        return dict(networks.get(name, {}))
    shared = {key: value for key, value in networks.get("*", {}).items() if key in known}
    return {"width": widths.get(name, widths.get("*", 1.0)), **shared, **networks.get(name, {})}


class ConfidenceThreshold:
    """Marks an option of a method as the confidence from which a prediction counts."""


Confidence = Annotated[float, ConfidenceThreshold()]
"""Type of an option that says from which confidence, in [0, 1], a prediction counts as a label. Short recipes limit its default
(`Recipe.highest_confidence`)."""


def limited_confidence(options: type[BaseModel], highest: float) -> dict[str, float]:
    """Return the defaults that `Recipe.highest_confidence` changes.

    Args:
        options: the options of a method.
        highest: largest confidence threshold.

    Returns:
        Option -> `highest`, for each option of type `Confidence` whose default is larger.
    """
    return {
        name: highest
        for name, field in options.model_fields.items()
        if any(isinstance(mark, ConfidenceThreshold) for mark in field.metadata) and field.default > highest
    }


class StrongPolicy(Frozen):
    """Intensity changes of strong views. Each is (probability, largest strength s), drawn for each sample."""

    jitter: tuple[Probability, Strength] = (0.8, 0.5)
    """Change of brightness and contrast, in units of the image's range."""
    gamma: tuple[Probability, Strength] = (0.5, 0.5)
    """Exponent in [1 - s, 1 + s]."""
    blur: tuple[Probability, Strength] = (0.5, 1.5)
    """Sigma in pixels."""
    noise: tuple[Probability, Strength] = (0.5, 0.05)
    """Standard deviation of Gaussian noise, in units of the image's range."""


class Recipe(Frozen):
    """Budget and optimisation of a run."""

    name: str
    """Name of the recipe."""
    dims: Literal[2, 3]
    """Dimensions of the network."""
    iterations: int = Field(gt=0, le=10**9)
    """Batches drawn, over all stages."""
    labeled_batch: int = Field(gt=0, le=100_000)
    """Labeled samples in a batch."""
    unlabeled_batch: int = Field(gt=0, le=100_000)
    """Unlabeled samples in a batch."""
    patch: Grid
    """Spatial size of the training images."""
    size: Grid | None = None
    """Grid to which volumes are resampled; None: their own. Images, and slices of volumes, always get the size of the patch.
    Scores are computed on the native grid in any case."""
    slab: int = Field(1, ge=1, le=1000)
    """Adjacent slices that a 2D network sees as channels."""
    optimiser: Literal["sgd", "adam", "adamw", "rmsprop"] = "sgd"
    """Kind of optimiser."""
    lr: float = Field(0.01, gt=0, le=1e6)
    """Learning rate at the start."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD and RMSprop."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    """Betas of Adam and AdamW."""
    weight_decay: float = Field(1e-4, ge=0, le=1e6)
    """Weight decay."""
    schedule: Literal["poly", "constant"] = "poly"
    """Course of the learning rate."""
    power: float = Field(0.9, ge=0, le=1000)
    """Power of the schedule "poly"."""
    warm_up: float = Field(0.0, ge=0, lt=1)
    """Share of the steps of a stage in which the learning rate rises linearly from near 0."""
    longest_average: float = Field(1.0, gt=0, le=1)
    """Longest moving average of weights, as a share of the run's iterations. A teacher with decay d averages about 1 / (1 - d)
    steps, 100 of 30000 as published; in a run of 400 that is a quarter of all, and the teacher lags behind its student."""
    unlabeled_ramp: float = Field(0.0, ge=0, le=2)
    """Share of a stage over which the weights of terms on unlabeled samples grow, exp(-5 (1 - t)^2), where the method gives them
    no ramp of its own; 0: as the method declares. In short runs such a term at full weight from the first step can end
    the run below the labels alone (docs/recipes.md)."""
    highest_confidence: float = Field(1.0, gt=0, le=1)
    """Largest default for an option that says from which confidence a prediction counts (`Confidence`). In the first hundreds
    of iterations little but background reaches the usual .95 (docs/recipes.md)."""
    clip_norm: float | None = Field(None, gt=0, le=1e12)
    """Largest norm of the gradient; None: no limit."""
    clip_value: float | None = Field(None, gt=0, le=1e12)
    """Largest absolute value of a gradient's elements; None: no limit."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the forward and backward passes."""
    channels_last: bool = False
    """Use the channels-last memory format."""
    compile: bool | Literal["cuda-graphs"] = False
    """Use `torch.compile`, which has no double backward. "cuda-graphs": its calls are also recorded once as CUDA graphs and then
    replayed (mode "reduce-overhead"), which saves the time between small kernels of a GPU and holds more memory."""
    weak: WeakPolicy = WeakPolicy()
    """Geometric augmentation of the weak view."""
    strong: StrongPolicy = StrongPolicy()
    """Intensity changes of the strong views."""
    widths: dict[str, Annotated[float, Field(gt=0, le=64)]] = {"*": 1.0}
    """Backbone -> factor on its published channel counts ("*": all others), the default of its option `width`."""
    networks: dict[str, dict[str, Any]] = {}
    """Backbone -> defaults of its other options. "*": for every backbone that has the option; an entry for one backbone
    overrides it. For example {"*": {"norm": "instance"}, "vnet": {"has_dropout": false}}."""
    evaluate_every: int = Field(200, ge=0, le=10**9)
    """Iterations between evaluations on validation; 0: never."""
    evaluate_cases: int = Field(0, ge=0, le=10**9)
    """Maximum number of validation cases scored during training; 0: all."""
    checkpoint_every: int = Field(200, ge=0, le=10**9)
    """Iterations between checkpoints; 0: never."""
    keep_best: bool = True
    """Score validation and keep the best weights."""

    def changed(self, base: Recipe) -> dict[str, Any]:
        """Return the fields that differ from another recipe; a changed recipe is shown as `name*`.

        Args:
            base: the recipe to compare with.

        Returns:
            Field -> value in this recipe.
        """
        mine, theirs = self.model_dump(mode="json"), base.model_dump(mode="json")
        return {key: value for key, value in mine.items() if value != theirs[key]}


def grid_options(recipe: Recipe, dims: int) -> dict[str, Any]:
    """Return what a recipe sets for the options of a data set: the size of its grid, if any.

    Args:
        recipe: the recipe of a run.
        dims: dimensions of the cases, not of the network.

    Returns:
        Option -> value; empty if the cases keep their own grid.
    """
    if dims == 2:
        return {"size": list(recipe.patch)}
    return {"size": list(recipe.size)} if recipe.dims == 3 and recipe.size is not None else {}
