"""CorrMatch: labels spread along correlations of features (Sun et al., CVPR 2024), in 2D."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbones, Batch, Clock, Confidence, Losses, Method, MethodOptions, Samples, Stream, Task, Term
from semibench.blocks import (
    Supervision,
    confident_cross_entropy,
    cutmix_mask,
    evaluating,
    frozen_statistics,
    masked_mean,
    paste,
    supervised_loss,
)
from semibench_plugins.methods.weak_to_strong.correlation import Correlation, propagated, regions, spread
from semibench_plugins.methods.weak_to_strong.joint_decoding import decoded_together

PRINTED: Mapping[str, Any] = {"loss": "cross_entropy", "perturb": "ends", "threshold": 0.85}
"""Options of the paper on natural images."""


class Outputs(NamedTuple):
    """One pass."""

    features: list[Tensor]
    logits: Tensor
    """(B, K, H, W)."""
    passed_on: Tensor
    """Logits (B, K, H, W) that the correlation map passes on."""
    correlation: Tensor
    """(B, P, P)."""


class CorrMatch(Method):
    """One network whose correlation of positions (`correlation`) passes on its logits and spreads its pseudo-labels.

    As in UniMatch the weak view x^w gives y = argmax p^w and c = max p^w, and its encoder maps are perturbed by channel
    dropout of .5; there is one strong view s, cut-mixed with another image of the batch together with y, c and p^w. The
    threshold is a running value, theta <- .999 theta + .001 g, where g is the mean over the classes that x^w is predicted to
    have of their greatest c. A are the positions with c >= theta. A' and y' are A and y after they were spread over up to 128
    regions that lie in x^w outside the box. z' are the logits that the correlation map passes on. Sums over positions are
    divided by the number of valid ones:
    L_x = CE(z_l), L_xc = CE(z'_l); L_s = CE(z_s, y') on A'; L_kl = KL(p^w || p_s) on A; L_fp = CE(z_fp, y) where
    c(x^w) >= theta; L_uc = (CE(z'_s, y') on A' + CE(z'_w, y) where c(x^w) >= theta) / 2.
    L = (L_x / 2 + L_xc / 2 + (L_s + L_kl + L_fp + L_uc) / 4) / 2. The term `sup` is L_x, `sup_correlation` L_xc.

    Ours are three defaults: theta starts at .95, in the paper at .85; channels of the coarsest map alone are dropped, in the
    paper those of the finest, too; L_x and L_xc are (CE + Dice) / 2 as in all methods here. A U-Net trained for 200 iterations
    with three labels so reaches Dice .79; from .85 on it ends at .07, with both maps at .04. Its labels at the weights above
    give .81, at full weight .84. Presets `csc-pa` and `code` have the paper's.

    By default p^w is cut-mixed like the strong view, and only x^l and x^w move the running statistics. In the code p^w isn't
    mixed (mixed_divergence=false), all passes move them, and the decoder sees the clean and perturbed features of x^l and x^w
    in one batch: preset `code`. Training adds a projection to the network, which inference doesn't use. What differs from the
    code in that preset, too: the code updates theta from x^w where the mixed images are valid, here where x^w is; it draws
    rows for regions with replacement and never the last one, here without replacement.

    Scored: the network.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(0.25),
        "sup_correlation": Term(0.25),
        "strong": Term(0.125, search=(0.0125, 0.5), unlabeled=True),
        "divergence": Term(0.125, search=(0.0125, 0.5), unlabeled=True),
        "feature": Term(0.125, search=(0.0125, 0.5), unlabeled=True),
        "correlation": Term(0.125, search=(0.0125, 0.5), unlabeled=True),
    }
    streams: ClassVar[Mapping[str, Stream]] = {"labeled": Stream("labeled"), "unlabeled": Stream("unlabeled", strong=1)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "csc-pa": {"options": PRINTED},
        "code": {"options": {**PRINTED, "statistics": "every-pass", "mixed_divergence": False}},
    }
    rehearsal_options: ClassVar[Mapping[str, Any]] = {"threshold": 0.5}

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `corrmatch`."""

        threshold: Confidence = Field(
            0.95,
            ge=0.0,
            le=1.0,
            description="first value of the threshold theta, .85 in the paper; useful range .7 to .95",
        )
        momentum: float = Field(
            0.999, ge=0.0, le=1.0, description="share of theta that an iteration keeps; useful range .99 to .9999"
        )
        regions: int = Field(128, ge=0, description="rows of the correlation map that become regions; useful 32 to 512")
        cutmix: float = Field(0.5, ge=0.0, le=1.0, description="probability that a strong view is cut-mixed")
        dropout: float = Field(0.5, gt=0.0, lt=1.0, description="share of channels dropped in the feature stream")
        perturb: Literal["last", "ends"] = Field(
            "last", description="encoder maps to perturb: the coarsest, or the finest and the coarsest (the paper)"
        )
        mixed_divergence: bool = Field(
            True, description="cut-mix the target of the divergence like the strong view; false: the code"
        )
        statistics: Literal["whole", "every-pass"] = Field(
            "whole", description="what moves running statistics: weak views alone, or every pass (the code)"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss; cross_entropy: the paper")

    theta: Tensor

    def __init__(self, task: Task, backbones: Backbones, options: CorrMatch.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, self.classes = options, len(task.classes)
        self.net = backbones()
        self.positions = Correlation(self.net.channels[-1], self.classes)
        self.drop = nn.Dropout2d(options.dropout)
        self.register_buffer("theta", torch.tensor(options.threshold))

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup, sup_correlation: labeled views; strong, divergence: strong views; feature: weak views with perturbed
        features; correlation: logits passed on, strong and weak views."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        count, size = len(labeled.image), labeled.image.shape[2:]
        together = self.options.statistics == "every-pass"
        features = self.net.encode(torch.cat([labeled.image, unlabeled.image]))
        if together:
            logits, perturbed = decoded_together(self.net, features, self._perturbed(features), size)
            perturbed = perturbed[count:]
        else:
            logits = self.net.decode(features, size)
        both = self._outputs(features, logits)
        weak, valid = both.logits[count:].detach().float().softmax(1), unlabeled.valid
        confidence, label = weak.max(1)
        self._follow(confidence, label, valid)
        with nullcontext() if together else frozen_statistics(self):
            if not together:
                perturbed = self.net.decode(self._perturbed([maps[count:] for maps in features]), size)
            strong, passed_on, divergence = self._strong(unlabeled, weak, both.correlation[count:])
        sure = confidence >= self.theta
        self.notes["kept"], self.notes["threshold"] = sure.float().mean(), self.theta.clone()
        onward = confident_cross_entropy(both.passed_on[count:], label, sure, valid=valid)
        return {
            "sup": supervised_loss(both.logits[:count], labeled.target, self.options.loss),
            "sup_correlation": supervised_loss(both.passed_on[:count], labeled.target, self.options.loss),
            "strong": strong,
            "divergence": divergence,
            "feature": confident_cross_entropy(perturbed, label, sure, valid=valid),
            "correlation": 0.5 * (passed_on + onward),
        }

    def _perturbed(self, features: list[Tensor]) -> list[Tensor]:
        first = self.drop(features[0]) if self.options.perturb == "ends" else features[0]
        return [first, *features[1:-1], self.drop(features[-1])]

    def _pass(self, images: Tensor) -> Outputs:
        features = self.net.encode(images)
        return self._outputs(features, self.net.decode(features, images.shape[2:]))

    def _outputs(self, features: list[Tensor], logits: Tensor) -> Outputs:
        correlation = self.positions(features[-1])
        return Outputs(features, logits, propagated(logits, correlation, features[-1].shape[2:]), correlation)

    @torch.no_grad()
    def _follow(self, confidence: Tensor, label: Tensor, valid: Tensor) -> None:
        """theta <- m theta + (1 - m) g, g the mean over the predicted classes of their greatest confidence."""
        best = torch.zeros(self.classes, device=label.device)
        best.scatter_reduce_(0, label.flatten(), (confidence * valid).flatten(), "amax")
        seen = (best > 0).sum()
        g = torch.where(seen > 0, best.sum() / seen.clamp(min=1), self.theta)
        self.theta.lerp_(g, 1.0 - self.options.momentum)

    def _strong(self, unlabeled: Samples, weak: Tensor, correlation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """L_s, the part of L_uc on the strong view, and L_kl."""
        view, size = unlabeled.strong[0], weak.shape[2:]
        box = cutmix_mask(size, batch=len(view), probability=self.options.cutmix, like=view)
        target = paste(weak, self._partners(unlabeled.image, weak).roll(1, 0), box)
        valid = paste(unlabeled.valid, unlabeled.valid.roll(1, 0), box)
        strong = self._pass(paste(view, view.roll(1, 0), box))
        confidence, label = target.max(1)
        confident = (confidence >= self.theta) & valid
        divergence = self._divergence(strong.logits, target if self.options.mixed_divergence else weak)
        spread_label, spread_confident = label, confident
        if self.options.regions:
            areas = regions(correlation, self.options.regions, strong.features[-1].shape[2:], size)
            areas = areas & (valid & ~box).unsqueeze(1)
            spread_label, spread_confident = spread(label, confident, areas, self.theta, self.classes)
        return (
            confident_cross_entropy(strong.logits, spread_label, spread_confident, valid=valid),
            confident_cross_entropy(strong.passed_on, spread_label, spread_confident, valid=valid),
            masked_mean(divergence * confident, valid),
        )

    def _divergence(self, logits: Tensor, target: Tensor) -> Tensor:
        """KL(target || softmax(logits)) of each position, (B, H, W)."""
        return F.kl_div(logits.float().log_softmax(1), target, reduction="none").sum(1)

    def _partners(self, images: Tensor, weak: Tensor) -> Tensor:
        """Class probabilities of the images to paste, in eval mode as in the code."""
        if self.options.cutmix == 0.0:
            return weak
        with evaluating(self.net):
            return self.net(images).float().softmax(1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        return self.net(images)
