"""SemSim and SemSim^- (arXiv 2410.13486, 2024), in 2D and 3D. Equation numbers are the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbones, Batch, Clock, Losses, Method, Samples, Stream, Task, Term, UnsupportedError
from semibench.blocks import colour_jitter, cutmix_mask, dice_between, dice_ce, evaluating, masked_mean
from semibench_plugins.methods.systems.semsim.affinity import refined, spread
from semibench_plugins.methods.systems.semsim.fusion import CONV, SCALES, PlainFusion, SpatialAwareFusion
from semibench_plugins.methods.systems.semsim.options import SemSimOptions, View
from semibench_plugins.methods.systems.semsim.prototypes import (
    Grid,
    Prototypes,
    certainty,
    local_prototypes,
    prototype_cosines,
    resized_label,
    voted,
)
from semibench_plugins.methods.systems.semsim.pseudo import PseudoLabels, WeakPredictions, nearest, resized
from semibench_plugins.methods.systems.semsim.settings import CODE_PRESETS, presets

VIEWS: tuple[View, ...] = (1, 2)


@dataclass(frozen=True)
class Weak:
    """One pass over labeled images and weak views. logits, maps: of all images, labeled first; prototypes: of the labeled
    images; predictions: on the weak views."""

    logits: Tensor
    maps: list[Tensor]
    prototypes: Prototypes
    predictions: WeakPredictions


@dataclass(frozen=True)
class Strong:
    """One view of the strong pass. logits: the decoder's, None if no loss needs them; features: (B, D, *grid)."""

    logits: Tensor | None
    features: Tensor
    labels: PseudoLabels


