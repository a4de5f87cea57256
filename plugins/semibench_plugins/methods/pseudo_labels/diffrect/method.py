"""DiffRect, rectification of pseudo-labels by latent diffusion (Liu et al., MICCAI 2024), in 2D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from semibench import (
    IGNORE,
    Backbones,
    Batch,
    Clock,
    Confidence,
    Method,
    MethodOptions,
    Optimise,
    Optimiser,
    Ramp,
    Stream,
    Task,
    Term,
)
from semibench.blocks import Supervision, cross_entropy, frozen_statistics, soft_dice, supervised_loss
from semibench_plugins.datasets.paper_budgets import SSL4MIS_RECIPE, TURNS_WEAK
from semibench_plugins.methods.pseudo_labels.diffrect.colours import coloured, label_distance, palette
from semibench_plugins.methods.pseudo_labels.diffrect.rectifier import LEVELS, Rectifier
from semibench_plugins.methods.pseudo_labels.fixmatch import concentration, surviving_labels

LARGEST = 999.0
"""The time that stands for the worst label map."""


class DiffRect(Method):
    """FixMatch whose pseudo-labels a second network, the rectifier, corrects by diffusion in its feature space.

    With CD = CE + Dice, weak and strong views, and y_w, y_s the labels of both that survive a threshold of .8 (`fixmatch`,
    variant "a"), an iteration has three steps:
    1. segmenter: L = CD(labels) + w [CD(strong unlabeled, y_w) + a L_comp], `fixmatch`'s L_comp and factor a;
    2. rectifier: L = refine + latent + w refine-strong. It learns to turn the coloured y_w of the labeled images into the
       label: refine is CD, latent the squared error of the guessed feature (on unlabeled images that of y_w itself).
       refine-strong: y_s and the strong view; CD against step 2's corrected labels on unlabeled images, its own L_comp
       and latent error, whose goal is y_w;
    3. segmenter, after 1000 of 30000 iterations: rectified = CD(weak unlabeled, y_r), y_r drawn by the rectifier from noise in
       two steps of DDIM, on the condition of y_w.
    w rises to .1 as exp(-5 (1 - t)^2). The distance of two label maps (Dice loss, times 999) is the rectifier's time.

    The weight of the third step rises as exp(-5 (1 - t)^2), which is ours. The authors give it weight 1 as soon as it starts:
    after 1000 iterations their rectifier has learned something, in a short run it hasn't. On the battery's toy (200
    iterations) the network then has a Dice of .74, and .50 with running statistics estimated again; with the ramp .85 and .80,
    without the third step .84 and .84, the labels alone .84. The preset `acdc` keeps the authors' weight, and has the recipe
    and the views of their script, 3 + 3 images; of its strong view, which multiplies contrast, sharpness and brightness by 1
    to 1.1, the recipe has brightness and contrast by .9 to 1.1.

    The rectifier replaces the coarsest feature by the guess (`Rectifier`). Only whole weak views move the segmenter's running
    statistics; in the code strong views do, too. Step 3 passes the unlabeled weak views, the code the labeled ones beside
    them. The code keeps gradients while it draws y_r, without use for them. Guesses
    are not clipped here. The rectifier's learning rate is constant, the segmenter's falls. Scored: the segmenter alone.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(2.0),
        "pixel": Term(0.1, Ramp("sigmoid", levels=200), search=(0.05, 1.0), unlabeled=True),
        "complementary": Term(0.1, Ramp("sigmoid", levels=200), search=(0.01, 1.0), unlabeled=True),
        "refine": Term(),
        "latent": Term(),
        "refine-strong": Term(0.1, Ramp("sigmoid", levels=200)),
        "rectified": Term(1.0, Ramp("sigmoid"), active=(1 / 30, math.inf), search=(0.1, 1.0), unlabeled=True),
    }
    colours: Tensor
    streams: ClassVar[Mapping[str, Stream]] = {
        "labeled": Stream("labeled", strong=1),
        "unlabeled": Stream("unlabeled", strong=1),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "acdc": {
            "terms": {"rectified": {"ramp": {"kind": "constant"}}},
            "recipe": {
                **SSL4MIS_RECIPE, "labeled_batch": 3, "unlabeled_batch": 3,
                "weak": {**TURNS_WEAK, "rotate90": 0.0, "rotate": (0.5, 180.0)},
                "strong": {"jitter": (0.75, 0.1), "gamma": (0.0, 0.0), "blur": (0.5, 1.0), "noise": (0.0, 0.0)},
            },
        },
    }  # fmt: skip

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `diffrect`."""

        survival: Confidence = Field(
            0.8, ge=0.0, description="threshold on the normalised class scores of a label; useful range .5 to .95"
        )
        rectifier_width: float | None = Field(
            None,
            gt=0.0,
            description="factor on the rectifier's channels; default: the segmenter's finest level / 16, at most 1",
        )
        steps: int = Field(10, ge=2, le=1000, description="steps of the rectifier's diffusion")
        sampling_steps: int = Field(
            2, ge=1, le=1000, description="steps in which DDIM draws a feature, at most `steps`"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss; its term counts twice (CE + Dice)")

        @model_validator(mode="after")
        def _at_most_all_steps(self) -> Self:
            if self.sampling_steps > self.steps:
                raise ValueError(f"sampling_steps={self.sampling_steps} is more than steps={self.steps}")
            return self

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """2D only: the rectifier is a 2D network."""
        if task.dims == 2:
            return None
        return f"diffrect needs 2D networks, but the task asks for a {task.dims}D network"

    def __init__(self, task: Task, backbones: Backbones, options: DiffRect.Options) -> None:
        super().__init__(task, backbones, options)
        self.survival, self.loss, self.kinds = options.survival, options.loss, len(task.classes)
        self.net = backbones()
        width = options.rectifier_width or min(1.0, self.net.channels[0] / LEVELS[0])
        self.rectifier = Rectifier(
            task.channels, self.kinds, width, steps=options.steps, sampling_steps=options.sampling_steps
        )
        self.register_buffer("colours", palette(self.kinds), persistent=False)

    def optimisers(self) -> Mapping[str, Optimiser]:
        """One for the segmenter, one with a constant rate for the rectifier."""
        return {"main": Optimiser((self.net,)), "rectifier": Optimiser((self.rectifier,), schedule="constant")}

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Steps of the segmenter, the rectifier, and the segmenter again, on corrected labels."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        weak, strong = torch.cat([labeled.image, unlabeled.image]), torch.cat([labeled.strong[0], unlabeled.strong[0]])
        valid, target, count = torch.cat([labeled.valid, unlabeled.valid]), labeled.target, len(labeled.image)
        logits = self.net(weak)
        with frozen_statistics(self.net):
            logits_s = self.net(strong)
        plain, altered = self._labels(logits, valid), self._labels(logits_s, valid)
        sure = supervised_loss(logits[:count], target, self.loss)
        optimise(
            {
                "sup": sure,
                "pixel": both(logits_s[count:], plain[count:]),
                "complementary": complementary(logits, logits_s, valid),
            },
            on=["main"],
        )
        self._refine((weak, strong), (plain, altered), target, valid, optimise)
        if self.weight("rectified", clock):
            goal = self._rectified(weak, plain, target, valid)[count:]
            optimise({"rectified": both(self.net(unlabeled.image), goal)}, on=["main"])

    def _refine(
        self,
        views: tuple[Tensor, Tensor],
        labels: tuple[Tensor, Tensor],
        target: Tensor,
        valid: Tensor,
        optimise: Optimise,
    ) -> None:
        """The rectifier's step; weak and strong views (all samples) and their labels."""
        (weak, strong), (plain, altered), count = views, labels, len(target)
        given, given_s = (coloured(label, self.colours) for label in (plain, altered))
        goal = torch.cat([coloured(target, self.colours), given[count:]])
        logits, latent = self.rectifier(weak, given, self._quality(plain[:count], target, len(weak)), goal)
        better = self._labels(logits, valid)
        quality = self._quality(altered[count:], better[count:], len(weak))
        logits_s, latent_s = self.rectifier(strong, given_s, quality, given)
        optimise(
            {
                "refine": both(logits[:count], target),
                "latent": latent,
                "refine-strong": both(logits_s[count:], better[count:])
                + complementary(logits, logits_s, valid)
                + latent_s,
            },
            on=["rectifier"],
        )

    def _rectified(self, weak: Tensor, plain: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        quality = self._quality(plain[: len(target)], target, len(weak))
        label = self._labels(self.rectifier.sample(weak, coloured(plain, self.colours), quality), valid)
        self.notes["changed"] = (label != plain).float().mean()
        return label

    def _labels(self, logits: Tensor, valid: Tensor) -> Tensor:
        return surviving_labels(logits.detach().float().softmax(1), self.survival).masked_fill(~valid, IGNORE)

    def _quality(self, label: Tensor, target: Tensor, count: int) -> Tensor:
        return (LARGEST * label_distance(label, target, self.kinds)).expand(count)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W) of the segmenter."""
        return self.net(images)


def both(logits: Tensor, label: Tensor) -> Tensor:
    """CE + Dice."""
    return cross_entropy(logits, label) + soft_dice(logits, label)


def complementary(weak: Tensor, strong: Tensor, valid: Tensor) -> Tensor:
    """a^2 CE(1 - p_strong as logits, argmin p_weak), a = `concentration` of p_strong. SSL4MIS applies a twice."""
    p = strong.float().softmax(1)
    least = weak.detach().argmin(1).masked_fill(~valid, IGNORE)
    return concentration(p, valid).square() * cross_entropy(1.0 - p, least)
