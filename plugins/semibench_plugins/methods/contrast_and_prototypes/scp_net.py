"""SCP-Net, self-aware and cross-sample prototypes (Zhang et al., MICCAI 2023), in 2D and 3D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from semibench import Backbones, Batch, Clock, Losses, Method, MethodOptions, Ramp, Task, Term
from semibench.blocks import Supervision, masked_mean, supervised_loss
from semibench_plugins.datasets.paper_budgets import SSL4MIS_RECIPE


class PrototypePredictions(NamedTuple):
    """What the prototypes of a batch say about its positions. All without gradient."""

    own: Tensor
    """Class probabilities (B, K, P) by the prototypes of the same sample."""
    others: Tensor
    """Class probabilities (B, K, P) by the prototypes of all other samples."""
    agreement: Tensor
    """(B, P), 1 where the prototypes of all samples choose one class, 0 where their choices are uniform."""


@torch.no_grad()
def prototype_predictions(features: Tensor, probabilities: Tensor, valid: Tensor) -> PrototypePredictions:
    """Classifies positions by cosine similarity to the prototypes of every sample in the batch.

    features: (B, D, P). probabilities: (B, K, P), which weigh the positions in a prototype. valid: bool (B, P). Computed in
    float32, also under autocast.
    """
    with torch.autocast(features.device.type, enabled=False):
        return _prototype_predictions(features.float(), probabilities.float(), valid)


def _prototype_predictions(features: Tensor, probabilities: Tensor, valid: Tensor) -> PrototypePredictions:
    weights = probabilities * valid.unsqueeze(1)
    sums = torch.einsum("bdp,bkp->bkd", features, weights)
    prototypes = F.normalize(sums / (weights.sum(2, keepdim=True) + 1e-5), dim=2)
    directions = F.normalize(features, dim=1)
    count, kinds, positions = weights.shape
    own = directions.new_empty(count, kinds, positions)
    others, votes = torch.zeros_like(own), torch.zeros_like(own)
    for number, prototype in enumerate(prototypes):
        similarity = torch.einsum("bdp,kd->bkp", directions, prototype)
        votes.scatter_add_(1, similarity.argmax(1, keepdim=True), torch.ones_like(similarity[:, :1]))
        own[number] = similarity[number].softmax(0)
        weight = similarity.exp()
        weight[number] = 0.0
        others += weight
    shares = votes / count
    entropy = -torch.special.xlogy(shares, shares).sum(1)
    return PrototypePredictions(
        own, others / others.sum(1, keepdim=True).clamp_min(1e-8), 1.0 - entropy / math.log(kinds)
    )


class SCPNet(Method):
    """The classifier agrees with predictions by prototypes: those of the same image, and those of the other images.

    With the last decoder map f and p = softmax(z), the prototype of class c in sample b is
    q_bc = sum f p_c / (sum p_c + 1e-5) over its positions, for labeled samples, too. Similarity is the cosine.
    s = softmax_c cos(f, q_bc) (self-aware); x ~ sum over j != b of exp cos(f, q_jc), normalised over classes (cross-sample).
    L = L_sup + w [.5 mean (p - s)^2 + .5 mean W (p - x)^2] over labeled and unlabeled samples, s and x constants. The dual
    weight is W = A max_c s_c. A = 1 - H(votes) / ln K measures how well the samples' prototypes agree: each of them votes
    for a class. w rises to .1 as exp(-5 (1 - t)^2) over the run.

    The released code multiplies by 1 - A (weight="disagreement"): it leaves out the positions on which all prototypes agree,
    which the text calls reliable. Its ramp takes 3.75 runs, so that w ends at .0068, and its learning rate is .1. The preset
    `code` has all three. The authors' U-Net has 32 channels instead of 16 at full resolution (1,847,460 parameters); here
    any network serves. Padding is left out of prototypes and losses. Scored: the network, without prototypes.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "self": Term(0.05, Ramp("sigmoid", levels=200), search=(0.005, 5.0), unlabeled=True),
        "cross": Term(0.05, Ramp("sigmoid", levels=200), search=(0.005, 5.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "code": {
            "options": {"weight": "disagreement"},
            "terms": {name: {"ramp": {"end": 3.75, "levels": 1000}} for name in ("self", "cross")},
            "recipe": {**SSL4MIS_RECIPE, "iterations": 40000, "lr": 0.1},
        },
        "promise12": {"recipe": {**SSL4MIS_RECIPE, "iterations": 40000}},
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `scp-net`."""

        weight: Literal["agreement", "disagreement", "none"] = Field(
            "agreement", description="weight W of the cross-sample term: A max s (the text), (1 - A) max s (code), or 1"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: SCPNet.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net = backbones()

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part; self, cross: all samples."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        images, size = torch.cat([labeled.image, unlabeled.image]), labeled.image.shape[2:]
        decoded = self.net.decoder(self.net.encode(images))[0]
        logits = self.net.enlarge(self.net.decoder.head(decoded), size)
        p = logits.float().softmax(1).flatten(2)
        valid = torch.cat([labeled.valid, unlabeled.valid]).flatten(1)
        by_prototypes = prototype_predictions(self.net.enlarge(decoded, size).detach().float().flatten(2), p, valid)
        self.notes["agreement"] = masked_mean(by_prototypes.agreement, valid)
        across = (p - by_prototypes.others).square() * self._weight(by_prototypes)
        return {
            "sup": supervised_loss(logits[: len(labeled.image)], labeled.target, self.options.loss),
            "self": masked_mean((p - by_prototypes.own).square(), valid.unsqueeze(1)),
            "cross": masked_mean(across, valid.unsqueeze(1)),
        }

    def _weight(self, by_prototypes: PrototypePredictions) -> Tensor:
        """(B, 1, P): the weight of each position in the cross-sample term."""
        agreement = by_prototypes.agreement.unsqueeze(1)
        if self.options.weight == "none":
            return torch.ones_like(agreement)
        share = agreement if self.options.weight == "agreement" else 1.0 - agreement
        return share * by_prototypes.own.amax(1, keepdim=True)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.net(images)
