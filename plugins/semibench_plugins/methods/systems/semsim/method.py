"""SemSim and SemSim^- (arXiv 2410.13486, 2024), in 2D and 3D. Equation numbers are those of the paper."""

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
    likeness,
    local_prototypes,
    resized_label,
    voted,
)
from semibench_plugins.methods.systems.semsim.pseudo import PseudoLabels, Said, nearest, resized
from semibench_plugins.methods.systems.semsim.settings import CODE_PRESETS, presets

VIEWS: tuple[View, ...] = (1, 2)


@dataclass(frozen=True)
class Weak:
    """One pass over labeled images and weak views. logits, maps: of all, labeled ones first; prototypes: of the labeled
    ones; said: of the weak views."""

    logits: Tensor
    maps: list[Tensor]
    prototypes: Prototypes
    said: Said


@dataclass(frozen=True)
class Strong:
    """One view of the strong pass. logits: of the decoder, None for a view that no loss decodes; features: (B, D, *grid)."""

    logits: Tensor | None
    features: Tensor
    labels: PseudoLabels


class SemSim(Method):
    """FixMatch on two strong views, with two more predictions that are held to those of the weak view: one refined by
    the affinity of the features within the image, one by likeness to class prototypes of the labeled images.

    f: features of a fusion of encoder maps; z: logits of the decoder; p = softmax(z); I: linear resize to the grid of f.
    L_u (Eq. 1): Dice of p_s (view S1) with the label of p_w, where max p_w >= tau.
    L_intra (Eq. 4 to 6): z_in = I(z) + I(z) M, M(k1, k2) = softmax over k1 of cos(f(k1), f(k2)), view S1; Dice with the
    label of p_1w, the same of the weak view, where max p_1w >= tau.
    L_cross (Eq. 7 to 12 its parts, 13 the loss): p_cr(c) = sum_j exp m(j, c) / sum_c' sum_j exp m(j, c'), view S2, m the
    cosine with the prototype of class c of labeled image j in the region of the position (N x N regions; the whole image's
    where the region has none); mean of CE(p_2w, p_cr) where confident, times mean_j exp(-r KL(q(j) || mean q)).
    L = (L_sup + L_u / 2 + L_intra / 4 + L_cross / 4) / 2 (Eq. 18, 19), L_sup = (CE + Dice) / 2 (Eq. 2). Weights are
    multiplied out. `feature` is the further stream of UniMatch (weak view, channel dropout): weight 0, not computed then and
    logged as 0.

    Where the printed equations can't be followed the default is: the affinity works on logits (on probabilities the sum is
    no distribution, and nearly flat rows swamp small structures) and is normalised over the summed index; the divergence is
    that of softmaxes (cosines may be negative); L_cross is gated by max p_w, since a softmax of cosines never reaches .95
    (options cross_gate="own" with temperature=.1 otherwise); a class that a labeled image lacks has no vote. The decoder's
    logits in the refinement and the prototypes are constants. Preset `code`: what the released predecessor (MedicalMatch)
    does instead, by named options; how it divides the images among forward passes isn't reproduced.

    Strong views are cut-mixed with another image of the batch, predictions with the same boxes; channel dropout acts on the
    encoder maps of strong views. In 3D windows have half the side (4, 2, 1) and the affinity is taken on a grid of half the
    side of f (1/8 of the image with a U-Net or V-Net). Nothing is remembered between iterations. Inference: the network.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(0.5),
        "pixel": Term(0.25, search=(0.05, 0.5)),
        "intra": Term(0.125, search=(0.005, 0.5)),
        "cross": Term(0.125, search=(0.005, 0.5)),
        "feature": Term(0.0, search=(0.05, 0.5)),
    }
    streams: ClassVar[Mapping[str, Stream]] = {"labeled": Stream("labeled"), "unlabeled": Stream("unlabeled", strong=2)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **presets(),
        **CODE_PRESETS,
    }
    rehearsal_options: ClassVar[Mapping[str, Any]] = {"threshold": 0.3, "cells": 2, "width": 32, "rate": 10.0}
    known_failures: ClassVar[Mapping[str, str]] = {
        "unlabeled_samples_help": "Dice .771 against .840 with the labels alone (with another seed .888 against .878)"
    }

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
                f"semsim fuses three consecutive scales below the image's; {name} has the strides {self.net.strides}"
            )
        unit = strides[-1] * window
        if self.options.features == "fusion" and any(side % unit for side in patch):
            raise UnsupportedError(
                f"the windows of semsim's fusion cover {unit} pixels ({name}, window={window}): expected a patch whose sides "
                f"are multiples of it, got {tuple(patch)}; set window=1 or another patch"
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

    def remember(self, features: Tensor, label: Tensor) -> Prototypes:
        """Prototypes of labeled images (Eq. 7 to 12). features: (J, D, *grid); label: (J, *spatial)."""
        size = tuple(features.shape[2:])
        small = resized_label(label, size, linear=self.options.label_resize == "linear")
        return local_prototypes(features, small, self.classes, Grid(size, self.options.cells, self.options.overlap))

    def compare(self, features: Tensor, prototypes: Prototypes) -> tuple[Tensor, Tensor | None]:
        """Logits of p_cr (B, K, *grid) and the certainty of the votes (B, 1, *grid), where it is asked for (Eq. 7 to 12)."""
        size = features.shape[2:]
        m, counted = likeness(features, prototypes)
        logits = voted(m, counted, temperature=self.options.temperature, votes=self.options.votes)
        sure = certainty(m, counted, self.options.rate).view(-1, 1, *size) if self.options.uncertainty else None
        return logits.unflatten(2, size), sure

    def _weak(self, labeled: Samples, unlabeled: Samples) -> Weak:
        count, size = len(labeled.image), labeled.image.shape[2:]
        maps = self.net.encode(torch.cat([labeled.image, unlabeled.image]))
        logits = self.net.decode(maps, size)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.options.detach_prototypes):
            features = self.fused(maps)
            prototypes = self.remember(features[:count], labeled.target)
        with torch.no_grad():
            weak, own = logits[count:].detach(), features[count:].detach()
            if not self._all_kinds:
                return Weak(logits, maps, prototypes, Said({"decoder": weak}))
            cross, sure = self.compare(own, prototypes)
            kinds = {"decoder": weak, "intra": self.refine(weak, own, unlabeled.valid), "cross": cross}
        return Weak(logits, maps, prototypes, Said(kinds, sure))

    @property
    def _all_kinds(self) -> bool:
        """Whether weak views need more than the decoder."""
        chosen = self.options
        voting = chosen.uncertainty and chosen.uncertainty_view == "weak"
        return chosen.pseudo != "decoder" or chosen.cross_gate == "own" or voting

    def _partner(self, labeled: Samples, unlabeled: Samples, said: Said) -> Said:
        """What is said of images that are pasted into others."""
        if self.options.partner == "train" or self.options.cutmix == 0.0:
            return said
        with evaluating(self):
            if self._all_kinds:
                return self._weak(labeled, unlabeled).said
            return Said({"decoder": self.net(unlabeled.image)})

    def _labels(self, own: Said, partner: Said, valid: Tensor, box: Tensor) -> PseudoLabels:
        chosen = self.options
        return PseudoLabels(own, partner, valid, box, chosen.pseudo, chosen.targets, chosen.threshold)

    def _strong(self, unlabeled: Samples, labels: Mapping[View, PseudoLabels]) -> dict[View, Strong]:
        """One pass over both strong views; only views that a loss asks for are decoded."""
        chosen, count = self.options, len(unlabeled.image)
        images = []
        for view, given in zip(VIEWS, unlabeled.strong, strict=True):
            changed = colour_jitter(given, saturation=chosen.saturation, hue=chosen.hue)
            images.append(labels[view].mixed(changed, changed))
        maps = self.net.encode(torch.cat(images))
        if chosen.channel_dropout_on == "strong":
            maps = [self.dropout(one) for one in maps]
        features = dict(zip(VIEWS, self.fused(maps).split(count), strict=True))
        decoded = sorted({*chosen.pixel_views, chosen.intra_view})
        kept = [torch.cat([one.split(count)[view - 1] for view in decoded]) for one in maps]
        logits = dict(zip(decoded, self.net.decode(kept, images[0].shape[2:]).split(count), strict=True))
        return {view: Strong(logits.get(view), features[view], labels[view]) for view in VIEWS}

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part; pixel, intra, cross: strong views; feature: weak views with channel dropout, if it has a weight."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        count = len(labeled.image)
        weak = self._weak(labeled, unlabeled)
        partner = self._partner(labeled, unlabeled, weak.said)
        size = unlabeled.image.shape[2:]
        labels: dict[View, PseudoLabels] = {}
        for view in VIEWS:
            box = cutmix_mask(size, batch=len(unlabeled.image), probability=self.options.cutmix, like=unlabeled.image)
            labels[view] = self._labels(weak.said, partner, unlabeled.valid, box)
        strong = self._strong(unlabeled, labels)
        pixel = [self._pixel(strong[view].logits, labels[view], size) for view in self.options.pixel_views]
        return {
            "sup": dice_ce(weak.logits[:count], labeled.target),
            "pixel": torch.stack(pixel).mean(),
            "intra": self._intra(strong[self.options.intra_view]),
            "cross": self._cross(strong[self.options.cross_view], weak.prototypes),
            "feature": self._feature(weak, unlabeled, count),
        }

    def _place(self, logits: Tensor, labels: PseudoLabels) -> Tensor:
        return resized(logits, labels.box.shape[1:]) if self.options.resolution == "image" else logits

    def _pixel(self, logits: Tensor | None, labels: PseudoLabels, size: Sequence[int]) -> Tensor:
        """Eq. 1."""
        if logits is None:
            raise LookupError("a strong view of L_u was not decoded")
        target, kept = labels.target("decoder", size)
        self.notes["kept"] = kept.float().mean()
        return dice_between(logits, target, kept)

    def _intra(self, view: Strong) -> Tensor:
        """Eq. 6."""
        if view.logits is None:
            raise LookupError("the strong view of L_intra was not decoded")
        logits = view.logits.detach() if self.options.detach_logits else view.logits
        z = self._place(self.refine(logits, view.features, view.labels.counted(view.labels.box.shape[1:])), view.labels)
        target, kept = view.labels.target("intra", z.shape[2:])
        self.notes["kept_intra"] = kept.float().mean()
        return dice_between(z, target, kept)

    def _cross(self, view: Strong, prototypes: Prototypes) -> Tensor:
        """Eq. 13; a class that no labeled image has is left out."""
        logits, sure = self.compare(view.features, prototypes)
        logits = self._place(logits, view.labels)
        size = logits.shape[2:]
        gate = "decoder" if self.options.cross_gate == "decoder" else "cross"
        target, kept = view.labels.target("cross", size, gate=gate)
        known = prototypes.seen.any(0)
        target = target * known.view(1, -1, *[1] * len(size))
        if self.options.cross_loss == "dice":
            return dice_between(logits, target, kept)
        each = -(target * logits.log_softmax(1)).sum(1) * kept
        if self.options.uncertainty_view == "weak" and self.options.uncertainty:
            own, partner = view.labels.own.certainty, view.labels.partner.certainty
            sure = sure if own is None or partner is None else view.labels.mixed(own, partner)
        if sure is not None:
            self.notes["certainty"] = sure.mean()
            each = each * resized(sure, size)[:, 0]
        return masked_mean(each, view.labels.counted(size))

    def _feature(self, weak: Weak, unlabeled: Samples, count: int) -> Tensor:
        """UniMatch's stream: the decoder on weak views' maps with channel dropout, labeled by the decoder."""
        if self.terms["feature"].weight == 0.0:
            return weak.logits.new_zeros(())
        size = unlabeled.image.shape[2:]
        logits = self.net.decode([self.dropout(one[count:]) for one in weak.maps], size)
        nothing = torch.zeros_like(unlabeled.valid)
        labels = self._labels(weak.said, weak.said, unlabeled.valid, nothing)
        return dice_between(logits, *labels.target("decoder", size))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of encoder and decoder; the fusion is not run."""
        return self.net(images)


class SemSimMinus(SemSim):
    """SemSim with a plain convolution of the middle scale in place of the spatial-aware fusion; all else is the same."""

    known_failures: ClassVar[Mapping[str, str]] = {}

    class Options(SemSim.Options, frozen=True, extra="forbid"):
        """Options of `semsim-minus`: those of `semsim` with another default."""

        features: Literal["fusion", "convolution"] = Field(
            "convolution", description="a plain convolution, or the spatial-aware fusion"
        )
