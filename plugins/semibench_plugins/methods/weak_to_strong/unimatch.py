"""UniMatch: two strong views and a feature perturbation against one weak view (Yang et al., CVPR 2023), in 2D."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbones, Batch, Clock, Confidence, Losses, Method, MethodOptions, Samples, Stream, Task, Term
from semibench.blocks import (
    Supervision,
    confident_cross_entropy,
    cutmix_mask,
    dice_between,
    evaluating,
    frozen_statistics,
    paste,
    supervised_loss,
)
from semibench_plugins.methods.weak_to_strong.joint_decoding import decoded_together

PRINTED: Mapping[str, Any] = {"loss": "cross_entropy", "perturb": "ends"}
"""Options of the paper on natural images."""


class UniMatch(Method):
    """FixMatch with two independent strong views per image and a third stream with dropped-out features, one network.

    The weak view x^w gives y = argmax p^w and c = max p^w, without gradient. Strong views s1, s2 are cut-mixed with other
    images of the batch, each with a box of its own, and so are y and c. With P the number of valid positions,
    L_v = 1/P sum 1[c >= .95] CE(z_v, y) for v = s1, s2; L_fp is the same on x^w with encoder channels dropped at a rate of .5.
    L = (L_sup + (L_s1 + L_s2) / 4 + L_fp / 2) / 2. The term `strong` is the mean of L_s1 and L_s2. L_sup is (CE + Dice) / 2 as
    in all methods here; the paper has CE.

    The paper drops channels of the encoder's finest and coarsest map (perturb="ends"). Ours drops those of the coarsest:
    after 200 iterations with three labels a small U-Net, whose finest map has four channels, reaches Dice .73 so, .18 with
    both maps and .82 without L_fp (.80 with labels at half weight, .84 at full weight). Presets `csc-pa` and `code` have the
    paper's maps and CE; `medical` has what the authors do on ACDC: dropout on every map, and the Dice without unconfident
    positions in place of the CE.

    Pasted images are labeled in eval mode, as in the code. They come from the same batch; the code draws them from a third
    loader that runs in the order of the second, so that they are other views of the same images. By default only x^l and
    x^w move the running statistics, and the decoder sees clean and perturbed features apart. With statistics="every-pass"
    strong views and perturbed features move them, too, and the decoder sees the clean and perturbed features of x^l and x^w
    in one batch, so that the norm of each depends on the other (the code). Which colours the strong views change is the
    recipe's policy.

    Scored: the network.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(0.5),
        "strong": Term(0.25, search=(0.025, 1.0), unlabeled=True),
        "feature": Term(0.25, search=(0.025, 1.0), unlabeled=True),
    }
    streams: ClassVar[Mapping[str, Stream]] = {"labeled": Stream("labeled"), "unlabeled": Stream("unlabeled", strong=2)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "csc-pa": {"options": PRINTED},
        "code": {"options": {**PRINTED, "statistics": "every-pass"}},
        "medical": {"options": {"pseudo_loss": "dice", "perturb": "all", "statistics": "every-pass"}},
    }
    rehearsal_options: ClassVar[Mapping[str, Any]] = {"threshold": 0.5}

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `unimatch`."""

        threshold: Confidence = Field(
            0.95, ge=0.0, description="confidence from which a position counts; useful range .7 to .98"
        )
        cutmix: float = Field(0.5, ge=0.0, le=1.0, description="probability that a strong view is cut-mixed")
        dropout: float = Field(
            0.5, gt=0.0, lt=1.0, description="share of channels dropped in the feature stream; useful range .1 to .7"
        )
        perturb: Literal["last", "ends", "all"] = Field(
            "last",
            description="encoder maps to perturb: the coarsest, finest and coarsest (paper), or all (code for ACDC)",
        )
        pseudo_loss: Literal["cross_entropy", "dice"] = Field(
            "cross_entropy", description="loss against pseudo-labels; dice: the code for ACDC"
        )
        partner: Literal["eval", "train"] = Field(
            "eval", description="mode of the network when it labels pasted images; train saves a pass"
        )
        statistics: Literal["whole", "every-pass"] = Field(
            "whole", description="what moves running statistics: weak views alone, or every pass (the code)"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss; cross_entropy: the paper")

    def __init__(self, task: Task, backbones: Backbones, options: UniMatch.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net = backbones()
        self.drop = nn.Dropout2d(options.dropout)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled views; strong: mean over the two strong views; feature: weak views with perturbed features."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        count, size = len(labeled.image), labeled.image.shape[2:]
        features = self.net.encode(torch.cat([labeled.image, unlabeled.image]))
        together = self.options.statistics == "every-pass"
        if together:
            logits, perturbed = decoded_together(self.net, features, self._perturbed(features), size)
            perturbed = perturbed[count:]
        else:
            logits = self.net.decode(features, size)
            with frozen_statistics(self):
                perturbed = self.net.decode(self._perturbed([maps[count:] for maps in features]), size)
        weak = logits[count:].detach().float().softmax(1)
        self.notes["kept"] = (weak.amax(1) >= self.options.threshold).float().mean()
        with nullcontext() if together else frozen_statistics(self):
            strong = self._strong(unlabeled, weak)
        return {
            "sup": supervised_loss(logits[:count], labeled.target, self.options.loss),
            "strong": strong,
            "feature": self._against(perturbed, weak, unlabeled.valid),
        }

    def _perturbed(self, features: list[Tensor]) -> list[Tensor]:
        if self.options.perturb == "all":
            return [self.drop(maps) for maps in features]
        first = self.drop(features[0]) if self.options.perturb == "ends" else features[0]
        return [first, *features[1:-1], self.drop(features[-1])]

    def _strong(self, unlabeled: Samples, weak: Tensor) -> Tensor:
        """Mean loss of the strong views, which share one pass."""
        partners = self._partners(unlabeled.image, weak).roll(1, 0)
        images, targets, valid = [], [], []
        for view in unlabeled.strong:
            box = cutmix_mask(view.shape[2:], batch=len(view), probability=self.options.cutmix, like=view)
            images.append(paste(view, view.roll(1, 0), box))
            targets.append(paste(weak, partners, box))
            valid.append(paste(unlabeled.valid, unlabeled.valid.roll(1, 0), box))
        each = self.net(torch.cat(images)).chunk(len(images))
        losses = [self._against(*one) for one in zip(each, targets, valid, strict=True)]
        return torch.stack(losses).mean()

    def _partners(self, images: Tensor, weak: Tensor) -> Tensor:
        """Class probabilities of the images to paste."""
        if self.options.partner == "train" or self.options.cutmix == 0.0:
            return weak
        with evaluating(self.net):
            return self.net(images).float().softmax(1)

    def _against(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Loss against the confident part of probabilities."""
        confidence, label = target.max(1)
        confident = confidence >= self.options.threshold
        if self.options.pseudo_loss == "cross_entropy":
            return confident_cross_entropy(logits, label, confident, valid=valid)
        hot = F.one_hot(label, target.shape[1]).movedim(-1, 1)
        return dice_between(logits, hot, confident & valid)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        return self.net(images)
