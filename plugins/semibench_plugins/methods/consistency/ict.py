"""ICT, interpolation consistency training (Verma et al., IJCAI 2019), and ICT-MedSeg, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from semibench import Backbones, Batch, Clock, Losses, MethodOptions, Ramp, Samples, Task, Term
from semibench.blocks import StudentTeacher, Supervision, Teacher, softmax_mse, supervised_loss, whole_and_changed
from semibench_plugins.datasets.paper_budgets import SSL4MIS_RECIPE


class ICT(StudentTeacher):
    """What the student predicts for a mix of two unlabeled images is to be the mix of what the teacher predicts for each.

    The unlabeled batch has two halves, u and v. With a factor lambda ~ Beta(.2, .2) for each pair,
    m = (1 - lambda) u + lambda v and q = (1 - lambda) T(u) + lambda T(v), T the softmax of the teacher, the moving average
    of the student. L = L_sup + w mean (softmax(S(m)) - q)^2; w rises to .1 in 200 steps over the run. A batch of odd size
    takes its first image twice. The teacher runs in training mode, half by half, without input noise.

    Weight and schedule are those that the segmentation literature uses (SSL4MIS). On CIFAR-10 the paper's weight rises to
    100, and it tries Beta(a, a) with a = .1 to 2.

    In SSL4MIS the student sees labeled and mixed images in one pass, so mixed images move the running statistics that it is
    tested with (option `statistics`, preset `ssl4mis`). By default the mixed images have a pass of their own that leaves the
    statistics alone. The teacher sees whole images, so it keeps the statistics of its own passes, as in that code. The code's
    script sets the learning rate of a step only after it, so its rate lags by one step; here it doesn't.

    Scored: the student (as published) and the teacher.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "consistency": Term(0.1, Ramp("sigmoid", levels=200), search=(0.01, 10.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ssl4mis": {"options": {"statistics": "every-pass"}, "recipe": SSL4MIS_RECIPE},
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `ict`."""

        alpha: float = Field(
            0.2, gt=0.0, description="a of the law Beta(a, a) of the mixing factors; useful range .1 to 1"
        )
        factors: Literal["pair", "batch"] = Field(
            "pair", description="a mixing factor for each pair (SSL4MIS) or one for the whole batch"
        )
        decay: float = Field(0.99, ge=0.0, le=1.0, description="largest decay of the average; useful range .95 to .999")
        statistics: Literal["whole-images", "every-pass"] = Field(
            "whole-images",
            description="what moves the running statistics: whole images, or mixed images, too (SSL4MIS)",
        )
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: ICT.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.student = backbones()
        self.teacher = Teacher(self.student, options.decay, buffers="none", mode="train")

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part; consistency: mixes of unlabeled images, where neither is padding."""
        labeled, (first, second) = batch["labeled"], halves(batch["unlabeled"])
        factor = self.factors(len(first.image)).to(first.image).view(-1, *[1] * (first.image.ndim - 1))
        between, joint = torch.lerp(first.image, second.image, factor), self.options.statistics == "every-pass"
        logits, mixed = whole_and_changed(self.student, labeled.image, between, joint=joint)
        one, two = (self.teacher(half.image).float().softmax(1) for half in (first, second))
        target = torch.lerp(one, two, factor.float())
        return {
            "sup": supervised_loss(logits, labeled.target, self.options.loss),
            "consistency": softmax_mse(mixed, target, valid=first.valid & second.valid),
        }

    def factors(self, pairs: int) -> Tensor:
        """Draws lambda for each pair, float64 (pairs,)."""
        alpha = torch.tensor(self.options.alpha, dtype=torch.float64)
        drawn = torch.distributions.Beta(alpha, alpha).sample((pairs if self.options.factors == "pair" else 1,))
        return drawn.expand(pairs)


class ICTMed(ICT):
    """ICT-MedSeg (Basak et al., ISBI 2022): `ict` under the name that tables give it.

    The published training code is SSL4MIS's script of ICT: same network, losses, Beta(.2, .2), decay, weight and budget. The
    paper describes nothing that isn't in `ict`. Tables list other figures for the two, though; that is the spread between runs, or
    comes from changes that weren't published.
    """


def halves(samples: Samples) -> tuple[Samples, Samples]:
    """Returns the first and the second half of an unlabeled batch; where the size is odd, the second half ends with the first
    sample."""
    half = (len(samples.image) + 1) // 2
    index = torch.arange(2 * half, device=samples.image.device) % len(samples.image)
    first, second = (
        Samples(
            samples.image[part], (), None, samples.valid[part], samples.domain[part], samples.index[part]
        )
        for part in (index[:half], index[half:])
    )  # fmt: skip
    return first, second
