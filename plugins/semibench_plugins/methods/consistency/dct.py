"""DCT, deep co-training (Qiao et al., ECCV 2018), and the rotation variant that tables call DCT, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from semibench import IGNORE, Backbones, Batch, Clock, Losses, Method, MethodOptions, Ramp, Task, Term
from semibench.blocks import (
    Supervision,
    frozen_statistics,
    js_divergence,
    log_mean_softmax,
    masked_mean,
    softmax_mse,
    supervised_loss,
)  # fmt: skip
from semibench_plugins.datasets.paper_budgets import MGCC_RECIPE, SSL4MIS_RECIPE
from semibench_plugins.methods.pseudo_labels.cps import pseudo_labels

SSL4MIS_TERMS = {"agreement": {"weight": 0.1, "ramp": {"end": 1.0, "levels": 200}}, "difference": {"weight": 0.0}}
ROTATED = (2, 3)
"""The plane of the rotations: the first two spatial axes."""


def soft_cross_entropy(target: Tensor, logits: Tensor, valid: Tensor) -> Tensor:
    """Mean over valid positions of -sum_c q_c ln softmax(z)_c, q = softmax(target). Both logits get gradients."""
    return masked_mean(-(target.float().softmax(1) * logits.float().log_softmax(1)).sum(1), valid)


def rotation_agreement(plain: Tensor, rotated: Tensor, quarters: int, valid: Tensor) -> Tensor:
    """[mean (sg Q - rot P)^2 + mean (Q - rot sg P)^2] / 2 with P, Q the softmaxes of the logits of x and of rot(x).
    The value is mean (Q - rot P)^2; each side gets half of its gradient (SSL4MIS)."""
    turned = torch.rot90(plain, quarters, ROTATED)
    turned_valid = torch.rot90(valid, quarters, [axis - 1 for axis in ROTATED])
    one = softmax_mse(turned, rotated.detach().float().softmax(1), valid=turned_valid)
    two = softmax_mse(rotated, turned.detach().float().softmax(1), valid=turned_valid)
    return 0.5 * (one + two)


class DCT(Method):
    """Two networks learn the same labels, agree on unlabeled samples, and resist each other's adversarial examples.

    variant="co-training" (the paper): L = L_sup(f1) + L_sup(f2) + 10 JS(p1, p2) on unlabeled samples (L_cot) + .5
    [H(p1(x), p2(g1(x))) + H(p2(x), p1(g2(x)))] on all samples (L_dif), with g_i(x) = x + eps sign(grad) the adversarial
    example for network i against the label, or against its own hard label if there is none. Both weights rise as
    exp(-5 (1 - t)^2) over 80 of 600 epochs. Passes over adversarial examples leave the running statistics alone.

    variant="rotation" (presets `ssl4mis`, `mgcc-2023`): what published medical tables call DCT. One network; the
    second view is the unlabeled batch rotated by k quarter turns, k uniform in 0 to 3 (0 or 2 if the sides differ).
    The agreement is a symmetric mean square whose weight rises to .1; the term `difference` is 0. SSL4MIS's script sets the
    learning rate of a step only after it, so its rate lags by one step; here it doesn't.

    Scored: the (first) network; with two networks also the second and the mean of their probabilities.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "agreement": Term(10.0, Ramp("sigmoid", end=80 / 600), search=(0.01, 10.0), unlabeled=True),
        "difference": Term(0.5, Ramp("sigmoid", end=80 / 600), search=(0.05, 5.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ssl4mis": {"options": {"variant": "rotation"}, "terms": SSL4MIS_TERMS, "recipe": SSL4MIS_RECIPE},
        "mgcc-2023": {
            "options": {"variant": "rotation", "loss": "bce_dice"},
            "terms": {**SSL4MIS_TERMS, "agreement": {"weight": 0.1, "ramp": {"end": 1.5, "levels": 200}}},
            "recipe": MGCC_RECIPE,
        },
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `dct`."""

        variant: Literal["co-training", "rotation"] = Field(
            "co-training", description="two networks (the paper), or one and a rotated copy of its input (SSL4MIS)"
        )
        epsilon: float = Field(
            0.02, gt=0.0, description="step size of the adversarial examples, in image units; useful range .005 to .1"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: DCT.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.first = backbones()
        self.second = backbones() if options.variant == "co-training" else None

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, sum over the networks; agreement: unlabeled part; difference: all samples."""
        return self._rotation(batch) if self.second is None else self._co_training(batch)

    def _rotation(self, batch: Batch) -> Losses:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        sizes = [len(labeled.image), len(unlabeled.image)]
        logits, plain = self.first(torch.cat([labeled.image, unlabeled.image])).split(sizes)
        height, width = (unlabeled.image.shape[axis] for axis in ROTATED)
        quarters = int(torch.randint(4, ())) if height == width else 2 * int(torch.randint(2, ()))
        turned = self.first(torch.rot90(unlabeled.image, quarters, ROTATED))
        return {
            "sup": supervised_loss(logits, labeled.target, self.options.loss),
            "agreement": rotation_agreement(plain, turned, quarters, unlabeled.valid),
            "difference": logits.new_zeros(()),
        }

    def _co_training(self, batch: Batch) -> Losses:
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        count = len(labeled.image)
        valid = torch.cat([labeled.valid, unlabeled.valid])
        images = torch.cat([labeled.image, unlabeled.image]).detach().requires_grad_()
        nets: tuple[Callable[[Tensor], Tensor], ...] = (self.first, self._other)
        logits = [net(images) for net in nets]
        goals = [torch.cat([labeled.target, pseudo_labels(z[count:], unlabeled.valid)]) for z in logits]
        attacks = [self._attack(images, z, goal) for z, goal in zip(logits, goals, strict=True)]
        with frozen_statistics(self):
            one, two = (net(attack) for net, attack in zip(nets, reversed(attacks), strict=True))
        sup = [supervised_loss(z[:count], labeled.target, self.options.loss) for z in logits]
        return {
            "sup": sup[0] + sup[1],
            "agreement": js_divergence(logits[0][count:], logits[1][count:], valid=unlabeled.valid),
            "difference": soft_cross_entropy(logits[0], two, valid) + soft_cross_entropy(logits[1], one, valid),
        }

    def _attack(self, images: Tensor, logits: Tensor, goal: Tensor) -> Tensor:
        """x + epsilon sign(grad_x CE) for the network that predicted the logits; its graph is kept."""
        loss = F.cross_entropy(logits.float(), goal, ignore_index=IGNORE, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images, retain_graph=True)
        return (images + self.options.epsilon * gradient.sign()).detach()

    @property
    def _other(self) -> Callable[[Tensor], Tensor]:
        if self.second is None:
            raise LookupError("the rotation variant has one network")
        return self.second

    def mean(self, images: Tensor) -> Tensor:
        """Returns the logarithm of the two networks' mean probability."""
        return log_mean_softmax((self.first(images), self._other(images)))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the first network."""
        return self.first(images)

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """The first network; with two networks also the second and their mean."""
        if self.second is None:
            return {"main": self.first}
        return {"first": self.first, "second": self.second, "mean": self.mean}
