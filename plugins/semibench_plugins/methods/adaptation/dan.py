"""DAN, deep adversarial network (Zhang et al., MICCAI 2017), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from semibench import Backbones, Batch, Clock, Method, MethodOptions, Optimise, Optimiser, Ramp, Task, Term
from semibench.blocks import Supervision, evaluating, supervised_loss, without_dropout
from semibench_plugins.datasets.paper_budgets import SSL4MIS_RECIPE
from semibench_plugins.methods.adaptation.evaluation_network import EvaluationNetwork

UNLABELED, LABELED = 0, 1


class DAN(Method):
    """The segmenter S learns from labels and tries to make its segmentations of unlabeled images look like those of labeled
    ones to an evaluation network E, which sees the image and the softmax map.

    S: L = L_sup + w CE(E(S(u), u), labeled). Then E: CE(E(S(x), x), labeled or unlabeled) over all images x, S fixed.
    While S learns, E predicts without dropout. S has the recipe's optimiser, E has Adam 1e-4, betas (.9, .99), no decay, a
    constant rate.

    w = .001 after a ramp of 200 steps over the run is ours; the published code ends at .1 (preset `ssl4mis`). With few labels E
    soon knows the labeled images, tells all others apart, and the adversarial loss grows far beyond the supervised one. Dice on
    the toy of the learning check (three labels, 200 iterations), seeds 0 to 2: .41, .86, .57 with .1, .85, .88, .77 with .01
    and .84, .88, .80 with .001; labels alone .84, .88, .79. On the real hippocampus by slices (one labeled volume), on
    validation: .53, .55, .53 with .01 and .65, .62, .66 with .001. The networks of the paper, which have several scales, are
    not rebuilt.

    By default E learns from the maps that S has just been trained with (maps="same"). SSL4MIS predicts them again after the
    step of S, in eval mode, at the price of one more forward pass (maps="again", preset `ssl4mis`). Its script sets the
    learning rate of a step only after it, so its rate lags by one step; here it doesn't.

    Scored: the segmenter.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "adv": Term(0.001, Ramp("sigmoid", levels=200), search=(1e-4, 0.5), unlabeled=True),
        "critic": Term(),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ssl4mis": {"options": {"maps": "again"}, "terms": {"adv": 0.1}, "recipe": SSL4MIS_RECIPE},
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `dan`."""

        maps: Literal["same", "again"] = Field(
            "same",
            description="maps that the evaluation network learns from: those of the step, or predicted again after it",
        )
        critic_lr: float = Field(1e-4, gt=0.0, description="its learning rate; useful range 1e-5 to 5e-4")
        critic_filters: int = Field(64, ge=1, description="channels of its first convolutions")
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: DAN.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net = backbones()
        self.critic = EvaluationNetwork(
            task.dims, task.channels, len(task.classes), task.patch, options.critic_filters
        )  # fmt: skip

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`net` updates the segmenter, `critic` the evaluation network."""
        settings = {"betas": (0.9, 0.99), "weight_decay": 0.0}
        lr = self.options.critic_lr
        critic = Optimiser((self.critic,), "adam", lr=lr, schedule="constant", settings=settings)
        return {"net": Optimiser((self.net,)), "critic": critic}

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Updates the segmenter against the evaluation network, then the evaluation network on the segmenter's maps."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        images, count = torch.cat([labeled.image, unlabeled.image]), len(labeled.image)
        logits = self.net(images)
        maps = logits.float().softmax(1)
        with without_dropout(self.critic):
            adv = judged(self.critic(maps[count:], unlabeled.image), LABELED)
        optimise(
            {"sup": supervised_loss(logits[:count], labeled.target, self.options.loss), "adv": adv}, on=["net"]
        )  # fmt: skip
        shown = maps.detach() if self.options.maps == "same" else self._again(images)
        scores = self.critic(shown, images)
        goal = torch.full((len(images),), UNLABELED, device=images.device)
        goal[:count] = LABELED
        self.notes["told_apart"] = (scores.detach().argmax(1) == goal).float().mean()
        optimise({"critic": F.cross_entropy(scores.float(), goal)}, on=["critic"])

    def _again(self, images: Tensor) -> Tensor:
        with evaluating(self.net):
            return self.net(images).float().softmax(1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.net(images)


def judged(scores: Tensor, origin: int) -> Tensor:
    """Cross-entropy of scores (B, 2) against one origin for all, LABELED or UNLABELED."""
    return F.cross_entropy(scores.float(), torch.full((len(scores),), origin, device=scores.device))
