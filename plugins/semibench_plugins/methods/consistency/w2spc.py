"""w2sPC, weak-to-strong perturbation consistency and edge-aware contrast (Yang et al., Medical Image Analysis 101, 2025), in 2D
and 3D: partly a reconstruction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbones, Batch, Clock, Decoder, Losses, Method, Optimiser, Ramp, Task, Term
from semibench.blocks import Supervision, masked_mean, supervised_loss, voxel_entropy
from semibench_plugins.datasets.paper_budgets import SSL4MIS_RECIPE
from semibench_plugins.methods.nesterov import NesterovOptions, one_optimiser

AMOUNTS = (0.067, 0.134, 0.2)
"""kappa of the three auxiliary decoders, from weak to strong."""
TINY = 1e-6


def restyled(maps: Tensor, amount: float, own: float = 0.9) -> Tensor:
    """Draws new channel statistics for each sample: x' = gamma (x - mu) / sigma + beta.

    mu, sigma: mean and deviation of a channel over positions. gamma = own sigma + (1 - own) mean_B sigma + e std_B sigma, beta
    likewise from mu with e'; e, e' ~ U(-amount, amount) per sample and channel. With one sample and amount 0: the identity."""
    over = tuple(range(2, maps.ndim))
    mean = maps.mean(over, keepdim=True)
    deviation = (maps.var(over, unbiased=False, keepdim=True) + TINY).sqrt()

    def drawn(statistic: Tensor) -> Tensor:
        noise = torch.empty_like(statistic).uniform_(-amount, amount)
        spread = statistic.std(0, unbiased=False, keepdim=True)
        return own * statistic + (1.0 - own) * statistic.mean(0, keepdim=True) + noise * spread

    return drawn(deviation) * (maps - mean) / deviation + drawn(mean)


def edge_contrast(
    features: Tensor, logits: Tensor, label: Tensor, *, share: float, count: int, temperature: float
) -> Tensor:
    """Pulls uncertain voxels of a class to certain ones of it, away from certain ones of the others (InfoNCE).

    features: (B, D, *spatial); logits: (B, K, *spatial); label: (B, *spatial). Of each class, the `count` voxels with the
    greatest entropy are anchors and the `count` with the least are certain; at most `share` of its voxels are either, but at
    least one. Voxels whose features are all 0 have no direction and are left out. Mean over anchors and their positives of
    -ln (e^(a p / T) / (e^(a p / T) + sum_n e^(a n / T))), cosines a p, a n. 0 with fewer than two classes."""
    entropy = voxel_entropy(logits)
    flat, directed = features.movedim(1, -1), features.detach().abs().sum(1) > 0
    edges, certain, owners = [], [], []
    for kind in range(logits.shape[1]):
        places = ((label == kind) & directed).nonzero()
        if not len(places):
            continue
        number, doubt = min(count, max(1, int(len(places) * share))), entropy[tuple(places.T)]
        anchors, sure = (places[doubt.topk(number, largest=most).indices] for most in (True, False))
        edges.append(F.normalize(flat[tuple(anchors.T)], dim=1))
        certain.append(F.normalize(flat[tuple(sure.T)], dim=1).detach())
        owners.append(torch.full((number,), kind, device=label.device))
    if len(edges) < 2:
        return features.sum() * 0.0
    scores = torch.cat(edges) @ torch.cat(certain).T / temperature
    owner = torch.cat(owners)
    same = owner[:, None] == owner[None]
    others = scores.masked_fill(same, -torch.inf).logsumexp(1, keepdim=True)
    return masked_mean(torch.logaddexp(scores, others.expand_as(scores)) - scores, same)


class W2SPC(Method):
    """Decoders that see features of growing strangeness agree with each other; uncertain voxels move to certain ones.

    The main decoder reads the encoder's maps, three auxiliary ones the same maps `restyled` with kappa = .067, .134, .2. On
    the unlabeled samples, p_b the softmax of decoder b and p their mean over all four: consistency = sum_b mean (p_b - p)^2,
    weight .1 exp(-5 (1 - t)^2), 200 steps of the ramp; edge = `edge_contrast` of the main decoder's finest map on the
    labeled samples: 6 anchors and 6 certain voxels per class, at most 10 % of it each, temperature .07, weight .5 with the
    same ramp. L = L_sup(main) + .1 consistency + .5 edge.

    The published code is for ACDC in 2D and draws new statistics behind three blocks of each decoder; a decoder can't be
    entered here, so all maps of the encoder are restyled. It draws one number for all samples, channels and both statistics,
    where each has its own here. Its consistency is the mean over the decoders, a quarter of the sum, on labeled samples,
    too, and its ramp ends after 200 passes over the labeled slices: preset `acdc` has these, for the 68 slices of three
    patients, and the loss and recipe of the code. Its script asks for 12 labeled samples in a batch of 8 and stops there; the
    preset takes 12 + 12. Its contrast compares means of whole images and isn't the paper's; the one here follows the paper's
    description. Functions that the code doesn't call pick voxels for it within each sample, by predicted class, from two 1x1
    convolutions behind the finest map; here they are picked within the batch and from the map itself. Ours: that the classes
    are those of the labels, and the ramp of `edge`. With predicted classes of unlabeled samples the toy ends without
    foreground (.000 at weight .5, .020 at .05; with labels .858, the labels alone .840; seed 0). Preset `la`: the left
    atrium's supervised loss and batch, and 15,000 iterations. Scored: the main decoder.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "consistency": Term(0.1, Ramp("sigmoid", levels=200), search=(0.01, 1.0), unlabeled=True),
        "edge": Term(0.5, Ramp("sigmoid", levels=200), search=(0.01, 1.0)),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "acdc": {
            "options": {"agreement_on": "all", "loss": "cross_entropy", "nesterov": True},
            "terms": {"consistency": {"weight": 0.1 / (len(AMOUNTS) + 1), "ramp": {"end": 1 / 6}}},
            "recipe": {**SSL4MIS_RECIPE, "iterations": 6000},
        },
        "la": {
            "options": {"loss": "dice_ce_foreground"},
            "recipe": {"iterations": 15000, "labeled_batch": 2, "unlabeled_batch": 2},
        },
    }

    class Options(NesterovOptions, frozen=True, extra="forbid"):
        """Options of `w2spc`."""

        strength: float = Field(1.0, ge=0.0, description="factor on all kappa; useful range .5 to 2")
        own: float = Field(0.9, ge=0.0, le=1.0, description="share of a sample's own statistics; useful .5 to 1")
        share: float = Field(
            0.1, gt=0.0, le=0.5, description="largest share of a class that is anchor or certain; at least one voxel is"
        )
        anchors: int = Field(6, ge=1, description="anchors and certain voxels per class; useful range 6 to 64")
        temperature: float = Field(0.07, gt=0.0, description="of the contrast; useful range .05 to .5")
        agreement_on: Literal["unlabeled", "all"] = Field(
            "unlabeled", description="samples on which the decoders are to agree: the unlabeled ones, or all (the code)"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: W2SPC.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net = backbones()
        self.auxiliary = nn.ModuleList(self.net.new_decoder() for _ in AMOUNTS)

    def optimisers(self) -> Mapping[str, Optimiser]:
        """One optimiser for everything; SGD if `nesterov` is set."""
        return one_optimiser(self, nesterov=self.options.nesterov)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, main decoder; consistency: unlabeled part, or all; edge: labeled part."""
        labeled, unlabeled, options = batch["labeled"], batch["unlabeled"], self.options
        images, count = torch.cat([labeled.image, unlabeled.image]), len(labeled.image)
        valid = torch.cat([labeled.valid, unlabeled.valid])
        size, maps = images.shape[2:], self.net.encode(images)
        fine = self.net.decoder(maps)[0]
        logits = self.net.enlarge(self.net.decoder.head(fine), size)
        start = count if options.agreement_on == "unlabeled" else 0
        outputs = [logits[start:]]
        for amount, decoder in zip(AMOUNTS, self.auxiliary, strict=True):
            strange = [restyled(one[start:], options.strength * amount, options.own) for one in maps]
            outputs.append(self.net.decode(strange, size, cast(Decoder, decoder)))
        shares = torch.stack([one.float().softmax(1) for one in outputs])
        apart = (shares - shares.mean(0)).square()
        edge = edge_contrast(
            self.net.enlarge(fine[:count].float(), size),
            logits[:count].detach(),
            labeled.target,
            share=options.share,
            count=options.anchors,
            temperature=options.temperature,
        )
        return {
            "sup": supervised_loss(logits[:count], labeled.target, options.loss),
            "consistency": len(outputs) * masked_mean(apart, valid[start:].unsqueeze(1)),
            "edge": edge,
        }

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the main decoder; the others don't run."""
        return self.net(images)
