"""MedFCT, a convolutional network and a transformer joined in the Fourier domain, with a teacher (Xie et al., ICME 2023), in 2D."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from semibench import IGNORE, Backbones, Batch, Clock, Losses, Method, MethodOptions, Ramp, Task, Term
from semibench.blocks import (
    Supervision,
    Teacher,
    frozen_statistics,
    log_mean_softmax,
    soft_dice,
    supervised_loss,
    voxel_entropy,
)
from semibench_plugins.methods.pseudo_labels.cps import pseudo_labels
from semibench_plugins.methods.pseudo_labels.cross_teaching import CROSS_TEACHING_RECIPE
from semibench_plugins.methods.pseudo_labels.medfct.network import JointNetwork, Outputs

START = 1 / 30
"""Share of the run without a teacher: 1000 of 30000 iterations."""
TAUGHT = ("pixel", "feature", "centres")
"""Terms that need the teacher's pass."""


def surer_labels(first: Tensor, second: Tensor, valid: Tensor) -> Tensor:
    """Logits (B, K, *spatial) twice -> labels (B, *spatial): at each position those of the branch with the lower entropy, the
    background where both are equal, IGNORE on padding."""
    one, two = voxel_entropy(first), voxel_entropy(second)
    label = torch.where(one < two, first.argmax(1), second.argmax(1))
    return label.masked_fill(one == two, 0).masked_fill(~valid, IGNORE)


def similarity_maps(features: Tensor, logits: Tensor) -> Tensor:
    """Features (B, D, h, w) and logits (B, K, H, W) -> (B, K, h, w): cosine of each feature and the centre of each class, which
    is the sum of the features weighted by the softmax of the class's probabilities over the positions."""
    p = F.interpolate(logits.float().softmax(1), tuple(features.shape[2:]), mode="bilinear", align_corners=True)
    p = p.flatten(2)
    flat = features.float().flatten(2)
    centres = torch.einsum("bdp,bkp->bkd", flat, p.softmax(2))
    cosine = torch.einsum("bdp,bkd->bkp", F.normalize(flat, dim=1), F.normalize(centres, dim=2))
    return cosine.unflatten(2, features.shape[2:])


class MedFCT(Method):
    """U-Net and Swin-UNet exchange features in the Fourier domain; an average of both teaches them at three levels.

    Branches c and v of the student (`JointNetwork`) predict p_c and p_v; the teacher, its moving average, sees x + n,
    n = clip(N(0, .1), +-.2). All but the first term are of unlabeled samples, and means over the two branches:
    sup = L_sup; cross = Dice(p_c, argmax p_v) and vice versa, weight 1 from the start; pixel = Dice of the teacher's labels, at
    each position those of its surer branch, weight rising to .1; feature = mean square between the coarsest encoder maps of
    student and teacher, weight .5. Teacher terms start after 1000 of 30000 iterations.

    centres = mean square between the similarity maps of student and teacher (`similarity_maps`), the paper's consistency of
    classes. The released code computes and logs it, but leaves it out of the sum, so its weight here is 0; the code adds up
    the squares, here they are averaged. The running statistics of the teacher follow the student's. The authors start the
    transformer from ImageNet weights and repeat grey images to three channels (31,183,334 parameters for three channels and
    four classes); here it starts from random weights. Preset `acdc`: the recipe of the script.

    Scored: the mean of the student's two probabilities (as published), each branch, and the mean of the teacher's.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "cross": Term(1.0, search=(0.1, 2.0), unlabeled=True),
        "pixel": Term(0.1, Ramp("sigmoid", levels=200), active=(START, math.inf), search=(0.01, 5.0), unlabeled=True),
        "feature": Term(0.5, active=(START, math.inf), search=(0.05, 2.0), unlabeled=True),
        "centres": Term(0.0, active=(START, math.inf), search=(0.01, 0.5), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"acdc": {"recipe": CROSS_TEACHING_RECIPE}}

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `medfct`."""

        second_width: float | None = Field(
            None, gt=0.0, description="width of the transformer; default: the recipe's for swin-unet"
        )
        decay: float = Field(0.99, ge=0.0, le=1.0, description="largest decay of the average; useful range .9 to .999")
        noise: float = Field(
            0.1, ge=0.0, description="standard deviation of the teacher's input noise; useful .02 to .2"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss")

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """2D only: Swin-UNet is a 2D network."""
        if task.dims == 2:
            return None
        return f"medfct needs 2D networks, but the task asks for a {task.dims}D network"

    def __init__(self, task: Task, backbones: Backbones, options: MedFCT.Options) -> None:
        super().__init__(task, backbones, options)
        self.noise, self.loss = options.noise, options.loss
        own: dict[str, Any] = {} if options.second_width is None else {"width": options.second_width}
        self.student = JointNetwork(backbones(), backbones("swin-unet", **own), task.patch)
        self.teacher = Teacher(self.student, options.decay, buffers="ema", mode="train")

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part; cross, pixel, feature, centres: unlabeled part. Each is the mean over the branches."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        count, valid = len(labeled.image), unlabeled.valid
        out: Outputs = self.student(torch.cat([labeled.image, unlabeled.image]))
        logits, features = [z[count:] for z in out.logits], [f[count:] for f in out.features]
        others = [pseudo_labels(z, valid) for z in reversed(logits)]
        losses = {
            "sup": _mean([supervised_loss(z[:count], labeled.target, self.loss) for z in out.logits]),
            "cross": _mean([soft_dice(z, other) for z, other in zip(logits, others, strict=True)]),
            "centres": out.logits[0].new_zeros(()),
        }
        if not any(self.weight(name, clock) for name in TAUGHT):
            return losses
        noise = (self.noise * torch.randn_like(unlabeled.image)).clamp(-2 * self.noise, 2 * self.noise)
        with frozen_statistics(self.teacher):
            goal: Outputs = self.teacher(unlabeled.image + noise)
        label = surer_labels(*goal.logits, valid)
        losses["pixel"] = _mean([soft_dice(z, label) for z in logits])
        losses["feature"] = _mean(
            [F.mse_loss(f.float(), t.float()) for f, t in zip(features, goal.features, strict=True)]
        )
        if self.weight("centres", clock):
            losses["centres"] = self._centres(features, logits, goal)
        return losses

    def _centres(self, features: list[Tensor], logits: list[Tensor], goal: Outputs) -> Tensor:
        mine = [similarity_maps(f, z) for f, z in zip(features, logits, strict=True)]
        theirs = [similarity_maps(f, z) for f, z in zip(goal.features, goal.logits, strict=True)]
        return _mean([F.mse_loss(one, two) for one, two in zip(mine, theirs, strict=True)])

    def after_step(self, clock: Clock) -> None:
        """Updates the moving average."""
        self.teacher.update(self.student)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W): the logarithm of the mean of the student's probabilities."""
        return log_mean_softmax(self.student(images).logits)

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """The mean of the student's branches, each branch, and the mean of the teacher's."""
        return {
            "mean": self.forward,
            "first": lambda images: self.student(images).logits[0],
            "second": lambda images: self.student(images).logits[1],
            "teacher": lambda images: log_mean_softmax(self.teacher(images).logits),
        }


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()
