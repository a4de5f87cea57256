"""BCP, bidirectional copy-paste (Bai et al., CVPR 2023), in 2D (ACDC code) and 3D (LA code)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from semibench import IGNORE, Backbones, Batch, Clock, Losses, MethodOptions, Pools, Samples, Stage, Task, Term
from semibench.blocks import StudentTeacher, Teacher, box_mask, largest_component, region_loss


class BCP(StudentTeacher):
    """Copies a box between labeled and unlabeled samples in both directions. The student learns the mixed images with the
    label in one region and, in the other, a pseudo-label of the moving-average teacher reduced to largest components.

    With a mask M (1 except in a box of 2/3 of each side) and halves a, b of the labeled and u, v of the unlabeled batch:
    x_in = u M + a (1 - M), x_out = b M + v (1 - M); L = R(x_in; y_a, 1 - M) + R(x_out; y_b, M) + w [R(x_in; u', M) +
    R(x_out; v', 1 - M)], R = (Dice + CE) / 2 over a region, w = .5 (term `pseudo`). The stage `pretrain` mixes labeled
    halves; `train` starts student and teacher from its best weights.

    The authors' 2D and 3D code differ; options left at None take the published value for 2D or 3D: pre-training share
    10000 / 40000 or 2000 / 17000, teacher's buffers averaged or not, Dice smoothing 1e-10 or 1e-5. The dims also decide
    about the losses: in 2D the Dice sums over the batch, with squares; in 3D over each image, without squares, and the
    pre-training has one region, the whole mix, instead of the sum over two.

    Padding of unlabeled samples is left out of the losses. Smaller pools are repeated to match the larger. The authors'
    learning rate is constant in 2D (preset `acdc`) and falls in steps in 3D; the recipe's schedule is used here. Each stage
    starts with a fresh optimiser, as in the 3D code; the 2D code carries the momentum of the pre-training's best weights
    into the second stage.
    Scored: the student (as published) and the teacher.
    """

    terms: Mapping[str, Term] = {"sup": Term(), "pseudo": Term(0.5, search=(0.1, 1.0), unlabeled=True)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "acdc": {
            "recipe": {
                "iterations": 40000,
                "labeled_batch": 12,
                "unlabeled_batch": 12,
                "patch": (256, 256),
                "schedule": "constant",
            }
        },
        "la": {"recipe": {"iterations": 17000, "labeled_batch": 4, "unlabeled_batch": 4}},
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `bcp`."""

        share: float = Field(
            2 / 3, gt=0.0, lt=1.0, description="side of the box, as a share of the patch's; useful .3 to .9"
        )
        decay: float = Field(
            0.99, ge=0.0, le=1.0, description="teacher's decay, from the first step; useful range .9 to .999"
        )
        pretrain: float | None = Field(None, gt=0.0, lt=1.0, description="share of the budget spent on pre-training")
        buffers: Literal["none", "ema", "copy"] | None = Field(None, description="running statistics of the teacher")
        components: Literal["per-class", "none"] = Field(
            "per-class", description="keep each class's largest component in a pseudo-label, or all (several lesions)"
        )
        smooth: float | None = Field(None, gt=0.0, description="smoothing in the Dice")

    def __init__(self, task: Task, backbones: Backbones, options: BCP.Options) -> None:
        super().__init__(task, backbones, options)
        self.flat = flat = task.dims == 2
        self.share, self.components = options.share, options.components
        self.pretrain = options.pretrain or (1 / 4 if flat else 2 / 17)
        self.smooth = options.smooth or (1e-10 if flat else 1e-5)
        buffers = options.buffers or ("ema" if flat else "none")
        self.student = backbones()
        self.teacher = Teacher(self.student, options.decay, warm_up=False, buffers=buffers, mode="train")

    def stages(self) -> Sequence[Stage]:
        """Pre-trains on labeled mixes, then trains from the best pre-trained weights."""
        return Stage("pretrain", self.pretrain), Stage("train", 1.0 - self.pretrain, start="best")

    def begin(self, stage: str, pools: Pools) -> None:
        """Starts the teacher as a copy of the student, buffers included."""
        self.teacher.copy(self.student)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: regions with labels; pseudo: regions with pseudo-labels (stage `train`)."""
        labeled = batch["labeled"]
        mask = box_mask(labeled.image.shape[2:], self.share, like=labeled.image)
        if clock.stage == "pretrain":
            (a, b), (label_a, label_b) = _halves(labeled, len(labeled.image), labeled.target)
            logits = self.student(a * mask + b * (1 - mask))
            return {"sup": self._of_labels(logits, label_a, label_b, mask)}
        unlabeled = batch["unlabeled"]
        count = max(len(labeled.image), len(unlabeled.image))
        (a, b), (label_a, label_b) = _halves(labeled, count, labeled.target)
        (u, v), (valid_u, valid_v) = _halves(unlabeled, count, unlabeled.valid)
        pseudo_u, pseudo_v = self._pseudo_label(u, valid_u), self._pseudo_label(v, valid_v)
        inward = self.student(u * mask + a * (1 - mask))
        outward = self.student(b * mask + v * (1 - mask))
        return {
            "sup": self._region(inward, label_a, 1 - mask) + self._region(outward, label_b, mask),
            "pseudo": self._region(inward, pseudo_u, mask) + self._region(outward, pseudo_v, 1 - mask),
        }

    def _of_labels(self, logits: Tensor, label_a: Tensor, label_b: Tensor, mask: Tensor) -> Tensor:
        """Loss of a mix of two labeled images: by regions in the 2D code, of the mixed label in the 3D code."""
        if self.flat:
            return self._region(logits, label_a, mask) + self._region(logits, label_b, 1 - mask)
        return self._region(logits, torch.where(mask.bool(), label_a, label_b), torch.ones_like(mask))

    def _region(self, logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return region_loss(logits, target, mask, squared=self.flat, per_image=not self.flat, smooth=self.smooth)

    def _pseudo_label(self, images: Tensor, valid: Tensor) -> Tensor:
        pseudo = self.teacher(images).argmax(1)
        if self.components == "per-class":
            pseudo = largest_component(pseudo)
        return pseudo.masked_fill(~valid, IGNORE)


def _halves(samples: Samples, count: int, targets: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Returns the images and targets of two halves of at least `count` samples; a smaller batch repeats from the start."""
    half = (max(count, 2) + 1) // 2
    index = torch.arange(2 * half, device=samples.image.device) % len(samples.image)
    first, second = index[:half], index[half:]
    return (samples.image[first], samples.image[second]), (targets[first], targets[second])
