"""SAML, shape-aware meta-learning (Liu, Dou & Heng, MICCAI 2020), in 2D and 3D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from semibench import (
    IGNORE,
    Backbone,
    Backbones,
    Batch,
    Clock,
    Method,
    MethodOptions,
    Optimise,
    Optimiser,
    Stream,
    Task,
    Term,
)
from semibench.blocks import inner_step, soft_dice, three_domains


def compactness(probability: Tensor, perimeter: float = 1.0) -> Tensor:
    """Mean over samples of (w P)^2 / (4 pi A) in 2D: w^2 for a disc, more for other shapes.

    probability: (B, *spatial) in [0, 1]. P is the sum of the length of its gradient (forward differences), A its sum, w the
    factor `perimeter`. In 3D, where nothing is published, it is w^2 S^3 / (36 pi V^2), so that a ball counts as a disc does.
    There are two guards beyond the paper: sqrt(g^2 + 1e-8) is measured relative to a flat area, so that flat areas don't
    count as boundary; and one voxel is added to A, so that an empty prediction gives 0 and not 0 / 0.
    """
    dims = probability.ndim - 1
    square = torch.zeros_like(probability[(slice(None), *[slice(1, None)] * dims)])
    for axis in range(1, dims + 1):
        ahead = [slice(None), *[slice(1, None)] * dims]
        behind = list(ahead)
        behind[axis] = slice(None, -1)
        square = square + (probability[tuple(ahead)] - probability[tuple(behind)]).square()
    over = tuple(range(1, dims + 1))
    boundary = ((square + 1e-8).sqrt() - 1e-4).sum(over)
    content = probability.sum(over) + 1.0
    if dims == 2:
        return perimeter**2 * (boundary.square() / (4.0 * math.pi * content)).mean()
    return perimeter**2 * (boundary.pow(3) / (36.0 * math.pi * content.square())).mean()


def rings(label: Tensor) -> tuple[Tensor, Tensor]:
    """Returns float32 masks (B, *spatial) of the contour (foreground minus its erosion by one voxel) and of the background
    around it (dilation by five voxels, minus foreground). Both go from a voxel to the neighbours that share a face with it, as
    in the code. label: (B, *spatial); ignored positions are in neither."""
    counted = label != IGNORE
    mask = ((label > 0) & counted).float().unsqueeze(1)
    eroded = 1.0 - spread(1.0 - mask)
    dilated = mask
    for _ in range(5):
        dilated = spread(dilated)
    contour, around = (mask - eroded).squeeze(1), (dilated - mask).squeeze(1)
    return contour * counted, around * counted


def spread(mask: Tensor) -> Tensor:
    """A mask (B, 1, *spatial) of 0 and 1 with the neighbours that share a face with it: 4 in 2D, 6 in 3D."""
    dims = mask.ndim - 2
    pool = F.max_pool2d if dims == 2 else F.max_pool3d
    grown = mask
    for axis in range(dims):
        window = tuple(3 if other == axis else 1 for other in range(dims))
        grown = torch.maximum(grown, pool(mask, window, 1, tuple(side // 2 for side in window)))
    return grown


def contour_embeddings(features: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Averages features over the contour (kind 1) and over the background around it (kind 0) for every sample that has
    both; returns (N, C) and the kinds, int64 (N,). features: (B, C, *spatial), resized to the label's grid if needed."""
    if features.shape[2:] != label.shape[1:]:
        mode = "bilinear" if label.ndim == 3 else "trilinear"
        features = F.interpolate(features, label.shape[1:], mode=mode)
    means, kinds = [], []
    contour, around = rings(label)
    has_both = (contour.flatten(1).sum(1) > 0) & (around.flatten(1).sum(1) > 0)
    for kind, mask in ((1, contour), (0, around)):
        weights = mask[has_both].unsqueeze(1)
        total = (features[has_both].float() * weights).flatten(2).sum(2)
        means.append(total / weights.flatten(2).sum(2))
        kinds.append(torch.full((len(total),), kind, device=label.device))
    return torch.cat(means), torch.cat(kinds)


