"""ABD, adaptive bidirectional displacement (Chi et al., CVPR 2024), on cross teaching or on BCP, in 2D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from semibench import (
    IGNORE,
    Backbone,
    Backbones,
    Batch,
    Clock,
    Losses,
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
    box_mask,
    cutmix_mask,
    frozen_statistics,
    largest_component,
    paste,
    region_loss,
    soft_dice,
    supervised_loss,
)
from semibench_plugins.datasets.paper_budgets import SSL4MIS_RECIPE
from semibench_plugins.methods.pseudo_labels.cps import TwoNetworks, pseudo_labels
from semibench_plugins.methods.pseudo_labels.cross_teaching import CROSS_TEACHING_RECIPE

COLOUR_JITTER = {"jitter": (1.0, 0.8), "gamma": (0.0, 0.0), "blur": (0.0, 0.0), "noise": (0.0, 0.0)}
"""The strong view of the published code, without its changes of saturation and hue: it is for grey images."""
BCP_BOX = 2 / 3
"""Side of the box that BCP pastes, as a share of the patch's."""
ON_BCP: dict[str, Any] = {
    "options": {"base": "bcp"},
    "terms": {"displaced": 0.0, "cross": {"weight": 1.0, "ramp": {"kind": "constant"}}, "pseudo": 0.5},
}
"""The preset of the variant on BCP."""


@dataclass(frozen=True)
class View:
    """A view of a batch: images (B, C, H, W) and what belongs to them, labels or valid positions (B, H, W)."""

    image: Tensor
    target: Tensor

    def rows(self, index: Tensor) -> View:
        """The view of some samples (N,), in their order."""
        return View(self.image[index], self.target[index])


