"""OTCMC, optimal transport and central moment consistency (Guo et al., IEEE TMI 2025), in 2D and 3D: a reconstruction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from semibench import IGNORE, Backbones, Batch, Clock, Losses, MethodOptions, Ramp, Task, Term
from semibench.blocks import StudentTeacher, Supervision, Teacher, frozen_statistics, masked_mean, supervised_loss


def transport_plan(cost: Tensor, *, sharpness: float, rounds: int) -> Tensor:
    """Plan (M, N) of entropic optimal transport between uniform marginals, 1 / M and 1 / N, for a cost (M, N): `rounds` of
    Sinkhorn's algorithm on logarithms, with the entropy weighted by `sharpness`. The last update fits the columns."""
    scores = -cost.float() / sharpness
    rows, columns = -math.log(cost.shape[0]), -math.log(cost.shape[1])
    right = torch.zeros_like(scores[0])
    left = torch.zeros_like(scores[:, 0])
    for _ in range(rounds):
        left = rows - (scores + right).logsumexp(1)
        right = columns - (scores + left[:, None]).logsumexp(0)
    return (scores + left[:, None] + right).exp()


def propagated(plan: Tensor, label: Tensor, classes: int) -> Tensor:
    """Labels (M,) moved along a plan (M, N): q_jk = sum_i T_ij [y_i = k] / sum_i T_ij, (N, K)."""
    moved = plan.T @ F.one_hot(label, classes).to(plan)
    return moved / moved.sum(1, keepdim=True).clamp(min=1e-12)


def moment_orders(dims: int, highest: int) -> list[tuple[int, ...]]:
    """Powers of the axes of all central moments of order 2 to `highest`."""
    powers = itertools.product(range(highest + 1), repeat=dims)
    return [power for power in powers if 2 <= sum(power) <= highest]


def central_moments(mask: Tensor, orders: Sequence[tuple[int, ...]]) -> Tensor:
    """Normalised central moments of soft masks (N, *spatial) >= 0: eta_p = mu_p / M0^(|p| / dims + 1), mu_p = sum m prod (x -
    c)^p, M0 = sum m, c the centre of mass; (N, orders). They don't change when a shape is moved, and hardly when it is scaled.
    A mask with M0 below a millionth of the volume has moments 0."""
    mask, dims = mask.float(), mask.ndim - 1
    mass = mask.flatten(1).sum(1)
    there = mass > 1e-6 * mask[0].numel()
    safe = torch.where(there, mass, torch.ones_like(mass))
    length = safe ** (1.0 / dims)
    highest = max(max(order) for order in orders)
    found = mask
    for axis in range(dims):
        side = mask.shape[1 + axis]
        place = torch.arange(side, device=mask.device, dtype=torch.float32)
        profile = mask.sum([1 + other for other in range(dims) if other != axis])
        centre = (profile * place).sum(1) / safe
        away = (place - centre[:, None]) / length[:, None]  # in lengths of the shape: eta needs no further factor
        powers = torch.stack([away**power for power in range(highest + 1)], 2)
        found = torch.einsum("nx...,nxp->n...p", found, powers)  # the sum over this axis, for each power of it
    chosen = torch.stack([found.movedim(0, -1)[order] for order in orders], 1) / safe[:, None]
    return torch.where(there[:, None], chosen, torch.zeros_like(chosen))