def triplet_semi_hard(embeddings: Tensor, kinds: Tensor, margin: float = 10.0) -> Tensor:
    """Triplet loss with semi-hard negatives on squared Euclidean distances, averaged over the pairs of one kind.

    For anchor a and positive p, n is the nearest negative farther than p, else the farthest negative;
    max(0, margin + d(a, p) - d(a, n)). 0 if there is no such pair or no negative (Schroff et al., CVPR 2015).
    embeddings: (N, C); kinds: (N,).
    """
    same = kinds[:, None] == kinds[None]
    positive = same & ~torch.eye(len(kinds), dtype=torch.bool, device=kinds.device)
    if not positive.any() or same.all():
        return embeddings.sum() * 0.0
    distance = (embeddings[:, None] - embeddings[None]).square().sum(2)
    far = distance.masked_fill(same, -math.inf).amax(1)
    beyond = (~same)[:, None, :] & (distance[:, None, :] > distance[:, :, None])
    near = distance[:, None, :].expand_as(beyond).masked_fill(~beyond, math.inf).amin(2)
    negative = torch.where(near.isinf(), far[:, None].expand_as(near), near)
    return (margin + distance - negative)[positive].clamp(min=0.0).mean()


class WithFeatures(nn.Module):
    """A backbone that returns its logits and its two last decoder maps, so that one functional call gives both. A decoder
    with a single map gives that one."""

    def __init__(self, net: Backbone) -> None:
        super().__init__()
        self.net = net
        self.channels = sum(net.decoder.channels[:2])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, *spatial) -> logits (B, K, *spatial), the maps (B, `channels`, *s) at the size of the finer one."""
        finest, *others = self.net.decoder(self.net.encode(images))[:2]
        logits = self.net.enlarge(self.net.decoder.head(finest), images.shape[2:])
        return logits, torch.cat([finest, *(self.net.enlarge(other, finest.shape[2:]) for other in others)], 1)


def metric_network(channels: int) -> nn.Sequential:
    """The embedding network, `channels`-24-16 (48-24-16 published), with a leaky ReLU behind both layers."""
    return nn.Sequential(nn.Linear(channels, 24), nn.LeakyReLU(0.2), nn.Linear(24, 16), nn.LeakyReLU(0.2))


class SAML(Method):
    """In each iteration two training domains make an inner step theta' = theta - alpha grad L_tr, and a third tests it:
    L_te(theta') = Dice + compact + .005 smooth. If there are more than three domains, three are drawn.

    L_tr is the mean of the Dice losses (linear, not squared) of the two domains; the inner gradient is clipped per tensor at
    norm 10 and treated as a constant (first order). compact: (.01 P)^2 / (4 pi A) of the prediction on the test domain.
    smooth: triplet loss between contour and background embeddings of the samples of all three domains. A small network
    embeds the average of the two last decoder maps over the contour or the background around it. There are three Adam
    optimisers with constant rates: 1e-4 on L_tr, 1e-3 on L_te for the segmenter and for the embedding network.

    The constants are those of the released code: it scales the perimeter by .01 and sums the compactness of 5 slices with
    weight 1, which is a weight of 5 for the mean. The paper prints weight 1 and no factor. That is 2,000 times as much, and
    the network then shrinks what it predicts instead of fitting it: preset `printed`, for the record (figures in
    docs/results.md). Preset `code` adds the code's budget.

    Readings: both embeddings of every sample are used (the code picks one for each of five slices); the outer gradient is
    clipped at a norm of 10 over all tensors (the code: per tensor); batch statistics span the three domains, and testing
    uses running statistics (the code: batch statistics); skips are the backbone's (the code's decoder joins its map with
    itself); the inner step moves normalisations, too (the code: convolutions alone). Compactness is computed for the union of
    the classes in each entry of `shape_groups` (default: all foreground; for a ring such as the myocardium compactness would
    be a wrong prior): preset `mnms`.
    """

    terms: Mapping[str, Term] = {
        "inner": Term(),
        "outer": Term(),
        "compact": Term(5.0, search=(0.1, 1000.0)),
        "smooth": Term(0.005, search=(1e-4, 0.05)),
    }
    streams: ClassVar[Mapping[str, Stream]] = {"labeled": Stream("labeled", per_domain=True)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "code": {"recipe": {"iterations": 10000, "labeled_batch": 5}},
        "printed": {"options": {"perimeter": 1.0}, "terms": {"compact": 1.0}},
        "mnms": {"options": {"shape_groups": ((1, 2), (3,))}},
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `saml`."""

        inner_rate: float = Field(
            1e-4, ge=0.0, description="step size alpha of the inner step; useful range 1e-5 to 1e-3"
        )
        inner_lr: float = Field(1e-4, gt=0.0, description="Adam's rate on the loss of the two training domains")
        outer_lr: float = Field(
            1e-3, gt=0.0, description="Adam's rate on the loss of the test domain, and for the embedding network"
        )
        clip: float = Field(10.0, gt=0.0, description="largest norm of inner and outer gradients")
        perimeter: float = Field(
            0.01,
            gt=0.0,
            description="factor on the perimeter in compactness (the code); 1: as printed, which collapses",
        )
        margin: float = Field(10.0, gt=0.0, description="margin of the triplet loss")
        shape_groups: tuple[tuple[int, ...], ...] | None = Field(
            None, description="classes whose union should be compact, one entry per shape; none: all foreground"
        )

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """Three domains are needed: two for meta-training and one for meta-testing."""
        if len(task.domains) < 3:
            return f"needs at least three training domains, but the split has {len(task.domains)}: {', '.join(task.domains)}"
        groups = options.shape_groups or ()
        if any(not 0 < label < len(task.classes) for group in groups for label in group) or not all(groups):
            return f"shape_groups: expected foreground classes 1..{len(task.classes) - 1}, got {groups}"
        return None

    def __init__(self, task: Task, backbones: Backbones, options: SAML.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.groups = options.shape_groups or (tuple(range(1, len(task.classes))),)
        self.net = WithFeatures(backbones())
        self.metric = metric_network(self.net.channels)

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`inner` and `outer` share the segmenter; `metric` updates the embedding network."""
        plain = {"weight_decay": 0.0}
        clipped = {"weight_decay": 0.0, "clip_norm": self.options.clip}
        outer = self.options.outer_lr
        return {
            "inner": Optimiser((self.net,), "adam", lr=self.options.inner_lr, schedule="constant", settings=plain),
            "outer": Optimiser((self.net,), "adam", lr=outer, schedule="constant", settings=clipped),
            "metric": Optimiser((self.metric,), "adam", lr=outer, schedule="constant", settings=plain),
        }

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Draws the domains, takes the inner step, tests the moved weights, then updates from both losses."""
        samples = batch["labeled"]
        present = samples.domain.unique()
        drawn = three_domains(present[torch.randperm(len(present)).to(present.device)])
        member = [samples.domain == domain for domain in drawn]
        train, test = torch.stack(member[:-1]).any(0), member[-1]
        label, domain = samples.target, samples.domain

        logits = self.net(samples.image[train])[0]
        inner = torch.stack(
            [soft_dice(logits[one[train]], label[one], squared=False) for one in member[:-1]]
        ).mean()  # fmt: skip
        moved = inner_step(self.net, inner, self.options.inner_rate, clip=self.options.clip)
        used = train | test
        outputs, features = functional_call(self.net, moved, (samples.image[used],))
        tested = outputs[domain[used] == drawn[-1]]
        probabilities = tested.float().softmax(1)
        perimeter = self.options.perimeter
        compact = [compactness(probabilities[:, list(group)].sum(1), perimeter) for group in self.groups]
        embeddings, kinds = contour_embeddings(features, label[used])
        losses = {
            "outer": soft_dice(tested, label[test], squared=False),
            "compact": torch.stack(compact).mean(),
            "smooth": triplet_semi_hard(self.metric(embeddings).float(), kinds, self.options.margin),
        }
        optimise({"inner": inner}, on=["inner"])
        optimise(losses, on=["outer", "metric"])

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.net(images)[0]
