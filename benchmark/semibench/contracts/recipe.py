"""Recipes: how long and with what optimiser. Light: pydantic only. Every field is explicit and enters the run key."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from semibench.contracts.identity import Frozen


class WeakPolicy(Frozen):
    """Geometry that image and label share; whole batches, on the training device, one resampling per view.

    flip: probability per axis; rotate90: probability of a right-angle rotation in the image plane (in plane of the last
    two axes; 3D: of the first two spatial axes when these are equal, as RandomRotFlip); rotate: (probability, degrees);
    scale: (probability, least, greatest factor); crop: random crops of the patch where the grid is larger.
    """

    flip: float = 0.5
    rotate90: float = 0.5
    rotate: tuple[float, float] = (0.25, 20.0)
    scale: tuple[float, float, float] = (0.0, 1.0, 1.0)
    crop: bool = True


class StrongPolicy(Frozen):
    """Intensity changes of strong views, each (probability, greatest strength), per sample.

    jitter: additive/contrast change in units of the image's range; gamma: exponent in [1 - s, 1 + s]; blur: sigma in
    pixels; noise: Gaussian standard deviation in units of the image's range.
    """

    jitter: tuple[float, float] = (0.8, 0.5)
    gamma: tuple[float, float] = (0.5, 0.5)
    blur: tuple[float, float] = (0.5, 1.5)
    noise: tuple[float, float] = (0.5, 0.05)


class Recipe(Frozen):
    """Budget and optimisation of a run.

    iterations: batches drawn, over all stages. labeled_batch, unlabeled_batch: samples of each pool in a batch. patch:
    training size (spatial).
    widths: factor on the published channel counts, by backbone name ("*": all others), which backbones take as the
    default of their option `width`. evaluate_every / checkpoint_every: in iterations
    (0: never). keep_best: score validation and keep the best weights. evaluate_cases: most validation cases scored in
    training (0: all).
    """

    name: str
    dims: Literal[2, 3]
    iterations: int = Field(gt=0)
    labeled_batch: int = Field(gt=0)
    unlabeled_batch: int = Field(gt=0)
    patch: tuple[int, ...]
    slab: int = Field(1, ge=1)
    optimiser: Literal["sgd", "adam", "adamw", "rmsprop"] = "sgd"
    lr: float = Field(0.01, gt=0)
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["poly", "constant"] = "poly"
    power: float = 0.9
    clip_norm: float | None = None
    clip_value: float | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = False
    compile: bool = False
    weak: WeakPolicy = WeakPolicy()
    strong: StrongPolicy = StrongPolicy()
    widths: dict[str, float] = {"*": 1.0}
    evaluate_every: int = Field(200, ge=0)
    evaluate_cases: int = Field(0, ge=0)
    checkpoint_every: int = Field(200, ge=0)
    keep_best: bool = True

    def changed(self, base: Recipe) -> dict[str, Any]:
        """Fields that differ from another recipe: field -> value here (a changed recipe is shown as `name*`)."""
        mine, theirs = self.model_dump(mode="json"), base.model_dump(mode="json")
        return {key: value for key, value in mine.items() if value != theirs[key]}
