"""CSC-PA: prototype attention across images and a pixel affinity loss (Ding et al., CVPR 2025), in 2D."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from semibench import (
    IGNORE,
    Backbones,
    Batch,
    Clock,
    Confidence,
    Method,
    MethodOptions,
    Optimise,
    Samples,
    Task,
    Term,
    UsageError,
)
from semibench.blocks import cross_entropy, frozen_statistics
from semibench_plugins.methods.systems.csc_pa import affinity, edges, masking, presets, prototypes

PUBLISHED_SLOTS = 256
PUBLISHED_SIDE = 129
"""Side of the feature map for crops of 513."""
FEWEST_SLOTS = 8


@dataclass(frozen=True)
class Pass:
    """One pass over both halves. features: F' (B, C, h, w); coarse: its logits (B, K, h, w); logits: at image size."""

    features: Tensor
    coarse: Tensor
    logits: Tensor

    def part(self, first: int | None, last: int | None) -> Pass:
        """Returns the samples from `first` to `last`."""
        return Pass(self.features[first:last], self.coarse[first:last], self.logits[first:last])


class CSCPA(Method):
    """One network without a teacher takes two optimiser steps per iteration.

    F is the decoder's map before the classifier (512 channels at stride 4 in `deeplabv3plus`). The classifier sees
    F' = F + F_f + F_e (equation 11). F_f is what labeled and unlabeled images of the batch exchange through channel
    prototypes (`prototypes`, equations 1 to 6); F_e measures how close each pixel is to the mean of a container of edge
    features (`edges`, equations 7 to 10). Stage 1 on (x^l, x^u): L1 = CE(x^l) + PAL_l. Stage 2 on (x^l, x^m), x^m = x^u
    with easy patches hidden (`masking`): L2 = CE(x^l) + CE(x^m, argmax f1(x^u)) + PAL_l + PAL_u (equations 15 to 18),
    PAL the pixel affinity loss (`affinity`, equations 12 to 14). The first twentieth of the run is supervised: L1 alone,
    with the halves of the labeled batch as partners (its size must be even) and no F_e; its last tenth fills the container.

    Scored: `plain`, F alone, which the released code predicts from; and `enhanced`, F' with each image as its own partner and
    the mean of both attention modules (`inference` says which is the default). No label ever passes through the module for
    unlabeled images: pseudo-labels are what it makes of them, so in short runs it ends on background alone, and `enhanced`
    with it. Terms: `sup` and `affinity` occur
    in both stages, `unsup` and `affinity_unlabeled` in the second. PAL is as in the released code, which logs it without a
    gradient, because what the paper prints makes features equal across edges; preset `ours` has a PAL that teaches the
    prediction, preset `printed` takes equations 5 and 12 to the letter. Other options follow the paper; where their
    description mentions "the code" it differs, and presets `<data set>-<share>-code` follow it everywhere. Two things in the
    code are not reproduced: the container stays unchanged for one more epoch, and some labeled images are never drawn.

    Decisions made here: passes over images with hidden patches leave the running statistics alone; edges for E_h come from
    a classification of F + F_f, because F' already needs the container; with more than two classes an edge may belong to
    any class and M compares with the pixel's own class; the number of slots shrinks with the side of F, because a small map
    has fewer edge pixels than 256.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "affinity": Term(),  # not searched: in the default `pal_mode` it has no gradient
        "unsup": Term(1.0, search=(0.1, 3.0), unlabeled=True),
        "affinity_unlabeled": Term(unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = presets.all_presets()

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `csc-pa`."""

        pretraining: float = Field(0.05, ge=0.0, lt=1.0, description="supervised share of the run (10 of 200 epochs)")
        fpa: bool = Field(True, description="foreground prototype attention; false: F_f = 0")
        fpa_form: prototypes.Form = Field(
            "block",
            description="block: norm, residual and output projection (the code); plain: equation 5 to the letter",
        )
        fpa_scale: prototypes.Scale = Field("sqrt_c", description="scaling of the attention; none: the code")
        fpa_softmax: prototypes.Softmax = Field(
            "positions",
            description="axis that a prototype's scores are normalised over; channels: the text to the letter",
        )
        fpa_stride: int = Field(1, ge=1, description="pixels per side in one token; saves time on fine maps")
        epa: bool = Field(True, description="edge prototype attention; false: F_e = 0")
        slots: int | None = Field(
            None,
            ge=1,
            description="slots n of the edge container; default 256 for maps of 129 pixels per side, fewer in proportion",
        )
        edges_of: Literal["current", "late"] = Field(
            "current", description="which iteration's edges enter the container; late: the one before (the code)"
        )
        container_start: edges.Start = Field(
            "random",
            description="initial weights of the container's linear layer: torch's (the code), or the mean (ours)",
        )
        container_learns: bool = Field(
            True, description="train the container's linear layer; false: it keeps its initial weights (the code)"
        )
        epa_softmax: edges.Softmax = Field(
            "hw", description="softmax of edge attention: over all positions, or over rows (the code)"
        )
        epa_temperature: float = Field(1.0, gt=0.0, description="temperature of that softmax")
        epa_gain: float = Field(1.0, ge=0.0, description="factor on F_e; useful range 1 to 1e4 with softmax hw")
        confidence: Literal["threshold", "percentile"] = Field(
            "threshold", description="confident pseudo-labels: p > tau, or entropy below a percentile (the code)"
        )
        tau: Confidence = Field(
            0.8, ge=0.0, lt=1.0, description="lowest confidence that counts; useful range .6 to .95"
        )
        drop: float = Field(
            20.0, ge=0.0, le=100.0, description="percent of pixels that the percentile drops at first; ends at 0"
        )
        pal_mode: affinity.Mode = Field(
            "code",
            description="where PAL's gradient goes: nowhere (the code), cosines (literal: the print), prediction (soft: ours)",
        )
        pal_distribution: affinity.Distribution = Field("hw", description="softmax of PAL; code mode takes row")
        stage2_affinity: Literal["sum", "mean"] = Field("sum", description="PAL_l + PAL_u, or half of it (the code)")
        unsup_filter: Literal["none", "percentile"] = Field(
            "none", description="which pseudo-labels count; percentile: re-weighted by all / counted (the code)"
        )
        unlabeled_padding: Literal["ignored", "counted"] = Field(
            "ignored",
            description="padding of unlabeled crops; counted: with its predicted class, background (the code)",
        )
        mask_ratio: float = Field(0.7, ge=0.0, le=1.0, description="share of easy patches hidden; useful .3 to .9")
        keep_ratio: float = Field(
            0.7, ge=0.0, le=1.0, description="share of doubtful patches kept at first; declines to 0; useful .3 to .9"
        )
        grid: int = Field(masking.GRID, ge=1, description="patches per side")
        masked_statistics: Literal["stay", "move"] = Field(
            "stay",
            description="whether passes over images with hidden patches move batch norm's running statistics (the code)",
        )
        inference: Literal["enhanced", "plain"] = Field(
            "plain",
            description="what the default predictor classifies: F (the code), or F', each image being its own partner",
        )

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """2D only."""
        return None if task.dims == 2 else "it is defined for images only: use a 2D network (--dims 2)"

    def __init__(self, task: Task, backbones: Backbones, options: CSCPA.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.classes = len(task.classes)
        self.net = backbones()
        channels = self.net.decoder.channels[0]
        self.attention = (
            prototypes.ForegroundAttention(
                channels,
                form=options.fpa_form,
                scale=options.fpa_scale,
                stride=options.fpa_stride,
                softmax=options.fpa_softmax,
            )
            if options.fpa
            else None
        )
        side = math.sqrt(math.prod(math.ceil(pixels / self.net.strides[0]) for pixels in task.patch))
        proportional = round(PUBLISHED_SLOTS * side / PUBLISHED_SIDE)
        count = options.slots or min(PUBLISHED_SLOTS, max(FEWEST_SLOTS, proportional))
        self.container = (
            edges.EdgeContainer(count, channels, start=options.container_start, learns=options.container_learns)
            if options.epa
            else None
        )

    # --- parts of a pass ---

    def _encode(self, images: Tensor) -> Tensor:
        return self.net.decoder(self.net.encode(images))[0]

    def _shared(self, features: Tensor, first: int) -> Tensor:
        """F + F_f of a batch; its first `first` samples are one half, the rest the other."""
        if self.attention is None:
            return features
        ours, theirs = self.attention(features[:first], features[first:])
        return features + torch.cat([ours, theirs]).to(features.dtype)

    def _classify(self, features: Tensor, size: torch.Size) -> Pass:
        coarse = self.net.decoder.head(features)
        return Pass(features, coarse, self.net.enlarge(coarse, size))

    def _with_edges(self, features: Tensor, shared: Tensor, slots: Tensor) -> Tensor:
        """F' = F + F_f + F_e (equation 11)."""
        options = self.options
        edge = edges.edge_attention(
            features, slots, softmax=options.epa_softmax, temperature=options.epa_temperature, gain=options.epa_gain
        )
        return shared + edge.to(shared.dtype)

    def _evaluated_logits(self, shared: Tensor) -> Tensor:
        """Logits (B, K, h, w) of F + F_f in eval mode: no gradient, no dropout, no update of running statistics."""
        decoder = self.net.decoder
        modes = [(module, module.training) for module in decoder.modules()]
        decoder.eval()
        with torch.no_grad():
            coarse = decoder.head(shared.detach())
        for module, training in modes:
            module.training = training
        return coarse

    def _confident(self, coarse: Tensor, clock: Clock, among: Tensor | None = None) -> Tensor:
        """bool (B, h, w): True where a prediction (B, K, h, w) is confident."""
        p = coarse.detach().float().softmax(1)
        if self.options.confidence == "threshold":
            return p.amax(1) >= self.options.tau
        percent = masking.percentile(clock.progress, self.options.drop)
        return masking.below_percentile(masking.entropy(p), percent, among)

    def _labeled_edges(self, label: Tensor, coarse: Tensor) -> Tensor:
        """Correctly classified edge pixels of the labels; label and coarse at the resolution of F."""
        filled = torch.where(label != IGNORE, label, torch.zeros_like(label))
        return edges.class_edges(filled, self.classes) & (coarse.detach().argmax(1) == label)

    def _edges(self, features: Tensor, coarse: Tensor, label: Tensor, valid: Tensor, clock: Clock) -> Tensor:
        """E_h (m, C): random edge pixels that are correctly classified (labeled) or confident (unlabeled samples)."""
        first = len(label)
        guess = coarse[first:].detach().argmax(1)
        confident = edges.class_edges(guess, self.classes) & self._confident(coarse[first:], clock, valid) & valid
        mask = torch.cat([self._labeled_edges(label, coarse[:first]), confident])
        assert self.container is not None
        return edges.pick(features, mask, self.container.count)

    # --- the iteration ---

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Takes one supervised step in pre-training; later stage 1, then stage 2 on its prediction."""
        if clock.progress < self.options.pretraining:
            self._pretrain(batch["labeled"], clock, optimise)
            return
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        first = self._first(labeled, unlabeled, clock, optimise)
        self._second(labeled, unlabeled, first, clock, optimise)

    def _pretrain(self, labeled: Samples, clock: Clock, optimise: Optimise) -> None:
        count = len(labeled.image)
        if count % 2 and self.attention is not None:
            raise UsageError(
                f"csc-pa pairs the two halves of the labeled batch in pre-training: expected an even labeled_batch, got "
                f"{count}; set an even labeled_batch, or fpa=false"
            )
        features = self._encode(labeled.image)
        outputs = self._classify(self._shared(features, count // 2), labeled.image.shape[2:])
        label = _coarse(labeled.target, outputs.coarse)
        self._fill(features, outputs.coarse, label, clock)
        optimise({"sup": cross_entropy(outputs.logits, labeled.target), "affinity": self._affinity(outputs, label)})

    def _fill(self, features: Tensor, coarse: Tensor, label: Tensor, clock: Clock) -> None:
        """Fills the container in the last tenth of pre-training and at its last step; the last batch stays."""
        if self.container is None:
            return
        end = self.options.pretraining
        if clock.progress >= 0.9 * end or (clock.step + 1) / clock.steps >= end:
            self.container.fill(edges.pick(features, self._labeled_edges(label, coarse), self.container.count))

    def _first(self, labeled: Samples, unlabeled: Samples, clock: Clock, optimise: Optimise) -> Pass:
        """Runs stage 1 on (x^l, x^u) and returns its pass over x^u, detached."""
        count, size = len(labeled.image), labeled.image.shape[2:]
        features = self._encode(torch.cat([labeled.image, unlabeled.image]))
        label = _coarse(labeled.target, features)
        valid = _coarse(self._counted(unlabeled), features) != IGNORE
        shared = self._shared(features, count)
        enhanced = shared
        if self.container is not None:
            if self.options.edges_of == "late":
                slots = self.container.update(self.container.postponed())
            else:
                coarse = self._evaluated_logits(shared)
                slots = self.container.update(self._edges(features, coarse, label, valid, clock))
            enhanced = self._with_edges(features, shared, slots)
            self.notes["slots"] = self.container.filled.float()
        outputs = self._classify(enhanced, size)
        of_labeled, of_unlabeled = outputs.part(None, count), outputs.part(count, None)
        optimise(
            {"sup": cross_entropy(of_labeled.logits, labeled.target), "affinity": self._affinity(of_labeled, label)}
        )
        if self.container is not None and self.options.edges_of == "late":
            self.container.postpone(self._edges(features, outputs.coarse, label, valid, clock))
        return Pass(of_unlabeled.features.detach(), of_unlabeled.coarse.detach(), of_unlabeled.logits.detach())

    def _second(self, labeled: Samples, unlabeled: Samples, first: Pass, clock: Clock, optimise: Optimise) -> None:
        """Runs stage 2 on (x^l, x^m) with stage 1's prediction of x^u as target."""
        options, count, size = self.options, len(labeled.image), labeled.image.shape[2:]
        probabilities = first.logits.float().softmax(1)
        keep = options.keep_ratio * (1.0 - clock.progress)
        masked = masking.mask_images(
            unlabeled.image, probabilities, keep=keep, mask=options.mask_ratio, grid=options.grid
        )
        with nullcontext() if options.masked_statistics == "move" else frozen_statistics(self):
            features = self._encode(torch.cat([labeled.image, masked]))
            enhanced = self._shared(features, count)
            if self.container is not None:
                enhanced = self._with_edges(features, enhanced, self.container.held())
            outputs = self._classify(enhanced, size)
        of_labeled, of_unlabeled = outputs.part(None, count), outputs.part(count, None)
        counted = self._counted(unlabeled)
        share = 0.5 if options.stage2_affinity == "mean" else 1.0
        label = _coarse(labeled.target, outputs.coarse)
        valid = _coarse(counted, outputs.coarse) != IGNORE
        guess = first.coarse.argmax(1).masked_fill(~valid, IGNORE)
        confident = self._confident(first.coarse, clock, valid)
        self.notes["sure"] = (confident & valid).float().mean()
        optimise(
            {
                "sup": cross_entropy(of_labeled.logits, labeled.target),
                "affinity": share * self._affinity(of_labeled, label),
                "unsup": self._unsupervised(of_unlabeled.logits, probabilities, counted, clock),
                "affinity_unlabeled": share * self._affinity(of_unlabeled, guess, first.features, confident),
            }
        )

    def _counted(self, unlabeled: Samples) -> Tensor:
        """(B, H, W): IGNORE where unlabeled pixels don't count, else 0."""
        blank = torch.zeros_like(unlabeled.valid, dtype=torch.int64)
        return blank if self.options.unlabeled_padding == "counted" else blank.masked_fill(~unlabeled.valid, IGNORE)

    def _unsupervised(self, logits: Tensor, probabilities: Tensor, counted: Tensor, clock: Clock) -> Tensor:
        """CE against stage 1's label (equation 16); with the filter, over confident pixels times all / confident."""
        valid = counted != IGNORE
        target = probabilities.argmax(1).masked_fill(~valid, IGNORE)
        if self.options.unsup_filter == "none":
            return cross_entropy(logits, target)
        percent = masking.percentile(clock.progress, self.options.drop)
        confident = masking.below_percentile(masking.entropy(probabilities), percent, valid) & valid
        factor = valid.sum() / confident.sum().clamp(min=1)
        return factor * cross_entropy(logits, target.masked_fill(~confident, IGNORE))

    def _affinity(
        self, outputs: Pass, label: Tensor, reference: Tensor | None = None, confident: Tensor | None = None
    ) -> Tensor:
        return affinity.pixel_affinity(
            outputs.features,
            outputs.coarse,
            label,
            mode=self.options.pal_mode,
            distribution=self.options.pal_distribution,
            reference=reference,
            confident=confident,
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W) of the default predictor."""
        return self.net(images) if self.options.inference == "plain" else self.enhanced(images)

    def enhanced(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W) of F' with each image as its own partner; independent of the batch.

        F_f is the mean of what the modules for labeled and for unlabeled images give. Each saw half of every training batch,
        so the classifier's running statistics lie between the two, and only the first learned from labels.
        """
        features = self._encode(images)
        shared = features
        if self.attention is not None:
            shared = features + torch.stack(self.attention(features, features)).mean(0).to(features.dtype)
        slots = features.new_zeros(0, features.shape[1]) if self.container is None else self.container.held()
        return self._classify(self._with_edges(features, shared, slots), images.shape[2:]).logits

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """`enhanced` and `plain`, the one of `inference` first; `main` alone if both attentions are off."""
        if self.attention is None and self.container is None:
            return {"main": self}
        both: dict[str, Callable[[Tensor], Tensor]] = {"enhanced": self.enhanced, "plain": self.net}
        return {name: both[name] for name in sorted(both, key=lambda name: name != self.options.inference)}


def _coarse(label: Tensor, like: Tensor) -> Tensor:
    """A label map (B, H, W) at the resolution of `like` (B, C, h, w), nearest neighbour."""
    size = tuple(like.shape[2:])
    if tuple(label.shape[1:]) == size:
        return label.long()
    return F.interpolate(label.unsqueeze(1).float(), size, mode="nearest").squeeze(1).long()
