"""PS-MT: perturbed and strict mean teachers (Liu et al., CVPR 2022), in 2D."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import (
    Backbone,
    Backbones,
    Batch,
    Clock,
    Confidence,
    Losses,
    Method,
    MethodOptions,
    Pools,
    Ramp,
    Samples,
    Stage,
    Stream,
    Task,
    Term,
)
from semibench.blocks import (
    Supervision,
    Teacher,
    beta_box_mask,
    frozen_statistics,
    masked_mean,
    paste,
    supervised_loss,
    whole_and_changed,
)
from semibench_plugins.methods.contrast_and_prototypes.ss_net.smoothness import worst_direction

DECAY = 0.996
LONGEST = 20.0
"""A teacher averages at most a twentieth of the run: decay 1 - 20 / iterations."""
TURNS = 20
"""How often the teachers take turns in a run, at least."""
STRICT = 7
"""How many of its greatest logits a resting teacher keeps."""


def strict_mean(active: Tensor, resting: Tensor) -> Tensor:
    """Mean of two teachers' logits (B, K, *spatial). The resting one's logits below its seven greatest are first replaced by
    those of the active one, which changes nothing with seven classes or fewer."""
    if resting.shape[1] > STRICT:
        least = resting.topk(STRICT, 1).values[:, -1:]
        resting = torch.where(resting >= least, resting, active)
    return 0.5 * (active + resting)


def weighted_cross_entropy(logits: Tensor, target: Tensor, threshold: float, valid: Tensor) -> Tensor:
    """Mean of w CE(z, y) over the valid positions with w >= threshold; y and w are argmax and max of softmax(target).

    logits, target: (B, K, *spatial); valid: bool (B, *spatial). 0 if there is no such position.
    """
    weight, label = target.float().softmax(1).max(1)
    each = weight * F.cross_entropy(logits.float(), label, reduction="none")
    return masked_mean(each, (weight >= threshold) & valid)


def _divergence(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """KL(target || softmax(logits)), summed."""
    return F.kl_div(logits.log_softmax(1), target, reduction="sum")


PRINTED: Mapping[str, Any] = {"loss": "cross_entropy", "decay": DECAY, "labeled_view": "strong"}
"""Options of the paper."""


class PSMT(Method):
    """Two teachers, updated in turn, give a stricter label; images, and features by adversarial noise, are perturbed.

    Stage `warm-up` (5 of 85 epochs): student and both teachers learn the labels on their own, so that the teachers differ.
    Stage `train`: in every other pass through the unlabeled images teacher 1 follows the student, else teacher 2, with decay
    .996, running statistics included. The target for x^u is the mean of their logits (`strict_mean`). Strong views and targets
    are cut-mixed with other samples of the batch, in a box whose share of the image has the law 1 - Beta(4, 4). In the
    student's passes the map before the head gets adversarial noise of norm 2 in each sample (T-VAT), in the direction in
    which the mean of the teachers' heads changes most.
    L = L_sup + w L_u, L_u = mean of c CE(student, argmax) where the target's confidence c is at least .6; w rises to 1.5 as
    (1 - cos(pi t)) / 2 in 12 of 80 epochs.

    Teachers take turns at least twenty times in a run (ours), so that both learn where the pool is large and the run short.
    Ours are three defaults, too. The student sees weak views of the labeled images, in the paper strong ones. A teacher
    averages at most a twentieth of the run, so its decay is below .996 in runs of fewer than 5000 iterations. L_sup is (CE +
    Dice) / 2 as in all methods here, in the paper CE. With the paper's views and decay a U-Net trained for 200 iterations
    with three labels ends at Dice .00 (teachers) and .46 (student), with ours at .88 for both; labels alone reach .84.
    Presets `csc-pa` and `code` have the paper's.

    The map is the decoder's last one: in `deeplabv3plus` the one before the head's three convolutions, as published (with
    304 channels there), elsewhere the map before the last convolution. The divergence that gives the direction is taken at
    the size of this map, in the code of the enlarged logits. The published step for the direction, 1e-6, is lost in float32
    next to the features, and the direction is then one of rounding errors; it is .1 here, and 1e-6 in the preset `code`.
    Passes of mixed images leave the running statistics alone, and so do passes of the teachers, which follow the student's;
    in the preset `code` both move them. In the code the rate is constant during the warm-up, which lasts five passes through
    the labeled images. Preset `csc-pa`: the epochs above, of 200. Scored: the mean of the teachers' logits (as published)
    and the student.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "pseudo": Term(1.5, Ramp("cosine", end=12 / 80), search=(0.5, 3.0), unlabeled=True),
    }
    streams: ClassVar[Mapping[str, Stream]] = {
        "labeled": Stream("labeled", strong=1),
        "unlabeled": Stream("unlabeled", strong=1),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "code": {"options": {**PRINTED, "probe": 1e-6, "statistics": "every-pass"}},
        "csc-pa": {
            "options": {**PRINTED, "warm_up": 5 / 205},
            "terms": {"pseudo": {"ramp": {"end": 12 / 200}}},
        },
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `ps-mt`."""

        warm_up: float = Field(
            5 / 85, gt=0.0, lt=1.0, description="share of the run in which three networks learn labels"
        )
        threshold: Confidence = Field(
            0.6, ge=0.0, le=1.0, description="confidence from which a position counts; useful range .5 to .95"
        )
        noise: float = Field(2.0, ge=0.0, description="norm of the adversarial noise, 0: none; useful range .5 to 10")
        probe: float = Field(0.1, gt=0.0, description="step at which the direction of the noise is measured")
        decay: float | None = Field(
            None, ge=0.0, le=1.0,
            description="decay of the teachers; useful range .99 to .999; default .996, and less in runs below 5000 iterations",
        )  # fmt: skip
        labeled_view: Literal["weak", "strong"] = Field(
            "weak", description="which view of the labeled images the student sees; strong: the paper"
        )
        statistics: Literal["labeled", "every-pass"] = Field(
            "labeled",
            description="what moves running statistics: the student's labeled images, or every pass, the teachers' too (the code)",
        )
        loss: Supervision = Field("dice_ce", description="supervised loss; cross_entropy: the paper")

    def __init__(self, task: Task, backbones: Backbones, options: PSMT.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.student = backbones()
        decay = min(DECAY, 1.0 - LONGEST / max(task.budget, LONGEST)) if options.decay is None else options.decay
        self.starts = nn.ModuleList(backbones() for _ in range(2))
        self.teachers = nn.ModuleList(
            Teacher(net, decay, warm_up=False, buffers="ema", mode="train") for net in self.starts
        )

    def stages(self) -> Sequence[Stage]:
        """Three networks learn labels, then one learns from the other two."""
        return Stage("warm-up", self.options.warm_up), Stage("train", 1.0 - self.options.warm_up)

    def begin(self, stage: str, pools: Pools) -> None:
        """Before `train`: the teachers become what the other two networks learned."""
        for teacher, net in zip(self._both(), self.starts, strict=True):
            teacher.copy(net)

    def _both(self) -> list[Teacher]:
        return [cast(Teacher, teacher) for teacher in self.teachers]

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, in `warm-up` the sum over the three networks; pseudo: unlabeled part (stage `train`)."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        image = labeled.strong[0] if self.options.labeled_view == "strong" else labeled.image
        if clock.stage == "warm-up":
            outputs = [self.student(image), *[net(labeled.image) for net in self.starts]]
            return {"sup": torch.stack([self._supervised(logits, labeled) for logits in outputs]).sum()}
        active = self._turn(clock)
        with nullcontext() if self._every_pass else frozen_statistics(self.teachers):
            logits = [teacher(unlabeled.image) for teacher in self._both()]
            target = strict_mean(logits[active], logits[1 - active])
        view = unlabeled.strong[0]
        order = torch.randperm(len(view)).to(view.device)
        box = beta_box_mask(view.shape[2:], batch=len(view), like=view)
        mixed, target, valid = (paste(one, one[order], box) for one in (view, target, unlabeled.valid))
        found, found_u = self._perturbed(image, mixed)
        return {
            "sup": self._supervised(found, labeled),
            "pseudo": weighted_cross_entropy(found_u, target, self.options.threshold, valid),
        }

    def _supervised(self, logits: Tensor, labeled: Samples) -> Tensor:
        return supervised_loss(logits, labeled.target, self.options.loss)

    def _turn(self, clock: Clock) -> int:
        """Which teacher follows the student: they change with every pass through the unlabeled images, or more often."""
        return int(max(clock.passes.get("unlabeled", 0.0), TURNS * clock.progress)) % 2

    @property
    def _every_pass(self) -> bool:
        return self.options.statistics == "every-pass"

    def _perturbed(self, labeled: Tensor, mixed: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the student on both batches, with noise on its features."""
        if self._every_pass:
            return self._noised(labeled), self._noised(mixed)
        return whole_and_changed(self.student, labeled, mixed, forward=self._noised)

    def _noised(self, images: Tensor) -> Tensor:
        decoded = self.student.decoder(self.student.encode(images))[0]
        logits = self.student.decoder.head(decoded + self.adversary(decoded.detach()))
        return self.student.enlarge(logits, images.shape[2:])

    def adversary(self, features: Tensor) -> Tensor:
        """Adversarial noise (B, C, h, w) for the map before the head, without gradient. The heads are in eval mode."""
        if self.options.noise == 0.0:
            return torch.zeros_like(features)
        decoders = [cast(Backbone, teacher.net).decoder for teacher in self._both()]
        modes = [(part, part.training) for decoder in decoders for part in decoder.modules()]

        def mean(maps: Tensor) -> Tensor:
            return torch.stack([decoder.head(maps) for decoder in decoders]).mean(0)

        for decoder in decoders:
            decoder.eval()
        with torch.autocast(features.device.type, enabled=False):
            wide = features.float()
            with torch.no_grad():
                target = mean(wide).softmax(1)
            every = torch.ones_like(target[:, 0], dtype=torch.bool)
            direction = worst_direction(mean, wide, target, every, _divergence, self.options.probe)
        for part, training in modes:
            part.training = training
        return (self.options.noise * direction).to(features.dtype)

    def after_step(self, clock: Clock) -> None:
        """Updates one of the teachers."""
        if clock.stage == "train":
            self._both()[self._turn(clock)].update(self.student)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W), the mean of both teachers."""
        return torch.stack([teacher(images) for teacher in self.teachers]).mean(0)

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Both teachers (the default) and the student."""
        return {"teachers": self.forward, "student": self.student}
