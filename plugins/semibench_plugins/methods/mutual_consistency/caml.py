"""CAML, correlation-aware mutual learning (Gao et al., MICCAI 2023), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from semibench import (
    IGNORE,
    Backbone,
    Backbones,
    Batch,
    Clock,
    Losses,
    Method,
    MethodOptions,
    Samples,
    Task,
    Term,
    UsageError,
)
from semibench.blocks import evaluating
from semibench_plugins.methods.mutual_consistency.cross_sample_attention import CrossSampleAttention
from semibench_plugins.methods.mutual_consistency.feature_memory import FeatureMemory, random_positions
from semibench_plugins.methods.mutual_consistency.mc_net import RAMP, RECIPE, mutual_consistency
from semibench_plugins.methods.mutual_consistency.other_decoders import other_decoders
from semibench_plugins.methods.mutual_consistency.supervision import LabelLoss, label_loss

EPSILON = 1e-8


def ramped(levels: int) -> dict[str, Any]:
    """Ramps of both unsupervised terms in so many steps of 150 of 15000 iterations."""
    ramp = {"kind": "sigmoid", "end": levels / 100, "levels": levels}
    return {"consistency": {"ramp": ramp}, "correlation": {"ramp": ramp}}


def correlation_loss(first: Tensor, second: Tensor, memory: Tensor, temperature: float) -> Tensor:
    """-mean over positions of sum_k c_2k ln(c_1k + 1e-8), c = softmax over the memory of g . m / T.

    first, second: g of the same positions, (n, F); memory: (m, F). The gradient passes through both.
    """
    with torch.autocast(first.device.type, enabled=False):
        one, two = ((g.float() @ memory.T / temperature).softmax(1) for g in (first, second))
        return -(two * (one + EPSILON).log()).sum(1).mean()


class Heads(nn.Module):
    """Projection and prediction of one network's features: linear, batch norm, ReLU, linear each."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.project, self.predict = (
            nn.Sequential(nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width))
            for inputs in (channels, width)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(n, channels) -> (n, width)."""
        return self.predict(self.project(features))


class CAML(Method):
    """Two networks learn from each other; the second mixes information across the samples of a batch (cross-sample mutual
    attention after its fourth level). Both must agree on how unlabeled positions correlate with features of labeled ones.

    L = .5 [Dice(p_v, y) + Dice(p_a, y)] + w_c [mean (p_v - sharp(p_a))^2 + mean (p_a - sharp(p_v))^2] + w_o L_o. The
    sharpened agreement is MC-Net's. L_o = -mean sum_k c_a,k ln(c_v,k + 1e-8), c = softmax over the memory of g . m / .1, plain
    products. g are projected and predicted features of the finest decoded map at unlabeled positions where both networks
    have the same class, for each class the 12800 that the first is surest of. The memory m holds, for each labeled sample,
    projected features (mean of both networks, heads in eval mode) of positions that both got right; 256 of each class that
    has as many are drawn in each step. The gradient passes through both correlations. w_c rises to 1 and w_o to .05 as
    exp(-5 (1 - t)^2), in 40 steps over the first two fifths of the run.

    The batch norm of the heads sees the chosen positions only; in the authors' code it sees all unlabeled positions on which
    the networks agree, of which the surest are taken then. The second network has another upsampling than the first: linear
    where the first has transposed convolutions (`vnet`), and else those. Scored: the first. Presets: `la`, the authors'
    recipe for the left atrium; `la-8` and `la-16`, the same with their faster ramps for 8 and 16 labels.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(0.5, search=(0.1, 1.0)),
        "consistency": Term(1.0, RAMP, search=(0.1, 5.0), unlabeled=True),
        "correlation": Term(0.05, RAMP, search=(0.005, 0.5), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "la": {"recipe": RECIPE},
        "la-8": {"terms": ramped(20), "recipe": RECIPE},
        "la-16": {"terms": ramped(15), "recipe": RECIPE},
    }
    rehearsal_options: ClassVar[Mapping[str, Any]] = {"memory": 4}

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `caml`."""

        temperature: float = Field(0.1, gt=0.0, le=1.0, description="T of the sharpening; useful range .05 to 1")
        correlation_temperature: float = Field(0.1, gt=0.0, description="T of the correlations; useful range .05 to 1")
        memory: int = Field(256, ge=2, description="features drawn of each class; useful range 64 to 1024")
        positions: int = Field(12800, ge=2, description="unlabeled positions of each class; useful 1000 to 20000")
        width: int = Field(32, ge=2, description="length of the projected features; useful range 16 to 128")
        dropout: float = Field(0.5, ge=0.0, lt=1.0, description="dropout in the cross-sample attention")
        loss: LabelLoss = Field("dice", description="supervised loss of each network")

    def __init__(self, task: Task, backbones: Backbones, options: CAML.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, self.classes = options, len(task.classes)
        self.net, self.auxiliary = backbones(), backbones()
        if "stages" not in self.net.provides:
            raise UsageError(
                f"caml changes a map within the encoder, and {type(self.net).__name__} doesn't offer its stages"
            )
        (self.auxiliary.decoder,) = other_decoders(self.auxiliary, 1)
        level = max(len(self.auxiliary.channels) - 2, 0)
        self.attention = CrossSampleAttention(self.auxiliary.channels[level], options.dropout)
        cast(Any, self.auxiliary).stages[level].register_forward_hook(
            lambda _module, _given, maps: self.attention(maps)
        )
        self.heads, self.auxiliary_heads = (
            Heads(net.decoder.channels[0], options.width) for net in (self.net, self.auxiliary)
        )
        self.memory = FeatureMemory(task.cases["labeled"], self.classes, options.memory, options.width)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, sum over networks; consistency: all samples without padding; correlation: unlabeled part."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        images, count = torch.cat([labeled.image, unlabeled.image]), len(labeled.image)
        (features_v, logits_v), (features_a, logits_a) = (maps(net, images) for net in (self.net, self.auxiliary))
        outputs, options = (logits_v, logits_a), self.options
        self.remember(labeled, (features_v[:count], features_a[:count]), (logits_v[:count], logits_a[:count]))
        return {
            "sup": label_loss([z[:count] for z in outputs], labeled.target, options.loss),
            "consistency": mutual_consistency(
                outputs, options.temperature, torch.cat([labeled.valid, unlabeled.valid])
            ),
            "correlation": self.correlation(
                (features_v[count:], features_a[count:]), (logits_v[count:], logits_a[count:]), unlabeled.valid
            ),
        }

    @torch.no_grad()
    def remember(self, labeled: Samples, features: tuple[Tensor, Tensor], logits: tuple[Tensor, Tensor]) -> None:
        """Replaces the features of these samples in the memory by those of positions that both networks get right now."""
        target = labeled.target
        right = (logits[0].argmax(1) == target) & (logits[1].argmax(1) == target) & (target != IGNORE)
        by_class = _one_row_each(target.masked_fill(~right, IGNORE), self.classes).transpose(0, 1)
        places, counts = random_positions(by_class, self.options.memory)
        flat = places.flatten(1)
        with evaluating(self.heads), evaluating(self.auxiliary_heads):
            projected = [
                heads.project(_at(part, flat).flatten(0, 1))
                for heads, part in zip((self.heads, self.auxiliary_heads), features, strict=True)
            ]
        rows = (0.5 * (projected[0] + projected[1])).view(*places.shape, -1)
        self.memory.replace(labeled.index, rows, counts)

    def correlation(self, features: tuple[Tensor, Tensor], logits: tuple[Tensor, Tensor], valid: Tensor) -> Tensor:
        """L_o; 0 while no class has enough features in the memory."""
        confidence, label = logits[0].detach().float().softmax(1).max(1)
        agreed = (label == logits[1].detach().argmax(1)) & valid
        by_class = _one_row_each(label.masked_fill(~agreed, IGNORE), self.classes).flatten(1)
        sure = confidence.flatten().expand_as(by_class).masked_fill(~by_class, -1.0)
        best = sure.topk(min(self.options.positions, sure.shape[1]))
        chosen, memory = best.indices[best.values >= 0.0], self.memory.draw()
        self.notes["memory"] = torch.tensor(float(len(memory)))
        if len(chosen) < 2 or len(memory) < 2:  # the batch norm of the heads needs two positions
            return logits[0].new_zeros((), dtype=torch.float32)
        size = valid[0].numel()
        first, second = (part.flatten(2)[chosen // size, :, chosen % size] for part in features)
        return correlation_loss(
            self.heads(first), self.auxiliary_heads(second), memory, self.options.correlation_temperature
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the first network."""
        return self.net(images)


def maps(net: Backbone, images: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, *spatial) -> the finest decoded map and the logits, both at the size of the images."""
    finest, size = net.decoder(net.encode(images))[0], images.shape[2:]
    return net.enlarge(finest, size), net.enlarge(net.decoder.head(finest), size)


def _one_row_each(label: Tensor, classes: int) -> Tensor:
    """Labels (B, *spatial) -> bool (K, B, n): where each class is."""
    return label.flatten(1) == torch.arange(classes, device=label.device).view(-1, 1, 1)


def _at(features: Tensor, places: Tensor) -> Tensor:
    """Features (B, F, *spatial) at flat positions (B, m) -> (B, m, F)."""
    each = features.flatten(2)
    return each.gather(2, places.unsqueeze(1).expand(-1, each.shape[1], -1)).transpose(1, 2)
