"""CISC-R, cross-image semantic consistency guided rectifying (Wu et al., TPAMI 2023), in 2D."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import (
    IGNORE,
    Backbone,
    Backbones,
    Batch,
    Clock,
    Losses,
    Method,
    MethodOptions,
    Pools,
    Samples,
    Stage,
    Stream,
    Task,
    Term,
)
from semibench.blocks import Supervision, evaluating, frozen_statistics, masked_mean, supervised_loss

STAGES = ("labels", "reliable", "all")
NONE = -1
"""The class of a pair that shares none."""


def mean_features(net: Backbone, decoded: Tensor, mask: Tensor) -> Tensor:
    """v = sum F m / (sum m + .0005): the mean of the decoder map (B, D, h, w), enlarged to the size of the mask (B, H, W).

    Enlarging is linear, so the mask is taken to the size of the map by the transpose of it, and the map stays small.
    """
    with torch.enable_grad():
        probe = torch.zeros_like(decoded[:, :1], dtype=torch.float32, requires_grad=True)
        (weights,) = torch.autograd.grad(net.enlarge(probe, mask.shape[1:]), probe, mask.unsqueeze(1).float())
    total = (decoded.float() * weights).sum((2, 3))
    return total / (mask.flatten(1).sum(1, keepdim=True) + 5e-4)


def consistency_map(net: Backbone, decoded: Tensor, vectors: Tensor, size: Sequence[int]) -> Tensor:
    """S (B, *size): the cosine of each position's feature with the vector (B, D) of its sample, at least 0 and at most 1.
    0 for a vector of zeros."""
    # A product and a sum stay in float32 under autocast, einsum doesn't: a cosine rounded to 1 has a BCE with a gradient of 1e12.
    each = F.normalize(decoded.float(), dim=1) * F.normalize(vectors.float(), dim=1)[:, :, None, None]
    return net.enlarge(each.sum(1, keepdim=True), size).squeeze(1).clamp(0.0, 1.0)


def holds(label: Tensor, classes: int, least: float, *, background: bool = False) -> Tensor:
    """bool (B, K): the classes that cover at least this share of a label map (B, H, W); class 0 only with `background`."""
    shares = torch.stack([(label == kind).flatten(1).float().mean(1) for kind in range(classes)], 1)
    found = (shares >= least) & (shares > 0)
    found[:, 0] &= background
    return found


def drawn(allowed: Tensor) -> Tensor:
    """One of the allowed columns of each row of bool (B, N), at random; NONE where no column is allowed."""
    place = (torch.rand(allowed.shape, device=allowed.device) * allowed).argmax(1)
    return place.masked_fill(~allowed.any(1), NONE)


def rectified(logits: Tensor, label: Tensor, agreement: Tensor, shared: Tensor) -> Tensor:
    """(1 - |m - S|) CE(z, y) at each position, m = [y = shared class]. label: (B, H, W) with IGNORE; agreement: S (B, H, W);
    shared: (B,), NONE where there is no class. The factor has no gradient."""
    inside = (label == shared.view(-1, 1, 1)).float()
    each = F.cross_entropy(logits.float(), label, ignore_index=IGNORE, reduction="none")
    return (1.0 - (inside - agreement).abs()).detach() * each


class CISCR(Method):
    """Self-training in three stages. A pseudo-label counts less where it disagrees with how similar
    the position is to a labeled image of the same class.

    With F the decoder map, v_c the mean of F over class c of a queried labeled image and S = cos(F, v_c) in [0, 1]:
    `labels` trains on labels alone, L = CE + BCE(S, [y = c]), each image querying its neighbour in the batch for a class that
    both hold. `reliable` adds the more reliable half of the unlabeled images, `all` all of them: L = CE + mean (1 - gap)
    CE(z_strong, y'), gap = |[y' = c] - S|, y' the label by the previous network, S from its features. Inside class c a position
    weighs S, elsewhere 1 - S. A class counts from 3 % of the image; without one S is 0 and all weights are 1.

    Reliable are images with the least sum over predicted classes, the background too, of BCE(cos(F, a_c), [y' = c]), a_c the
    mean of v_c over the labeled images; in the last stage they keep the first network's label, and the second labels the
    others. Queried are, of the labeled images with at least 3 % of a class, the half with the least BCE in it. The paper's
    text was not at hand; this follows the code.

    What differs from the code: it stores labels of whole images, from five scales and a flip; here the network labels the
    view that it gets, from one scale and a flip (option `scales`), and compares features of that view where the code
    compares those of the strong one. It draws the queried image from all labeled ones, here from the labeled batch, which
    saves a pass; with one labeled image in it, the image queries itself. The first stage takes the mean over both images of
    a pair, the code the sum. Half of the images in `reliable` pass without counting. It trains 80 epochs in each stage and
    labels with the network that was best on validation; here each has a third of the budget, and its last weights label.
    Strong views leave the running statistics alone.

    Each stage of the code trains a fresh network, for as long as a usual training. Here the stages share one budget, and by
    default each goes on with the weights of the one before (ours). On the blobs of the learning check, 200 iterations in all,
    that has a Dice of .849, fresh networks .551, the labels alone .840 (seed 0). Presets `csc-pa` (for the rows of that table)
    and `code`, which has the five scales, too, start afresh. Scored: the network of the last stage.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "consistency": Term(1.0, search=(0.1, 2.0)),
        "pseudo": Term(1.0, search=(0.3, 3.0), unlabeled=True),
    }
    streams: ClassVar[Mapping[str, Stream]] = {"labeled": Stream("labeled"), "unlabeled": Stream("unlabeled", strong=1)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "csc-pa": {"options": {"start": "fresh"}},
        "code": {"options": {"start": "fresh", "scales": (0.5, 0.75, 1.0, 1.5, 2.0)}},
    }
    rehearsal_options: ClassVar[Mapping[str, Any]] = {"least_area": 0.0}

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `cisc-r`."""

        start: Literal["previous", "fresh"] = Field(
            "previous",
            description="weights that a stage starts from: those of the stage before, or fresh ones (the code)",
        )
        reliable: float = Field(
            0.5, gt=0.0, le=1.0, description="share of the unlabeled images in the second stage; useful range .3 to .8"
        )
        queried: float = Field(0.5, gt=0.0, le=1.0, description="share of the labeled images of a class to query")
        least_area: float = Field(
            0.03, ge=0.0, lt=1.0, description="smallest share of the image that a class to query covers; useful 0 to .1"
        )
        scales: tuple[Annotated[float, Field(gt=0.0, allow_inf_nan=False)], ...] = Field(
            (1.0,), min_length=1, description="scales whose mean labels the unlabeled images; published: .5 .75 1 1.5 2"
        )
        loss: Supervision = Field("cross_entropy", description="supervised loss")

    phase: Tensor
    reliable: Tensor
    queried: Tensor

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """2D only."""
        return None if task.dims == 2 else "it is defined for images only: use a 2D network (--dims 2)"

    def __init__(self, task: Task, backbones: Backbones, options: CISCR.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, self.classes = options, len(task.classes)
        self.nets = nn.ModuleList(backbones() for _ in STAGES)
        self.register_buffer("phase", torch.zeros((), dtype=torch.int64))
        self.register_buffer("reliable", torch.ones(task.cases["unlabeled"], dtype=torch.bool))
        self.register_buffer("queried", torch.ones(task.cases["labeled"], self.classes, dtype=torch.bool))

    def net(self, phase: int) -> Backbone:
        """The network of a stage by its number."""
        return cast(Backbone, self.nets[phase])

    def stages(self) -> Sequence[Stage]:
        """Labels alone, then the reliable half, then all unlabeled images."""
        return tuple(Stage(name, 1 / len(STAGES)) for name in STAGES)

    def begin(self, stage: str, pools: Pools) -> None:
        """Chooses the reliable images and those to query, and starts the network of the stage."""
        phase = STAGES.index(stage)
        if stage == "reliable":
            self._choose(pools)
        if phase and self.options.start == "previous":
            self.net(phase).load_state_dict(self.net(phase - 1).state_dict())
        self.phase.fill_(phase)

    # --- reliability ---

    def _choose(self, pools: Pools) -> None:
        """Ranks all training images by how well the first network's features agree with its labels."""
        net, unlabeled, labeled = self.net(0), [], []
        with evaluating(net):
            anchors = self._anchors(net, pools)
            for part in pools.batches("unlabeled"):
                label = self._labels(net, part.image).masked_fill(~part.valid, IGNORE)
                unlabeled.append((part.index, self._tally(net, part.image, label, anchors)))
            for part in pools.batches("labeled"):
                labeled.append((part.index, self._tally(net, part.image, part.target, anchors)))
        errors, areas = self._by_class(unlabeled)
        self.reliable = least(torch.where(areas > 0, errors, 0.0).sum(1), self.options.reliable)
        errors, areas = self._by_class(labeled)
        large = (areas > 0) & (areas >= self.options.least_area)
        large[:, 0] = False
        ranked = errors.masked_fill(~large, math.inf)
        self.queried = torch.stack([least(column, self.options.queried) for column in ranked.T], 1)

    def _anchors(self, net: Backbone, pools: Pools) -> Tensor:
        """The mean of v_c over the labeled images that hold the class, (K, D)."""
        total = self.queried.new_zeros(self.classes, net.decoder.channels[0], dtype=torch.float32)
        count = total.new_zeros(self.classes, 1)
        for part in pools.batches("labeled"):
            decoded, found = decoder_map(net, part.image), holds(part.target, self.classes, 0.0, background=True)
            for kind in range(self.classes):
                rows = found[:, kind]
                total[kind] += mean_features(net, decoded, part.target == kind)[rows].sum(0)
                count[kind] += rows.sum()
        return total / count.clamp(min=1.0)

    def _tally(self, net: Backbone, images: Tensor, label: Tensor, anchors: Tensor) -> Tensor:
        """Sums over the positions with a label, float64 (B, 2K + 1): of the BCE of each class' cosine map with the label, of
        the positions of each class, and of all."""
        decoded, counted = decoder_map(net, images), (label != IGNORE).double()
        sums = []
        for kind in range(self.classes):
            agreement = consistency_map(net, decoded, anchors[kind].expand(len(label), -1), label.shape[1:])
            sums.append(counted * F.binary_cross_entropy(agreement, (label == kind).float(), reduction="none"))
        sums += [(label == kind).double() for kind in range(self.classes)]
        return torch.stack([each.flatten(1).sum(1) for each in (*sums, counted)], 1)

    def _by_class(self, parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """The mean BCE of each class in each image (N, K), and the share of the image that it covers (N, K)."""
        sums = by_image(parts)
        means = sums[:, :-1] / sums[:, -1:].clamp(min=1.0)
        return means[:, : self.classes], means[:, self.classes :]

    # --- the iteration ---

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part; consistency: its pairs (stage `labels`); pseudo: strong unlabeled views (later stages)."""
        labeled, phase = batch["labeled"], STAGES.index(clock.stage)
        net, size = self.net(phase), labeled.image.shape[2:]
        decoded = decoder_map(net, labeled.image)
        logits = net.enlarge(net.decoder.head(decoded), size)
        sup = supervised_loss(logits, labeled.target, self.options.loss)
        if phase == 0:
            return {"sup": sup, "consistency": self._consistency(net, decoded, labeled)}
        return {"sup": sup, "pseudo": self._pseudo(net, labeled, batch["unlabeled"], phase)}

    def _consistency(self, net: Backbone, decoded: Tensor, labeled: Samples) -> Tensor:
        """BCE(S, m) of each image with the previous one of the batch as the queried image; 0 without a shared class."""
        label = labeled.target
        found = holds(label, self.classes, self.options.least_area)
        shared = drawn(found & found.roll(1, 0)).view(-1, 1, 1)
        vectors = mean_features(net, decoded.roll(1, 0), label.roll(1, 0) == shared)
        agreement = consistency_map(net, decoded, vectors, label.shape[1:])
        each = F.binary_cross_entropy(agreement, (label == shared).float(), reduction="none")
        return masked_mean(each, label != IGNORE)

    def _pseudo(self, net: Backbone, labeled: Samples, unlabeled: Samples, phase: int) -> Tensor:
        teacher = self.net(phase - 1)
        with evaluating(self.nets):
            decoded = decoder_map(teacher, unlabeled.image)
            label = self._pseudo_labels(unlabeled, decoded, phase)
            agreement, shared = self._query(teacher, labeled, decoded, label)
        with frozen_statistics(net):
            logits = net(unlabeled.strong[0])
        counted = unlabeled.valid
        if phase == 1:
            counted = counted & self.reliable[unlabeled.index].view(-1, 1, 1)
        self.notes["queried"] = (shared != NONE).float().mean()
        self.notes["foreground"] = ((label > 0) & counted).float().mean()
        return masked_mean(rectified(logits, label.masked_fill(~counted, IGNORE), agreement, shared), counted)

    def _pseudo_labels(self, unlabeled: Samples, decoded: Tensor, phase: int) -> Tensor:
        """Labels (B, H, W) by the previous network, whose decoder map is given; in the last stage reliable images keep the
        first network's."""
        if phase == 1:
            return self._labels(self.net(0), unlabeled.image, decoded)
        first = self.reliable[unlabeled.index]
        label = torch.zeros_like(unlabeled.valid, dtype=torch.int64)
        if bool(first.any()):
            label[first] = self._labels(self.net(0), unlabeled.image[first])
        if not bool(first.all()):
            label[~first] = self._labels(self.net(1), unlabeled.image[~first], decoded[~first])
        return label

    def _query(self, teacher: Backbone, labeled: Samples, maps: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """S (B, H, W) of unlabeled images by their decoder maps, and the class (B,) that each shares with the labeled image it
        queries."""
        candidates = holds(labeled.target, self.classes, self.options.least_area) & self.queried[labeled.index]
        found = holds(label, self.classes, self.options.least_area)
        shared = drawn(found & candidates.any(0))
        chosen = drawn(candidates.T[shared.clamp(min=0)]).clamp(min=0)
        decoded = decoder_map(teacher, labeled.image)[chosen]
        vectors = mean_features(teacher, decoded, labeled.target[chosen] == shared.view(-1, 1, 1))
        return consistency_map(teacher, maps, vectors, label.shape[1:]), shared

    def _labels(self, net: Backbone, images: Tensor, decoded: Tensor | None = None) -> Tensor:
        """The most likely classes (B, H, W) by the mean over scales and a flip. decoded: the finest decoder map of the images,
        if it is known already."""
        size, total = images.shape[2:], torch.zeros((), device=images.device)
        for scale in self.options.scales:
            sides = [max(1, round(side * scale / net.divisor)) * net.divisor for side in size]
            scaled = images if scale == 1.0 else F.interpolate(images, sides, mode="bilinear")
            if decoded is not None and scale == 1.0:
                upright = net.enlarge(net.decoder.head(decoded), size)
            else:
                upright = net(scaled)
            p = net.enlarge(upright.float().softmax(1), size)
            mirrored = net.enlarge(net(scaled.flip(-1)).float().softmax(1), size)
            total = total + p + mirrored.flip(-1)
        return total.argmax(1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W) of the network of the current stage."""
        return self.net(int(self.phase))(images)

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """The network of the last stage so far."""
        return {"main": self}


def decoder_map(net: Backbone, images: Tensor) -> Tensor:
    """The finest decoder map, (B, D, h, w)."""
    return net.decoder(net.encode(images))[0]


def least(scores: Tensor, share: float) -> Tensor:
    """bool (N,): of the finite scores the share of the lowest ones, at least one; without a finite one, none."""
    finite = torch.isfinite(scores)
    count = max(1, math.floor(share * int(finite.sum())))
    chosen = torch.zeros_like(finite)
    chosen[scores.argsort(stable=True)[:count]] = True
    return chosen & finite


def by_image(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Sums the rows (B, K) of batches by the index (B,) of their image, whose tiles they are -> (N, K)."""
    index, rows = (torch.cat(column) for column in zip(*parts, strict=True))
    return rows.new_zeros(int(index.max()) + 1, rows.shape[1]).index_add_(0, index, rows)
