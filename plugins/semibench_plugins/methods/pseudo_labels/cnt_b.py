"""CnT-B, convolutional vision transformer with bi-level uncertainty (Huang et al., ACM MM 2023): a reconstruction, in 2D."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from semibench import IGNORE, Backbones, Batch, Clock, Losses, Ramp, Task, Term
from semibench.blocks import cross_entropy, log_mean_softmax, masked_mean, one_hot, voxel_entropy
from semibench_plugins.methods.pseudo_labels.cross_teaching import (
    CROSS_TEACHING_RECIPE,
    CrossTeaching,
    CrossTeachingOptions,
)


def surer_labels(teacher: Tensor, learner: Tensor, valid: Tensor) -> Tensor:
    """Logits (B, K, *spatial) twice -> labels (B, *spatial): the teacher's where its entropy isn't above the learner's, IGNORE
    elsewhere and on padding."""
    surer = voxel_entropy(teacher) <= voxel_entropy(learner)
    return teacher.argmax(1).masked_fill(~(surer & valid), IGNORE)


def region_weights(teacher: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """Logits (B, K, *spatial) -> (B, K): exp(-U / temperature), U the mean entropy of an image's positions that the teacher gives
    to a class; 1 for a class to which it gives none."""
    region = one_hot(teacher.argmax(1).masked_fill(~valid, IGNORE), teacher.shape[1]).flatten(2)
    total = (voxel_entropy(teacher).flatten(1).unsqueeze(1) * region).sum(2)
    return (-total / region.sum(2).clamp_min(1.0) / temperature).exp()


def weighted_dice(logits: Tensor, label: Tensor, weights: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """Mean over images b and classes c of w_bc D_bc, D_bc = 1 - (2 sum p y + s) / (sum p^2 + sum y + s) over the image's
    positions with a label. logits: (B, K, *spatial). label: (B, *spatial). weights: (B, K)."""
    p, hot = logits.float().softmax(1), one_hot(label, logits.shape[1])
    counted = (label != IGNORE).unsqueeze(1)
    common, size = (p * hot).flatten(2).sum(2), (p.square() * counted + hot).flatten(2).sum(2)
    return (weights * (1.0 - (2.0 * common + smooth) / (size + smooth))).mean()


class CnTB(CrossTeaching):
    """A convolutional network and a transformer; on unlabeled samples the more certain one teaches the other.

    This is a reconstruction, not the authors' method: we found neither their code nor a preprint. Known are the reference,
    the number of parameters that SemSim's paper lists (29.11 M, that of its CTCT row), and that paper's remark that estimates
    of uncertainty at two levels favour the more reliable side. Ours from that, with CTCT's networks and weight:

    Pixels: the learner gets the teacher's hard label where the teacher's entropy is at most its own, and none elsewhere. Where
    both entropies are equal, both learn. Regions: U_bc is the teacher's mean entropy over the positions of image b that it
    gives to class c, and weighs the Dice of that image and class by exp(-U_bc / temperature). L = L_sup(f1) + L_sup(f2) +
    w sum over both directions of [CE + weighted Dice], w = .1 exp(-5 (1 - t)^2).

    Scored: the mean of both probabilities, the convolutional network and the transformer. Which the authors score is unknown.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "cross": Term(0.1, Ramp("sigmoid", levels=200), search=(0.01, 5.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"acdc": {"recipe": CROSS_TEACHING_RECIPE}}

    class Options(CrossTeachingOptions, frozen=True, extra="forbid"):
        """Options of `cnt-b`."""

        temperature: float = Field(
            1.0, gt=0.0, description="entropy at which a region's weight falls to 1/e; useful range .1 to 10"
        )

    def __init__(self, task: Task, backbones: Backbones, options: CnTB.Options) -> None:
        super().__init__(task, backbones, options)
        self.temperature = options.temperature

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, sum over the networks; cross: unlabeled part, sum of both directions."""
        sup, a, b = self.supervised_and_unlabeled(batch)
        valid = batch["unlabeled"].valid
        return {"sup": sup, "cross": self._taught(a, b, valid, "first") + self._taught(b, a, valid, "second")}

    def _taught(self, learner: Tensor, teacher: Tensor, valid: Tensor, name: str) -> Tensor:
        teacher = teacher.detach()
        label = surer_labels(teacher, learner.detach(), valid)
        self.notes[f"{name}-taught"] = masked_mean((label != IGNORE).float(), valid)
        weights = region_weights(teacher, valid, self.temperature)
        return cross_entropy(learner, label) + weighted_dice(learner, label, weights)

    def both(self, images: Tensor) -> Tensor:
        """Returns the logarithm of the mean of both networks' probabilities."""
        return log_mean_softmax((self.first(images), self.second(images)))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial): the logarithm of the mean probability."""
        return self.both(images)

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """The mean of both probabilities, and each network."""
        return {"mean": self.both, "first": self.first, "second": self.second}