class OTCMC(StudentTeacher):
    """Labels travel from labeled to unlabeled voxels by optimal transport between features, and the student's shapes have the
    moments of its teacher's.

    transport: `samples` labeled voxels i and as many unlabeled ones j are drawn; T is the plan (`transport_plan`, eps = .05,
    50 rounds) for the cost 1 - cos of the student's finest decoder maps. q_j = `propagated` labels, without gradient; the
    term is the mean of -sum_k q_jk ln p_jk. moments: of the soft masks of the foreground classes on unlabeled samples, mean
    (eta_student - eta_teacher)^2 over orders 2 and 3, and over the samples and classes of which the teacher sees a voxel:
    the rest is a diffuse background, whose moments are huge and say nothing of a shape. The teacher is the moving average
    (decay .99) and sees the same images without gradient. L = L_sup + c (.1 transport + .2 moments), c = exp(-5 (1 - t)^2).

    A reconstruction from the description: neither the formulas nor code were at hand. Ours are the features, the uniform
    draw (so that classes keep their shares), which masks are compared, all constants and the weights; L_sup is half of the
    sum of CE and Dice. Where the network drops channels before its head, as `vnet` does, the cost compares features with
    different channels dropped in each sample. With weight 2 for `transport`, the scale of the same group's Diff-CL, the
    student of the learning check ended at .384 (moments of all masks); with .1 it has .816 and its teacher .865, the labels
    alone .840. Padding is never drawn and has no mass. Preset `la`: the left atrium's supervised loss, and the recipe of the
    same group's Diff-CL, SGD with a weight decay of 3e-5 at a constant rate for 300 epochs, which are 11,400 iterations with
    four labels; `la-8`: the same with 10,800, for eight. Scored: the student and the teacher.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "transport": Term(0.1, Ramp("sigmoid"), search=(0.01, 1.0), unlabeled=True),
        "moments": Term(0.2, Ramp("sigmoid"), search=(0.02, 2.0), unlabeled=True),
    }
    _la: ClassVar[Mapping[str, Any]] = {
        "options": {"loss": "dice_ce_foreground"},
        "recipe": {
            "iterations": 11400, "labeled_batch": 2, "unlabeled_batch": 2, "weight_decay": 3e-5, "schedule": "constant",
        },
    }  # fmt: skip
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "la": _la,
        "la-8": {**_la, "recipe": {**_la["recipe"], "iterations": 10800}},
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `otcmc`."""

        decay: float = Field(0.99, ge=0.0, le=1.0, description="largest decay of the average; useful range .9 to .999")
        samples: int = Field(512, ge=2, le=8192, description="voxels drawn from each pool; useful range 512 to 2048")
        sharpness: float = Field(0.05, gt=0.0, description="eps, weight of the plan's entropy; useful range .01 to .5")
        rounds: int = Field(50, ge=1, description="rounds of Sinkhorn's algorithm; useful range 20 to 100")
        order: int = Field(3, ge=2, le=4, description="highest order of the moments; useful 2 to 3")
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: OTCMC.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, self.kinds = options, len(task.classes)
        self.orders = moment_orders(task.dims, options.order)
        self.student = backbones()
        self.teacher = Teacher(self.student, options.decay, buffers="ema")

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part; transport: drawn unlabeled voxels; moments: whole unlabeled samples."""
        labeled, unlabeled, net = batch["labeled"], batch["unlabeled"], self.student
        images, count = torch.cat([labeled.image, unlabeled.image]), len(labeled.image)
        fine = net.decoder(net.encode(images))[0]
        logits = net.enlarge(net.decoder.head(fine), images.shape[2:])
        with frozen_statistics(self.teacher):
            goal = self.teacher(unlabeled.image).float().softmax(1)
        return {
            "sup": supervised_loss(logits[:count], labeled.target, self.options.loss),
            "transport": self.transported(fine, logits[count:], labeled.target, unlabeled.valid),
            "moments": self.moments_apart(logits[count:].float().softmax(1), goal, unlabeled.valid),
        }

    def transported(self, fine: Tensor, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Cross-entropy of drawn unlabeled voxels with the labels that reach them. fine: finest decoder maps of all samples."""
        with torch.no_grad():
            maps = self.student.enlarge(fine.detach().float(), logits.shape[2:])
            given, asked = maps[: len(target)].movedim(1, -1), maps[len(target) :].movedim(1, -1)
            known, open_ = target.ne(IGNORE).nonzero(), valid.nonzero()
            if not len(known) or not len(open_):
                return logits.sum() * 0.0
            here, there = (self._drawn(places) for places in (known, open_))
            first, second = (F.normalize(one[tuple(at.T)], dim=1) for one, at in ((given, here), (asked, there)))
            plan = transport_plan(1.0 - first @ second.T, sharpness=self.options.sharpness, rounds=self.options.rounds)
            label = propagated(plan, target[tuple(here.T)].long(), self.kinds)
        scores = logits.float().movedim(1, -1)[tuple(there.T)].log_softmax(1)
        return -(label * scores).sum(1).mean()

    def _drawn(self, places: Tensor) -> Tensor:
        """Some of the places (n, axes), with replacement."""
        return places[torch.randint(len(places), (self.options.samples,), device=places.device)]

    def moments_apart(self, soft: Tensor, goal: Tensor, valid: Tensor) -> Tensor:
        """Mean squared difference of the moments of the foreground classes, where the goal has a voxel of the class and the mask
        some mass; 0 if there is no such sample."""
        counted = valid.unsqueeze(1)
        masks = [(p[:, 1:] * counted).flatten(0, 1) for p in (soft, goal)]
        mine, theirs = (central_moments(mask, self.orders) for mask in masks)
        seen = (
            (F.one_hot(goal.argmax(1), self.kinds).movedim(-1, 1)[:, 1:].bool() & counted).flatten(2).any(2).flatten()
        )
        seen &= mine.abs().sum(1) > 0
        return masked_mean((mine - theirs).square().mean(1), seen)
