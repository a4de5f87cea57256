"""ML-RPL, mutual learning with reliable pseudo-labels (Su et al., MedIA 2024), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from semibench import IGNORE, Backbones, Batch, Clock, Losses, Method, MethodOptions, Task, Term
from semibench.blocks import one_hot
from semibench_plugins.methods.mutual_consistency.mc_net import RAMP, RECIPE
from semibench_plugins.methods.mutual_consistency.other_decoders import Upsampling, other_decoders
from semibench_plugins.methods.mutual_consistency.supervision import LabelLoss, label_loss

EPSILON = 1e-6
ORDER: tuple[Upsampling, ...] = ("nearest", "transposed")


@dataclass(frozen=True, eq=False)
class Branch:
    """What a decoder returns: logits (B, K, *spatial), and its finest map (B, F, *spatial) at the same resolution."""

    logits: Tensor
    features: Tensor

    @cached_property
    def entropy(self) -> Tensor:
        """Entropy of the prediction, (B, *spatial), without gradient; both directions of the loss compare it."""
        return entropy_of(self.logits.detach())


def entropy_of(logits: Tensor) -> Tensor:
    """(B, K, *spatial) -> (B, *spatial): -sum_c p_c ln(p_c + 1e-6); equal where both predictions are saturated."""
    p = logits.float().softmax(1)
    return -(p * (p + EPSILON).log()).sum(1)


def similarities(features: Tensor, label: Tensor, classes: int) -> Tensor:
    """Cosine of each position's features (B, F, *spatial) with the prototype of each class, (B, K, *spatial).

    A prototype is the mean of the features of one sample where label (B, *spatial) is the class. A class without positions
    has the similarity 0.
    """
    with torch.autocast(
        features.device.type, enabled=False
    ):  # sums over a million positions overflow in half precision
        each = features.float().flatten(2)
        hot = one_hot(label, classes).flatten(2)
        counts = hot.sum(2).unsqueeze(2) + EPSILON
        prototypes = F.normalize(torch.einsum("bkn,bfn->bkf", hot, each) / counts, dim=2)
        cosines = torch.einsum("bkf,bfn->bkn", prototypes, F.normalize(each, dim=1))
    return cosines.unflatten(2, features.shape[2:])


@torch.no_grad()
def reliability(teacher: Branch, label: Tensor) -> Tensor:
    """(B, *spatial): mean over classes of 1 - (sim_c - p_c)^2, at least 0: how well the teacher's prediction p agrees with the
    one from its prototypes."""
    p = teacher.logits.float().softmax(1)
    return (1.0 - (similarities(teacher.features, label, p.shape[1]) - p).square()).mean(1).clamp(min=0.0)


def reliable_loss(student: Branch, teacher: Branch, valid: Tensor) -> Tensor:
    """sum M r CE(z, label) / (sum M + 1e-6) with M = 1 where the student is less certain than the teacher. No gradient reaches
    the teacher."""
    label = teacher.logits.detach().argmax(1).masked_fill(~valid, IGNORE)
    with torch.no_grad():
        less_certain = (student.entropy > teacher.entropy) & valid
        weight = less_certain * reliability(teacher, label)
    each = F.cross_entropy(student.logits.float(), label, ignore_index=IGNORE, reduction="none")
    return (weight * each).sum() / (less_certain.sum() + EPSILON)


class MLRPL(Method):
    """One encoder and two decoders that teach each other with hard labels. A position is learned only by the decoder that is
    less certain there, and counts by how reliable the other's label is.

    L = .5 sum_i Dice(p_i, y) + w (L_12 + L_21), for student i and teacher j: L_ij = sum M r CE(z_i, argmax p_j) / sum M,
    M = 1[H(p_i) > H(p_j)], H the entropy, over labeled and unlabeled samples. r = mean_c (1 - (sim_c - p_j,c)^2), where sim_c
    is the cosine of the teacher's features (its finest decoded map) with the mean features of class c in the sample, by the
    teacher's labels. r has no gradient and is clamped at 0, which it can fall below only if features are negative. w rises
    to 1 as exp(-5 (1 - t)^2), in 40 steps over the first two fifths of the run. The Dice has no squares, sums over the
    batch and leaves the background out.

    The first decoder is the backbone's own (transposed convolutions in `vnet`), the second has nearest upsampling (option
    `upsampling`). Scored: the first, the only one that runs then. The authors keep the weights that are best on the test
    list. Preset `la`: their recipe for the left atrium.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(0.5, search=(0.1, 1.0)),
        "mutual": Term(1.0, RAMP, search=(0.1, 5.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"la": {"recipe": RECIPE}}

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `ml-rpl`."""

        upsampling: Upsampling | None = Field(
            None,
            description="upsampling of the second decoder; default: nearest, or transposed where the first has nearest",
        )
        loss: LabelLoss = Field("dice", description="supervised loss of each decoder")

    def __init__(self, task: Task, backbones: Backbones, options: MLRPL.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net = backbones()
        self.second = (
            other_decoders(self.net, 1, ORDER)[0]
            if options.upsampling is None
            else self.net.new_decoder(upsampling=options.upsampling)
        )

    def branches(self, images: Tensor) -> tuple[Branch, Branch]:
        """(B, C, *spatial) -> both decoders' logits and features, at the size of the images."""
        maps, size = self.net.encode(images), images.shape[2:]
        found = []
        for decoder in (self.net.decoder, self.second):
            finest = decoder(maps)[0]
            found.append(Branch(self.net.enlarge(decoder.head(finest), size), self.net.enlarge(finest.detach(), size)))
        return found[0], found[1]

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, sum over decoders; mutual: all samples without padding, sum of both directions."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        first, second = self.branches(torch.cat([labeled.image, unlabeled.image]))
        valid = torch.cat([labeled.valid, unlabeled.valid])
        count = len(labeled.image)
        return {
            "sup": label_loss([first.logits[:count], second.logits[:count]], labeled.target, self.options.loss),
            "mutual": reliable_loss(first, second, valid) + reliable_loss(second, first, valid),
        }

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the first decoder."""
        return self.net(images)