@dataclass(frozen=True)
class Patches:
    """What a network says about the patches of its view, without gradient: the mean of the largest probability (B, P), and the
    mean logits (B, P, K)."""

    confidence: Tensor
    logits: Tensor

    @classmethod
    def of(cls, logits: Tensor, grid: int) -> Patches:
        """Averages logits (B, K, H, W) over a grid of patches."""
        z = logits.detach().float()
        height, width = (side // grid for side in z.shape[2:])
        maps = torch.cat([z.softmax(1).amax(1, keepdim=True), z], 1)[..., : grid * height, : grid * width]
        means = F.avg_pool2d(maps, (height, width)).flatten(2)
        return cls(means[:, 0], means[:, 1:].transpose(1, 2))

    def nearest(self, goal: Tensor, top: int) -> Tensor:
        """(B,): of the `top` most confident patches the one j with the least KL(softmax(goal) || softmax(logits_j)), goal
        (B, K)."""
        best = self.confidence.topk(top, 1).indices
        log_p = self.logits.log_softmax(2).gather(1, best.unsqueeze(2).expand(-1, -1, self.logits.shape[2]))
        log_q = goal.log_softmax(1).unsqueeze(1)
        divergence = (log_q.exp() * (log_q - log_p)).sum(2)
        return best.gather(1, divergence.argmin(1, keepdim=True)).squeeze(1)

    def mean_logits(self, patch: Tensor) -> Tensor:
        """The mean logits (B, K) of a patch (B,) of each sample."""
        return self.logits[torch.arange(len(patch), device=patch.device), patch]


def displaced(below: Tensor, above: Tensor, to: Tensor, of: Tensor, grid: int, moves: Tensor | None = None) -> Tensor:
    """`below` with patch `to` (B,) replaced by patch `of` (B,) of `above`, where `moves` (B,) holds.

    below, above: (B, C, H, W) or (B, H, W). What is left of a side that the grid doesn't divide belongs to no patch.
    """
    result = below.clone()
    inner, outer = (maps.movedim(1, -1) if maps.ndim == 4 else maps for maps in (result, above))
    goal, source = (pixels_of(patch, grid, tuple(below.shape[-2:])) for patch in (to, of))
    patch = outer[source]
    if moves is not None:
        patch = torch.where(moves.view(-1, *[1] * (patch.ndim - 1)), patch, inner[goal])
    inner[goal] = patch
    return result


def pixels_of(patch: Tensor, grid: int, size: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of sample, row and column of a patch (B,) of each sample, broadcast to (B, height, width)."""
    height, width = (side // grid for side in size)
    at = patch.device
    rows = (patch // grid * height).view(-1, 1, 1) + torch.arange(height, device=at).view(1, -1, 1)
    columns = (patch % grid * width).view(-1, 1, 1) + torch.arange(width, device=at).view(1, 1, -1)
    return torch.arange(len(patch), device=at).view(-1, 1, 1), rows, columns


def exchange(views: tuple[View, View], to: Tensor, of: Tensor, grid: int, moves: Tensor | None = None) -> View:
    """Both views, one after the other, each with a patch of the other: in view i patch to[i] <- patch of[i]. to, of: (2, B)."""
    pairs = ((views[0], views[1], to[0], of[0]), (views[1], views[0], to[1], of[1]))
    images = [displaced(a.image, b.image, goal, source, grid, moves) for a, b, goal, source in pairs]
    targets = [displaced(a.target, b.target, goal, source, grid, moves) for a, b, goal, source in pairs]
    return View(torch.cat(images), torch.cat(targets))


class ABD(TwoNetworks):
    """Cross teaching of two networks that see two views of each image, and patches displaced between the views.

    The first network sees the weak view, the second the strong one, in which, with probability .5, a box of 2 to 40 % of the area
    is filled with noise and is background. A grid of patches, each with its mean confidence max p and its mean logits:
    unlabeled, the least confident patch of a view is replaced by that of the 4 most confident patches of the other view whose
    softmax q_j has the least KL(q || q_j), q that of the patch replaced. Labeled, with probability .5, the most confident
    patch is replaced by the least confident one of the other view, with its label. Both networks pass both displaced views.

    L = sum_k L_sup(f_k) + 2 sum_k L_sup(f_k; displaced labeled) + w sum_k [Dice(z_k, argmax z_other) on the views + the same on
    displaced unlabeled views], L_sup = (CE + Dice) / 2. The second term counts in the first two thirds of the run; w rises to
    .1 in 200 steps. The Dice has squares, sums over the batch and counts the background. Displaced views leave the running
    statistics alone; those of the second network come from its strong views.

    On BCP (option `base`, presets `bcp` and `acdc-bcp`): in the stage `pretrain` the first network learns on a box of one labeled
    image in another. Both networks and a teacher, the moving average of the first, start `train` from its best weights. Each
    network sees mixes of its own views, a box of a labeled image in an unlabeled one and the reverse, with one box for both:
    sup = sum_k R(labeled region), pseudo = sum_k R(unlabeled region; the largest component of each class in the teacher's
    label), R = (CE + Dice) / 2, weight .5, and cross on the mixes and on displaced mixes, weight 1. With probability .5 a
    patch is replaced by the most confident one of the other view, whatever its classes. There are no displaced labeled views.
    On the blobs of the learning check it has a Dice of .87, cross teaching .85, the labels alone .84.

    The grid of 4 is that of 224 and 256 pixels; for 513 the preset `csc-pa` has 9 (57 pixels), which is ours: the tables on
    ultrasound don't say how ABD was adapted, nor on which base. The code's second network on cross teaching is a Swin-UNet, and
    its strong view a colour jitter of .8: preset `acdc` has both, the transformer from random weights instead of those of
    ImageNet. The default has two networks of one kind and the recipe's strong view. The noise of the box is the smallest or
    largest value of the sample, each pixel at random. On BCP the code carries the momentum of the pre-training into `train`;
    here each stage starts with a fresh optimiser. Scored: the first network (the code keeps the better of the two on
    validation).
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "displaced": Term(2.0, active=(0.0, 2 / 3), search=(0.5, 4.0)),
        "cross": Term(0.1, Ramp("sigmoid", levels=200), search=(0.01, 1.0), unlabeled=True),
        "pseudo": Term(0.0, search=(0.1, 1.0), unlabeled=True),
    }
    streams: ClassVar[Mapping[str, Stream]] = {
        "labeled": Stream("labeled", strong=1),
        "unlabeled": Stream("unlabeled", strong=1),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "csc-pa": {"options": {"grid": 9, "loss": "cross_entropy"}},
        "acdc": {"options": {"second": "swin-unet"}, "recipe": {**CROSS_TEACHING_RECIPE, "strong": COLOUR_JITTER}},
        "bcp": ON_BCP,
        "acdc-bcp": {
            **ON_BCP,
            "recipe": {**SSL4MIS_RECIPE, "iterations": 40000, "schedule": "constant", "strong": COLOUR_JITTER},
        },
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `abd`."""

        base: Literal["cross_teaching", "bcp"] = Field(
            "cross_teaching", description="what it is built on; bcp has other weights, too: use preset `bcp`"
        )
        grid: int = Field(4, ge=2, description="patches per side; useful range 4 to 9")
        top: int = Field(
            4, ge=1, description="confident patches to choose from, at most half of all; useful range 2 to 8"
        )
        inward: float = Field(
            0.5, ge=0.0, le=1.0, description="probability that a labeled image is displaced (cross_teaching)"
        )
        second: str | None = Field(
            None, description="backbone of the second network (cross_teaching); default: the run's own"
        )
        second_width: float | None = Field(
            None, gt=0.0, description="width of the second network; default: the recipe's for that backbone"
        )
        cutout: float = Field(0.5, ge=0.0, le=1.0, description="probability of a box of noise in a strong view")
        loss: Supervision = Field("dice_ce", description="supervised loss (cross_teaching)")
        pretrain: float = Field(0.25, gt=0.0, lt=1.0, description="share of the budget spent on pre-training (bcp)")
        decay: float = Field(
            0.99, ge=0.0, le=1.0, description="teacher's decay, from the first step; useful range .9 to .999 (bcp)"
        )

        @model_validator(mode="after")
        def _one_kind_of_network(self) -> Self:
            if self.base == "bcp" and (self.second is not None or self.second_width is not None):
                raise ValueError(
                    "base=bcp starts both networks from the same weights: leave `second` and `second_width` unset"
                )
            return self

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """2D only."""
        return None if task.dims == 2 else "its patches are those of images: use a 2D network (--dims 2)"

    def __init__(self, task: Task, backbones: Backbones, options: ABD.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.top = min(options.top, options.grid**2 // 2)
        own: dict[str, Any] = {} if options.second_width is None else {"width": options.second_width}
        self.first, self.second = backbones(), backbones(options.second, **own)
        self.on_bcp = options.base == "bcp"
        self.teacher = Teacher(self.first, options.decay, warm_up=False, buffers="ema") if self.on_bcp else None

    def stages(self) -> Sequence[Stage]:
        """One stage; on BCP a pre-training, from whose best weights the training starts."""
        if not self.on_bcp:
            return super().stages()
        return Stage("pretrain", self.options.pretrain), Stage("train", 1.0 - self.options.pretrain, start="best")

    def begin(self, stage: str, pools: Pools) -> None:
        """On BCP: the second network and the teacher become copies of the first."""
        if self.teacher is not None:
            self.second.load_state_dict(self.first.state_dict())
            self.teacher.copy(self.first)

    def after_step(self, clock: Clock) -> None:
        """On BCP: updates the moving average of the first network."""
        if self.teacher is not None:
            self.teacher.update(self.first)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled views; cross: unlabeled views and displaced ones; displaced: displaced labeled views. On BCP: see
        the class."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        if clock.stage == "pretrain":
            return {"sup": self._pasted(labeled)}
        views, views_u = self._views(labeled, labeled.target), self._views(unlabeled, unlabeled.valid)
        if self.teacher is not None:
            return self._on_mixes(views, views_u, labeled.valid, self.teacher)
        count = len(labeled.image)
        one = self.first(torch.cat([views[0].image, views_u[0].image]))
        two = self.second(torch.cat([views[1].image, views_u[1].image]))
        cross = agreement(one[count:], two[count:], unlabeled.valid)
        with frozen_statistics(self):
            moved = self.outward(views_u, one[count:], two[count:])
            cross = cross + agreement(self.first(moved.image), self.second(moved.image), moved.target)
        return {
            "sup": self._supervised(one[:count], views[0].target) + self._supervised(two[:count], views[1].target),
            "cross": cross,
            "displaced": self._displaced(views, one[:count], two[:count], clock),
            "pseudo": one.new_zeros(()),
        }

    def _pasted(self, labeled: Samples) -> Tensor:
        """The loss of the first network on a box of one labeled image in another, by regions."""
        index = _even(len(labeled.image), labeled.image)
        (below, box), labels = labeled.image[index].chunk(2), labeled.target[index].chunk(2)
        mask = box_mask(labeled.image.shape[2:], BCP_BOX, like=labeled.image)
        logits = self.first(torch.where(mask.bool(), below, box))
        return region_loss(logits, labels[0], mask) + region_loss(logits, labels[1], 1 - mask)

    def _on_mixes(
        self, views: tuple[View, View], views_u: tuple[View, View], valid: Tensor, teacher: Teacher
    ) -> Losses:
        """The terms on BCP. In the first half of the mixes the box is labeled, in the second what surrounds it."""
        like = views[0].image
        count = max(len(like), len(views_u[0].image))
        index, index_u = (_even(count, like) % len(view.image) for view in (views[0], views_u[0]))
        mask = box_mask(like.shape[2:], BCP_BOX, like=like).bool()
        given = torch.stack([~mask, mask]).repeat_interleave(len(index) // 2, 0)
        mixes, logits, sup, pseudo = [], [], [], []
        for net, view, view_u in zip((self.first, self.second), views, views_u, strict=True):
            below, above = view_u.rows(index_u), view.rows(index)
            label = largest_component(_by_halves(teacher, below.image).argmax(1)).masked_fill(~below.target, IGNORE)
            mix = View(paste(below.image, above.image, given), paste(below.target, valid[index], given))
            z = _by_halves(net, mix.image)
            sup.append(_region_losses(z, above.target, given))
            pseudo.append(_region_losses(z, label, ~given))
            mixes.append(mix)
            logits.append(z)
        (one, two), pair = logits, (mixes[0], mixes[1])
        with frozen_statistics(self):
            moved = self.outward(pair, one, two)
            cross = agreement(self.first(moved.image), self.second(moved.image), moved.target)
        return {
            "sup": sup[0] + sup[1],
            "cross": agreement(one, two, pair[0].target) + cross,
            "displaced": one.new_zeros(()),
            "pseudo": pseudo[0] + pseudo[1],
        }

    def _supervised(self, logits: Tensor, target: Tensor) -> Tensor:
        return supervised_loss(logits, target, self.options.loss)

    def _views(self, samples: Samples, target: Tensor) -> tuple[View, View]:
        """The weak view and the strong one with its box; labels inside the box become background."""
        strong, size = samples.strong[0], samples.image.shape[2:]
        box = cutmix_mask(size, batch=len(strong), probability=self.options.cutout, like=strong) & samples.valid
        low, high = (v.view(-1, 1, 1, 1) for v in torch.aminmax(samples.image.flatten(1), dim=1))
        noise = torch.where(torch.rand_like(strong) < 0.5, low, high)
        inside = target if target.dtype == torch.bool else target.masked_fill(box, 0)
        return View(samples.image, target), View(paste(strong, noise, box), inside)

    def outward(self, views: tuple[View, View], one: Tensor, two: Tensor) -> View:
        """ABD-R: the least confident patch of each view <- a confident patch of the other one; on BCP, in half of the samples, the
        most confident one."""
        first, second = (Patches.of(z, self.options.grid) for z in (one, two))
        least = torch.stack([first.confidence.argmin(1), second.confidence.argmin(1)])
        near_second = second.nearest(first.mean_logits(least[0]), self.top)
        near_first = first.nearest(second.mean_logits(least[1]), self.top)
        source = torch.stack([near_second, near_first])
        if self.on_bcp:
            most = torch.stack([second.confidence.argmax(1), first.confidence.argmax(1)])
            source = torch.where(torch.rand(len(one), device=one.device) < 0.5, source, most)
        return exchange(views, least, source, self.options.grid)

    def inward(self, views: tuple[View, View], one: Tensor, two: Tensor) -> View:
        """ABD-I: the most confident patch of each view <- the least confident one of the other, labels included."""
        first, second = (Patches.of(z, self.options.grid).confidence for z in (one, two))
        moves = torch.rand(len(one), device=one.device) < self.options.inward
        most = torch.stack([first.argmax(1), second.argmax(1)])
        return exchange(views, most, torch.stack([second.argmin(1), first.argmin(1)]), self.options.grid, moves)

    def _displaced(self, views: tuple[View, View], one: Tensor, two: Tensor, clock: Clock) -> Tensor:
        if self.weight("displaced", clock) == 0.0:
            return one.new_zeros(())
        moved = self.inward(views, one, two)
        with frozen_statistics(self):
            logits = [net(moved.image) for net in (self.first, self.second)]
        return self._supervised(logits[0], moved.target) + self._supervised(logits[1], moved.target)


def agreement(one: Tensor, two: Tensor, valid: Tensor) -> Tensor:
    """Dice(z1, argmax z2) + Dice(z2, argmax z1), the labels without gradient."""
    return soft_dice(one, pseudo_labels(two, valid)) + soft_dice(two, pseudo_labels(one, valid))


def _even(count: int, like: Tensor) -> Tensor:
    """Indices of two halves of at least `count` samples, which start again from the first one where there is no other."""
    return torch.arange(count + count % 2, device=like.device) % count


def _by_halves(net: Backbone | Teacher, images: Tensor) -> Tensor:
    """Passes the halves of a batch one after the other, as the code of BCP does: each has batch statistics of its own."""
    return torch.cat([net(half) for half in images.chunk(2)])


def _region_losses(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The sum over the halves of a batch of the loss over a region (B, H, W)."""
    halves = zip(logits.chunk(2), target.chunk(2), mask.chunk(2), strict=True)
    return torch.stack([region_loss(*half) for half in halves]).sum()
