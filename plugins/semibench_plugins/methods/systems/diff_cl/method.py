"""Diff-CL, in 2D and 3D. We know of no official code; equation and table numbers are the paper's.

The paper leaves much open. Each reading is documented where it is used (`high_frequency`, `propagation`, `presets`,
`diffusion-vnet`), with an option where another reading is possible.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import (
    IGNORE,
    Backbones,
    Batch,
    Clock,
    Method,
    MethodOptions,
    Optimise,
    Optimiser,
    Task,
    Term,
    UnsupportedError,
    UsageError,
)
from semibench.blocks import LabelDiffusion, cross_entropy, one_hot, soft_dice
from semibench_plugins.backbones.diffusion_vnet import FILTERS, DiffusionVNet
from semibench_plugins.methods.pseudo_labels.cps import pseudo_labels
from semibench_plugins.methods.systems.diff_cl.high_frequency import HighFrequencyMamba
from semibench_plugins.methods.systems.diff_cl.presets import PRESETS
from semibench_plugins.methods.systems.diff_cl.propagation import MemoryBank, propagation_loss

BINS = 4
"""Parts of the schedule for which the networks' agreement is logged."""


class DiffCLOptions(MethodOptions, frozen=True, extra="forbid"):
    """Options of `diff-cl`."""

    high_frequency: bool = Field(True, description="the high-frequency Mamba module in the convolutional network")
    threshold: float = Field(
        0.7, ge=0.0, le=1.0, description="high-pass threshold, HF in Table 2; useful range .3 to .9"
    )
    level: int = Field(5, ge=2, description="map that the module acts on; 1 is the finest, 5 the V-Net's bottleneck")
    gate: Literal["sum", "mul"] = Field(
        "sum", description="how the spatial convolution joins its branches: SegMamba's code adds, its text multiplies"
    )
    step_init: Literal["all", "first"] = Field(
        "all", description="which of Mamba's directions start with small steps; SegMamba's code: the first"
    )
    x0_range: Literal["zero-one", "symmetric"] = Field(
        "zero-one", description="values of a clean label map: 0 and 1 (eq. 5) or -1 and 1 (A&D)"
    )
    t_min: int = Field(0, ge=0, le=999, description="smallest diffusion step in training; small steps reveal the label")
    dice: Literal["foreground", "all"] = Field("foreground", description="classes in the Dice losses")
    temperature: float = Field(0.1, gt=0.0, description="tau of eq. 14; useful range .05 to .5")
    anchors: int = Field(256, ge=1, description="p: labeled features per class in the loss")
    samples: int = Field(2048, ge=2, description="q: unlabeled features in the loss")
    extremes: int = Field(64, ge=1, description="k: positives, and negatives, of each class among the q features")
    width: int = Field(64, ge=1, description="d: length of the projected features")
    bank: int = Field(4096, ge=1, description="features stored per class")
    added: int = Field(256, ge=1, description="largest number of features that an iteration adds per class")
    reduction: Literal["mean", "sum"] = Field("mean", description="reduction of eq. 15: mean, or the sum as printed")
    positives: Literal["any", "agreeing"] = Field(
        "any", description="agreeing: positives must have the class as pseudo-label (crops without foreground)"
    )
    score_diffusion: bool = Field(False, description="also score the diffusion network, sampled by DDIM")
    ddim_steps: int = Field(10, ge=2, le=1000, description="sampling steps of DDIM (A&D)")
    ddim_clean: Literal["clip", "softmax"] = Field(
        "clip",
        description="estimate of the clean map in DDIM: clipped logits (A&D), or their softmax in the same range",
    )

    @model_validator(mode="after")
    def _fits(self) -> DiffCLOptions:
        if 2 * self.extremes > self.samples or self.anchors > self.bank:
            raise ValueError("expected 2 extremes <= samples and anchors <= bank")
        return self