class SemSim(Method):
    """FixMatch on two strong views, plus two more predictions that must match those of the weak view: one refined by the
    affinity of features within the image, one by similarity to class prototypes of the labeled images.

    f: features of a fusion of encoder maps; z: logits of the decoder; p = softmax(z); I: linear resize to the grid of f.
    L_u (Eq. 1): Dice of p_s (view S1) with the label of p_w, where max p_w >= tau.
    L_intra (Eq. 4 to 6): z_in = I(z) + I(z) M, M(k1, k2) = softmax over k1 of cos(f(k1), f(k2)), view S1; Dice with the
    label of p_1w, the same of the weak view, where max p_1w >= tau.
    L_cross (Eq. 7 to 12 its parts, 13 the loss): p_cr(c) = sum_j exp m(j, c) / sum_c' sum_j exp m(j, c'), view S2, m the
    cosine with the prototype of class c of labeled image j in the position's region (N x N regions; if the region lacks
    the class, the whole image); mean of CE(p_2w, p_cr) where confident, times mean_j exp(-r KL(q(j) || mean q)).
    L = (L_sup + L_u / 2 + L_intra / 4 + L_cross / 4) / 2 (Eq. 18, 19), L_sup = (CE + Dice) / 2 (Eq. 2). Term weights are
    the products. `feature` is UniMatch's additional stream (weak view, channel dropout); its weight is 0, and then it isn't
    computed and logs 0.

    Where the printed equations don't work, the defaults are: the affinity refines logits (on probabilities the sum is not a
    distribution, and nearly flat rows swamp small structures) and is normalised over the summed index; the divergence
    compares softmaxes (cosines may be negative); L_cross is gated by max p_w, since a softmax of cosines never reaches .95
    (alternative: cross_gate="own" with temperature=.1); a labeled image has no vote for a class that it lacks. The
    decoder's logits in the refinement and the prototypes are constants. Preset `code` sets the options to what the released
    predecessor (MedicalMatch) does; how it divides the images among forward passes isn't reproduced.

    Strong views are cut-mixed with another image of the batch, and predictions with the same boxes. The pasted images are
    labeled after the training pass, which has moved the running statistics; UniMatch's code labels them before it. Channel
    dropout acts on the encoder maps of strong views. In 3D, windows have half the side (4, 2, 1) and the affinity uses a grid
    with half the side of f (1/8 of the image with a U-Net or V-Net). No state carries over between iterations. Inference: the
    network, with running statistics of weak and strong views, as in the lineage's code.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(0.5),
        "pixel": Term(0.25, search=(0.05, 0.5), unlabeled=True),
        "intra": Term(0.125, search=(0.005, 0.5), unlabeled=True),
        "cross": Term(0.125, search=(0.005, 0.5), unlabeled=True),
        "feature": Term(0.0, search=(0.05, 0.5), unlabeled=True),
    }
    streams: ClassVar[Mapping[str, Stream]] = {"labeled": Stream("labeled"), "unlabeled": Stream("unlabeled", strong=2)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **presets(),
        **CODE_PRESETS,
    }
    rehearsal_options: ClassVar[Mapping[str, Any]] = {"threshold": 0.3, "cells": 2, "width": 32, "rate": 10.0}

    class Options(SemSimOptions, frozen=True, extra="forbid"):
        """Options of `semsim`."""

    def __init__(self, task: Task, backbones: Backbones, options: SemSimOptions) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.classes = len(task.classes)
        self.net = backbones()
        self.levels = [n for n, stride in enumerate(self.net.strides) if stride > 1][:SCALES]
        window = options.window or (2 if task.dims == 2 else 1)
        self._check(task.patch, window)
        channels = [self.net.channels[level] for level in self.levels]
        self.fusion: nn.Module = (
            PlainFusion(channels, task.dims, width=options.width)
            if options.features == "convolution"
            else SpatialAwareFusion(
                channels, task.dims, width=options.width, window=window, blocks=options.blocks,
                scaled=options.scaled_attention, fusion=options.fusion,
            )
        )  # fmt: skip
        pair = 2 if options.affinity == "projected" else 0
        self.projections = nn.ModuleList(CONV[task.dims](options.width, self.classes, 1) for _ in range(pair))
        self.dropout = (nn.Dropout2d, nn.Dropout3d)[task.dims - 2](options.channel_dropout)
        self.pool = options.affinity_pool or task.dims - 1

    def _check(self, patch: Sequence[int], window: int) -> None:
        strides = [self.net.strides[level] for level in self.levels]
        name = type(self.net).__name__
        if len(strides) < SCALES or any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
            raise UnsupportedError(
                f"semsim fuses three consecutive scales below image resolution, but {name} has the strides {self.net.strides}"
            )
        unit = strides[-1] * window
        if self.options.features == "fusion" and any(side % unit for side in patch):
            raise UnsupportedError(
                f"the windows of semsim's fusion cover {unit} pixels ({name}, window={window}): expected a patch whose sides "
                f"are multiples of {unit}, got {tuple(patch)}; set window=1 or another patch"
            )

    def fused(self, maps: Sequence[Tensor]) -> Tensor:
        """Encoder maps -> features f (B, D, *grid), Eq. 14 to 17."""
        return self.fusion([maps[level] for level in self.levels])

    def refine(self, logits: Tensor, features: Tensor, valid: Tensor) -> Tensor:
        """z_in (B, K, *coarse), Eq. 4, 5; valid: bool (B, *spatial)."""
        size = tuple(max(1, side // self.pool) for side in features.shape[2:])
        pooled = F.interpolate(features, size, mode="area") if self.pool > 1 else features
        z = resized(logits.float(), size)
        on_probabilities = self.options.refine == "probabilities"
        if self.projections:
            first, second = (layer(pooled).float().flatten(2) for layer in self.projections)
            scale = self.classes**-0.5
        else:
            first = second = F.normalize(pooled.float().flatten(2), dim=1)
            scale = 1.0 / self.options.affinity_temperature
        around = spread(
            (z.softmax(1) if on_probabilities else z).flatten(2), first, second, scale=scale,
            normalise=self.options.normalise, valid=nearest(valid, size).flatten(1),
        ).reshape(z.shape)  # fmt: skip
        return refined(z, around, residual=self.options.residual, probabilities=on_probabilities)

    def prototypes_of(self, features: Tensor, label: Tensor) -> Prototypes:
        """Prototypes of labeled images (Eq. 7 to 12). features: (J, D, *grid); label: (J, *spatial)."""
        size = tuple(features.shape[2:])
        small = resized_label(label, size, linear=self.options.label_resize == "linear")
        return local_prototypes(features, small, self.classes, Grid(size, self.options.cells, self.options.overlap))

    def compare(self, features: Tensor, prototypes: Prototypes) -> tuple[Tensor, Tensor | None]:
        """Logits of p_cr (B, K, *grid) and, if `uncertainty` is on, the certainty of the votes (B, 1, *grid); Eq. 7 to 12."""
        size = features.shape[2:]
        m, counted = prototype_cosines(features, prototypes)
        logits = voted(m, counted, temperature=self.options.temperature, votes=self.options.votes)
        sure = certainty(m, counted, self.options.rate).view(-1, 1, *size) if self.options.uncertainty else None
        return logits.unflatten(2, size), sure

    def _weak(self, labeled: Samples, unlabeled: Samples) -> Weak:
        count, size = len(labeled.image), labeled.image.shape[2:]
        maps = self.net.encode(torch.cat([labeled.image, unlabeled.image]))
        logits = self.net.decode(maps, size)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.options.detach_prototypes):
            features = self.fused(maps)
            prototypes = self.prototypes_of(features[:count], labeled.target)
        with torch.no_grad():
            weak, own = logits[count:].detach(), features[count:].detach()
            if not self._all_kinds:
                return Weak(logits, maps, prototypes, WeakPredictions({"decoder": weak}))
            cross, sure = self.compare(own, prototypes)
            kinds = {"decoder": weak, "intra": self.refine(weak, own, unlabeled.valid), "cross": cross}
        return Weak(logits, maps, prototypes, WeakPredictions(kinds, sure))

    @property
    def _all_kinds(self) -> bool:
        """Whether weak views need more predictions than the decoder's."""
        options = self.options
        voting = options.uncertainty and options.uncertainty_view == "weak"
        return options.pseudo != "decoder" or options.cross_gate == "own" or voting

    def _partner(self, labeled: Samples, unlabeled: Samples, own: WeakPredictions) -> WeakPredictions:
        """Predictions on the images for pasting them into others."""
        if self.options.partner == "train" or self.options.cutmix == 0.0:
            return own
        with evaluating(self):
            if self._all_kinds:
                return self._weak(labeled, unlabeled).predictions
            return WeakPredictions({"decoder": self.net(unlabeled.image)})

    def _labels(self, own: WeakPredictions, partner: WeakPredictions, valid: Tensor, box: Tensor) -> PseudoLabels:
        options = self.options
        return PseudoLabels(own, partner, valid, box, options.pseudo, options.targets, options.threshold)

    def _strong(self, unlabeled: Samples, labels: Mapping[View, PseudoLabels]) -> dict[View, Strong]:
        """Runs one pass over both strong views and decodes only those that a loss needs."""
        options, count = self.options, len(unlabeled.image)
        images = []
        for view, strong in zip(VIEWS, unlabeled.strong, strict=True):
            jittered = colour_jitter(strong, saturation=options.saturation, hue=options.hue)
            images.append(labels[view].mixed(jittered, jittered))
        maps = self.net.encode(torch.cat(images))
        if options.channel_dropout_on == "strong":
            maps = [self.dropout(one) for one in maps]
        features = dict(zip(VIEWS, self.fused(maps).split(count), strict=True))
        decoded = sorted({*options.pixel_views, options.intra_view})
        to_decode = [torch.cat([one.split(count)[view - 1] for view in decoded]) for one in maps]
        logits = dict(zip(decoded, self.net.decode(to_decode, images[0].shape[2:]).split(count), strict=True))
        return {view: Strong(logits.get(view), features[view], labels[view]) for view in VIEWS}

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part; pixel, intra, cross: strong views; feature: weak views with channel dropout, if weighted."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        count = len(labeled.image)
        weak = self._weak(labeled, unlabeled)
        partner = self._partner(labeled, unlabeled, weak.predictions)
        size = unlabeled.image.shape[2:]
        labels: dict[View, PseudoLabels] = {}
        for view in VIEWS:
            box = cutmix_mask(size, batch=len(unlabeled.image), probability=self.options.cutmix, like=unlabeled.image)
            labels[view] = self._labels(weak.predictions, partner, unlabeled.valid, box)
        strong = self._strong(unlabeled, labels)
        pixel = [self._pixel(strong[view].logits, labels[view], size) for view in self.options.pixel_views]
        return {
            "sup": dice_ce(weak.logits[:count], labeled.target),
            "pixel": torch.stack(pixel).mean(),
            "intra": self._intra(strong[self.options.intra_view]),
            "cross": self._cross(strong[self.options.cross_view], weak.prototypes),
            "feature": self._feature(weak, unlabeled, count),
        }

    def _at_loss_resolution(self, logits: Tensor, labels: PseudoLabels) -> Tensor:
        return resized(logits, labels.box.shape[1:]) if self.options.resolution == "image" else logits

    def _pixel(self, logits: Tensor | None, labels: PseudoLabels, size: Sequence[int]) -> Tensor:
        """Eq. 1."""
        if logits is None:
            raise LookupError("a strong view of L_u was not decoded")
        target, confident = labels.target("decoder", size)
        self.notes["kept"] = confident.float().mean()
        return dice_between(logits, target, confident)

    def _intra(self, view: Strong) -> Tensor:
        """Eq. 6."""
        if view.logits is None:
            raise LookupError("the strong view of L_intra was not decoded")
        logits = view.logits.detach() if self.options.detach_logits else view.logits
        refined_logits = self.refine(logits, view.features, view.labels.counted(view.labels.box.shape[1:]))
        z = self._at_loss_resolution(refined_logits, view.labels)
        target, confident = view.labels.target("intra", z.shape[2:])
        self.notes["kept_intra"] = confident.float().mean()
        return dice_between(z, target, confident)

    def _cross(self, view: Strong, prototypes: Prototypes) -> Tensor:
        """Eq. 13; classes that no labeled image has are left out."""
        logits, sure = self.compare(view.features, prototypes)
        logits = self._at_loss_resolution(logits, view.labels)
        size = logits.shape[2:]
        gate = "decoder" if self.options.cross_gate == "decoder" else "cross"
        target, confident = view.labels.target("cross", size, gate=gate)
        seen = prototypes.seen.any(0)
        target = target * seen.view(1, -1, *[1] * len(size))
        if self.options.cross_loss == "dice":
            return dice_between(logits, target, confident)
        each = -(target * logits.log_softmax(1)).sum(1) * confident
        if self.options.uncertainty_view == "weak" and self.options.uncertainty:
            own, partner = view.labels.own.certainty, view.labels.partner.certainty
            sure = sure if own is None or partner is None else view.labels.mixed(own, partner)
        if sure is not None:
            self.notes["certainty"] = sure.mean()
            each = each * resized(sure, size)[:, 0]
        return masked_mean(each, view.labels.counted(size))

    def _feature(self, weak: Weak, unlabeled: Samples, count: int) -> Tensor:
        """UniMatch's stream: the decoder on maps of weak views with channel dropout, against the decoder's labels."""
        if self.terms["feature"].weight == 0.0:
            return weak.logits.new_zeros(())
        size = unlabeled.image.shape[2:]
        logits = self.net.decode([self.dropout(one[count:]) for one in weak.maps], size)
        nothing = torch.zeros_like(unlabeled.valid)
        labels = self._labels(weak.predictions, weak.predictions, unlabeled.valid, nothing)
        return dice_between(logits, *labels.target("decoder", size))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of encoder and decoder; the fusion doesn't run."""
        return self.net(images)


class SemSimMinus(SemSim):
    """SemSim with a plain convolution of the middle scale instead of the spatial-aware fusion; all else is the same."""

    class Options(SemSim.Options, frozen=True, extra="forbid"):
        """Options of `semsim-minus`: those of `semsim` with a different default."""

        features: Literal["fusion", "convolution"] = Field(
            "convolution", description="a plain convolution, or the spatial-aware fusion"
        )