class DiffCL(Method):
    """A diffusion network (DS), which denoises label maps given the image, and a convolutional network (CS) with the
    high-frequency Mamba module teach each other (Algorithm 1). Inference: CS alone.

    P_c = CS(x). Clean maps: the labels, or Y_c = argmax P_c for unlabeled samples; noised to a random step t,
    Y_t = sqrt(abar_t) Y_0 + sqrt(1 - abar_t) eps (eq. 5; T = 1000, linear, t uniform: A&D's), P_d = DS(x, Y_t, t), one pass.

    L^d = Dice(P_d^l, y) + b1 CE(P_d^l, y) + mu1 [Dice(P_d^u, Y_c) + l1 CE(P_d^u, Y_c)]
    L^c = Dice(P_c^l, y) + b2 CE(P_c^l, y) + mu2 [Dice(P_c^u, Y_d) + l2 CE(P_c^u, Y_d) + eta L_cl]    (eqs. 6-9, 16-21)

    with Y_d = argmax P_d, no gradient through Y_c and Y_d, and one optimiser per network. Weights here are the products
    (mu2 eta is `contrast`); defaults are those of LA with 8 labels, but for the supervised cross-entropy: its weight is 1.

    Table 2 prints b1 = b2 = beta lambda(t), lambda(t) = 2 exp(-5 (1 - t / 300)^2), t in epochs of 300. The supervised
    cross-entropy then starts at e^-5 of .02 (LA), and CS learns nothing on phantoms: presets `*-printed`, for the record. With
    that loss alone at weight 1 it does learn (`*-ce`, the default). A&D ramps the *unsupervised* losses by the same lambda:
    presets `*-ramp-unsupervised`.

    L_cl (eqs. 11-15, `propagation`): features of labeled positions that DS classifies correctly are stored by class. Among q
    random unlabeled positions in CS, the k nearest to a class's features are pulled towards them and the k farthest pushed
    away. Both finest decoded maps pass one projection head (1-convolution, batch norm, ReLU, 1-convolution), trained via CS.

    Readings. Dice (eqs. 8, 20: absolute values of soft maps) is linear, over foreground classes; cross-entropy (eqs. 9, 21:
    no average) is a mean over positions. The module acts on the bottleneck, x + F_o (the paper says neither where nor
    how). The head, and so its batch norm, sees only the sampled positions. The memory is updated before it is used.

    For small t, DS sees nearly its target. For unlabeled samples that is CS's pseudo-label, so agreement there means little:
    it is logged by quarters of the schedule as agreement_0 .. agreement_3; see option t_min.
    """

    class Options(DiffCLOptions, frozen=True, extra="forbid"):
        """Options of `diff-cl`."""

    terms: Mapping[str, Term] = {
        "diffusion_sup_dice": Term(),
        "diffusion_sup_ce": Term(search=(0.01, 2.0)),
        "diffusion_cross_dice": Term(search=(0.5, 2.0), unlabeled=True),
        "diffusion_cross_ce": Term(search=(0.5, 2.0), unlabeled=True),
        "segmentation_sup_dice": Term(),
        "segmentation_sup_ce": Term(search=(0.01, 2.0)),
        "segmentation_cross_dice": Term(search=(0.5, 2.0), unlabeled=True),
        "segmentation_cross_ce": Term(search=(0.5, 2.0), unlabeled=True),
        "contrast": Term(0.5, search=(1e-4, 1.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    def __init__(self, task: Task, backbones: Backbones, options: DiffCLOptions) -> None:
        super().__init__(task, backbones, options)
        self.options, self.classes = options, len(task.classes)
        self.bounds = (0.0, 1.0) if options.x0_range == "zero-one" else (-1.0, 1.0)
        self.segmentation = backbones()
        first = self.segmentation.decoder.channels[0]
        diffusion = backbones("diffusion-vnet", width=first / FILTERS)
        if not isinstance(diffusion, DiffusionVNet):
            raise UnsupportedError(f"diff-cl needs the backbone diffusion-vnet of this package, got {type(diffusion)}")
        self.diffusion, self.schedule = diffusion, LabelDiffusion()
        self.filter = self._filter(task) if options.high_frequency else None
        self.head = nn.Sequential(
            nn.Linear(first, options.width), nn.BatchNorm1d(options.width), nn.ReLU(), nn.Linear(options.width, options.width)
        )  # fmt: skip
        self.bank = MemoryBank(self.classes, options.bank, options.width)

    def _filter(self, task: Task) -> HighFrequencyMamba:
        options, net = self.options, self.segmentation
        if options.level > len(net.channels):
            raise UsageError(f"level={options.level}: {type(net).__name__} has only maps 1 to {len(net.channels)}")
        size = [side // net.strides[options.level - 1] for side in task.patch]
        if prod(size) < 2:
            raise UnsupportedError(
                f"diff-cl: map {options.level} of a patch of {tuple(task.patch)} has a single position, too few for the "
                "high-frequency module; use a larger patch, a smaller level or high_frequency=false"
            )
        channels = net.channels[options.level - 1]
        return HighFrequencyMamba(
            channels, task.dims, options.threshold, gate=options.gate, step_init=options.step_init
        )

    # --- the networks ---

    def segment(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """CS: (B, C, *spatial) -> finest decoded map, logits (B, K, *spatial)."""
        features = self.segmentation.encode(images)
        if self.filter is not None:
            level = self.options.level - 1
            features[level] = features[level] + self.filter(features[level])
        decoder = self.segmentation.decoder
        finest = decoder(features)[0]
        return finest, _resized(decoder.head(finest), images.shape[2:])

    def denoise(self, images: Tensor, noisy: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """DS: images, noisy label maps (B, K, *spatial) and steps (B,) -> finest decoded map, logits (B, K, *spatial)."""
        decoder = self.diffusion.decoder
        finest = decoder(self.diffusion.encode(images, noisy, time))[0]
        return finest, decoder.head(finest)

    def clean(self, label: Tensor) -> Tensor:
        """(B, *spatial) -> one-hot (B, K, *spatial) in the range of x_0; padding has no class."""
        low, high = self.bounds
        return low + (high - low) * one_hot(label, self.classes)

    # --- one iteration ---

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Algorithm 1: runs both forward passes, then sends each network's loss to its own optimiser."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        images, count = torch.cat([labeled.image, unlabeled.image]), len(labeled.image)
        finest_c, logits_c = self.segment(images)
        of_c = pseudo_labels(logits_c[count:], unlabeled.valid)
        time = torch.randint(self.options.t_min, self.schedule.steps, (len(images),))
        steps = time.to(images.device)
        noisy = self.schedule.noised(self.clean(torch.cat([labeled.target, of_c])), steps)
        finest_d, logits_d = self.denoise(images, noisy, steps)
        of_d = pseudo_labels(logits_d[count:], unlabeled.valid)
        self._note_agreement(of_c, of_d, time[count:])
        self.remember(finest_d[:count], logits_d[:count], labeled.target)
        contrast = self.contrast(finest_c[count:], of_c)
        diffusion = {
            **self._pair("diffusion_sup", logits_d[:count], labeled.target),
            **self._pair("diffusion_cross", logits_d[count:], of_c),
        }
        segmentation = {
            **self._pair("segmentation_sup", logits_c[:count], labeled.target),
            **self._pair("segmentation_cross", logits_c[count:], of_d),
        }
        optimise(diffusion, on=["diffusion"])
        optimise({**segmentation, "contrast": contrast}, on=["segmentation"])

    def _pair(self, name: str, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        dice = soft_dice(logits, target, squared=False, background=self.options.dice == "all")
        return {f"{name}_dice": dice, f"{name}_ce": cross_entropy(logits, target)}

    def optimisers(self) -> Mapping[str, Optimiser]:
        """One optimiser per network; the Mamba module and the projection head belong to CS."""
        modules: list[nn.Module] = [self.segmentation, self.head]
        modules += [] if self.filter is None else [self.filter]
        return {"diffusion": Optimiser((self.diffusion,)), "segmentation": Optimiser(modules)}

    # --- contrastive label propagation ---

    @torch.no_grad()
    def remember(self, finest: Tensor, logits: Tensor, target: Tensor) -> None:
        """Adds features of labeled positions that DS classifies correctly to the memory, at most `added` random positions
        per class."""
        label = _on_grid(target.masked_fill(logits.argmax(1) != target, IGNORE), finest.shape[2:])
        positions = [_random_positions(label.flatten() == kind, self.options.added) for kind in range(self.classes)]
        counts = [len(of_kind) for of_kind in positions]
        if sum(counts) < 2:  # the head's batch norm needs two positions
            return
        features = self.head(_at(finest.detach(), torch.cat(positions)))
        for kind, part in enumerate(features.split(counts)):
            if len(part):
                self.bank.add(kind, part)

    def contrast(self, finest: Tensor, labels: Tensor) -> Tensor:
        """L_cl of unlabeled samples, from CS's finest map and pseudo-labels with IGNORE on padding. 0 until the memory holds
        p features of some class."""
        options = self.options
        label = _on_grid(labels, finest.shape[2:]).flatten()
        positions = _random_positions(label != IGNORE, options.samples)
        drawn = [(kind, self.bank.sample(kind, options.anchors)) for kind in range(self.classes)]
        anchors = [(kind, rows) for kind, rows in drawn if rows is not None]
        self.notes["contrast_classes"] = torch.tensor(float(len(anchors)))
        if len(positions) < 2:  # the head's batch norm needs two positions
            return finest.new_zeros((), dtype=torch.float32)
        return propagation_loss(
            anchors,
            self.head(_at(finest, positions)),
            options.extremes,
            options.temperature,
            labels=label[positions] if options.positives == "agreeing" else None,
            reduction=options.reduction,
        )

    def _note_agreement(self, of_c: Tensor, of_d: Tensor, time: Tensor) -> None:
        """Logs the share of positions on which both networks agree, by quarters of the schedule. time: on the CPU."""
        valid = (of_c != IGNORE).flatten(1)
        same = ((of_c == of_d).flatten(1) & valid).sum(1) / valid.sum(1).clamp(min=1)
        quarters = (time * BINS // self.schedule.steps).tolist()
        for quarter in sorted(set(quarters)):
            members = [index for index, own in enumerate(quarters) if own == quarter]
            self.notes[f"agreement_{quarter}"] = same[members].mean()

    # --- prediction ---

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of CS."""
        return self.segment(images)[1]

    def sample(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of DS after DDIM (eta 0), starting all samples from the same noise."""
        start = torch.randn((1, self.classes, *images.shape[2:]), device=images.device).expand(
            len(images), -1, *images.shape[2:]
        )
        low, high = self.bounds
        logits = start

        def guess(noisy: Tensor, time: Tensor) -> Tensor:
            nonlocal logits
            logits = self.denoise(images, noisy, time)[1]
            return logits if self.options.ddim_clean == "clip" else low + (high - low) * logits.float().softmax(1)

        self.schedule.ddim(guess, start, count=self.options.ddim_steps, bounds=self.bounds)
        return logits

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """CS (published) and, with `score_diffusion`, DS."""
        return {"main": self, "diffusion": self.sample} if self.options.score_diffusion else {"main": self}


def _resized(logits: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(logits.shape[2:]) == tuple(size):
        return logits
    return F.interpolate(logits, tuple(size), mode=("bilinear", "trilinear")[logits.ndim - 4])


def _on_grid(label: Tensor, size: Sequence[int]) -> Tensor:
    """Labels (B, *spatial), resized to the grid of a map."""
    if tuple(label.shape[1:]) == tuple(size):
        return label
    return F.interpolate(label.unsqueeze(1).double(), tuple(size), mode="nearest").squeeze(1).long()


def _random_positions(mask: Tensor, count: int) -> Tensor:
    """At most `count` random positions where a flat mask is True."""
    positions = mask.nonzero().squeeze(1)
    return positions[torch.randperm(len(positions), device=positions.device)[:count]]


def _at(maps: Tensor, positions: Tensor) -> Tensor:
    """(B, C, *spatial) at flat positions of (B, *spatial) -> (n, C)."""
    flat = maps.flatten(2)
    return flat[positions // flat.shape[2], :, positions % flat.shape[2]]
