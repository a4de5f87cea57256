"""DDSP, dual domain distribution disruption with semantics preservation (Zheng et al., Medical Image Analysis 2024), in 3D
and 2D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

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
    Method,
    MethodOptions,
    Optimise,
    Optimiser,
    Samples,
    Task,
    Term,
)
from semibench.blocks import (
    Supervision,
    dice_between,
    entropy,
    evaluating,
    frozen_statistics,
    soft_dice,
    supervised_loss,
    whole_and_changed,
)
from semibench_plugins.methods.adaptation.disruption import disrupted

SMOOTH = 1.0
TINY = 1e-8
SIDE = 8
"""Of the map on which the head is tried."""


def channel_similarity(features: Tensor) -> Tensor:
    """Similarities between the channels, (B, C, *spatial) -> (B, C, C): cosines less their minimum, each row divided by its sum.
    The scale of a channel doesn't matter. In float32, also under autocast: the minimum is subtracted from values close to it."""
    flat = F.normalize(features.float().flatten(2), dim=2)
    with torch.autocast(features.device.type, enabled=False):
        cosine = flat @ flat.transpose(1, 2)
    above = cosine - cosine.amin((1, 2), keepdim=True) + TINY
    return above / above.sum(2, keepdim=True)


def channel_consistency(first: Tensor, second: Tensor, label: Tensor) -> Tensor:
    """Mean over samples and channels of the cosine between two maps (B, C, *s) within the foreground of label (B, *spatial)."""
    mask = ((label > 0) & (label != IGNORE)).float().unsqueeze(1)
    if mask.shape[2:] != first.shape[2:]:
        mask = F.interpolate(mask, first.shape[2:], mode="nearest")
    inside, other = ((maps.float() * mask).flatten(2) for maps in (first, second))
    return F.cosine_similarity(inside, other, dim=2).mean()


def parameters_of_head(net: Backbone) -> list[nn.Parameter]:
    """Finds the parameters that turn the finest decoder map into logits: those of the modules that `decoder.head` calls.

    Args:
        net: the network, which stays as it is.

    Returns:
        The parameters, each once.
    """
    called: dict[nn.Module, None] = {}
    hooks = [part.register_forward_pre_hook(lambda part, _: called.setdefault(part)) for part in net.modules()]
    try:
        with evaluating(net):
            like = next(net.parameters())
            net.decoder.head(like.new_zeros(1, net.decoder.channels[0], *[SIDE] * net.dims))
    finally:
        for hook in hooks:
            hook.remove()
    return [parameter for part in called for parameter in part.parameters(recurse=False)]


class DDSP(Method):
    """Without translation or critic: the distribution of intensities is disrupted at random in both domains, so that the network
    relies on structure, while its features keep their meaning.

    x' is a disrupted x (see `disruption`; up to 30 control points on the source, 10 on the target), f the finest decoder
    map, S its matrix of similarities between channels (`channel_similarity`), p the softmax. In each iteration the features
    learn first, at a tenth of the recipe's rate:
    L_1 = .1 mean |S(f_t) - S(f_s)| - .1 cos(f_s, f_s'), S(f_s) a constant, cos channel by channel within the true foreground.
    Then everything learns, from a new pass, at the recipe's rate:
    L_2 = Dice(p_s, y) + Dice(p_s', y) + .1 Dice(p_t, p_t') + mean of -p_t ln p_t over positions and classes. The Dice is that of
    each image, with squares and smoothing 1.

    The entropy is the mean over the K classes, too, so that it counts 1/K of what is usually called entropy. It can call
    everything background; the share of foreground on the target is logged (`foreground_target`). Backbone and head are the
    run's (published: 8 to 64 channels with instance norm, and a head of residual blocks with 32). After the exchange of
    intervals and the bend of the histogram the authors change a fifth of the images by MONAI (sharpness, noise, a bias field,
    contrast, spikes), here gamma and noise change. Their code clips these images to 0..1 although values lie in -1..1, which is
    left out here. Disrupted images aren't tested, so that they don't move running statistics.

    Preset `code`: one image of each domain in a batch, 10,000 iterations, turns and scaling. The released code computes
    consistency and entropy and trains neither, so that their weight is 0 there. It has one Adam for all but the head, of 1e-4 in
    both steps, and one of 1e-3 for the head (`rates="parts"`); neither rate falls. What differs from the code: its views also
    shift, shear and bend the volumes, turn about all three axes and scale each axis apart.
    Scored: the network on the image as it is.

    Where classes differ in grey level alone, an exchange of intervals leaves nothing to learn from. On the toy of the learning
    check, blobs on noise as strong as their contrast, the Dice is .30, .69 and .35 (labels alone .84, .88, .79; seeds 0 to 2).
    The mean over eight seeds is .39, and .41 with plain cosines in place of S: seven of the eight differ by less than .02 and
    one by .16, so that the toy doesn't tell the two apart. Seen with plain cosines, the Dice over the batch and a weaker bend of
    the histogram: on a like toy with four labels .88 without the term `sup_disrupted` and .48 without `entropy`; with eight
    labels and a third of the noise, as published, .83 (labels alone .97).
    """

    terms: Mapping[str, Term] = {
        "similarity": Term(0.1, search=(0.01, 1.0)),
        "channels": Term(0.1, search=(0.01, 1.0)),
        "sup": Term(),
        "sup_disrupted": Term(1.0, search=(0.1, 2.0)),
        "consistency": Term(0.1, search=(0.01, 1.0), unlabeled=True),
        "entropy": Term(1.0, search=(0.1, 3.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "code": {
            "options": {"rates": "parts"},
            "terms": {"consistency": 0.0, "entropy": 0.0},
            "recipe": {
                "iterations": 10000, "optimiser": "adam", "lr": 1e-3, "weight_decay": 0.0, "schedule": "constant",
                "labeled_batch": 1, "unlabeled_batch": 1,
                "weak": {
                    "flip": 0.0, "rotate90": 0.0, "rotate": (1.0, 20.0), "scale": (1.0, 0.75, 1.25), "blur": (0.0, 1.0, 1.0),
                    "brightness": (0.0, 1.0, 1.0), "contrast": (0.0, 1.0, 1.0), "gamma": (0.0, 1.0, 1.0),
                },
            },
        },
    }  # fmt: skip

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `ddsp`."""

        source_points: int = Field(30, ge=2, description="most control points on the source; useful range 5 to 50")
        target_points: int = Field(10, ge=2, description="most control points on the target; useful range 2 to 30")
        probability: float = Field(0.2, ge=0.0, le=1.0, description="of each further change; useful range 0 to .5")
        rates: Literal["steps", "parts"] = Field(
            "steps",
            description="steps: one optimiser for the features' own step, with the smaller rate, and one for the step of the whole "
            "network; parts: one for all but the head, with the smaller rate in both steps, and one for the head",
        )
        feature_rate: float = Field(0.1, gt=0.0, description="factor on the recipe's rate for the smaller rate")
        loss: Literal["dice"] | Supervision = Field("dice", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: DDSP.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, self.classes = options, len(task.classes)
        self.net = backbones()

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`features` and `net` share the network; with rates="parts", `features` and `head` divide it."""
        factor = self.options.feature_rate
        if self.options.rates == "steps":
            return {"features": Optimiser((self.net,), lr_factor=factor), "net": Optimiser((self.net,))}
        head = parameters_of_head(self.net)
        kept = set(head)
        others = [parameter for parameter in self.net.parameters() if parameter not in kept]
        return {
            "features": Optimiser((nn.ParameterList(others),), lr_factor=factor),
            "head": Optimiser((nn.ParameterList(head),)),
        }

    def features(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> the finest decoder map (B, F, *s)."""
        return self.net.decoder(self.net.encode(images))[0]

    def disrupt(self, samples: Samples, most: int) -> Tensor:
        """Returns the images with another distribution of intensities."""
        return disrupted(samples.image, most=most, probability=self.options.probability, valid=samples.valid)

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Updates the features, then the whole network."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        label, count = labeled.target, len(labeled.image)
        whole = torch.cat([labeled.image, unlabeled.image])
        changed = torch.cat(
            [self.disrupt(labeled, self.options.source_points), self.disrupt(unlabeled, self.options.target_points)]
        )
        with frozen_statistics(self.net):  # the second pass moves them
            plain, other = self.features(whole), self.features(changed[:count])
        source, target = (channel_similarity(side).mean(0) for side in (plain[:count], plain[count:]))
        losses = {
            "similarity": (target - source.detach()).abs().mean(),
            "channels": -channel_consistency(plain[:count], other, label),
        }
        optimise(losses, on=["features"])
        del plain, other, source, target, losses
        logits, logits_changed = whole_and_changed(self.net, whole, changed)
        of_target = logits[count:]
        self.notes["foreground_target"] = (of_target.detach().argmax(1) > 0).float().mean()
        disrupted_target = logits_changed[count:].float().softmax(1)
        losses = {
            "sup": self._supervised(logits[:count], label),
            "sup_disrupted": self._supervised(logits_changed[:count], label),
            "consistency": dice_between(of_target, disrupted_target, unlabeled.valid, per_image=True, smooth=SMOOTH),
            "entropy": entropy(of_target, valid=unlabeled.valid) / self.classes,
        }
        optimise(losses, on=["net"] if self.options.rates == "steps" else ["features", "head"])

    def _supervised(self, logits: Tensor, label: Tensor) -> Tensor:
        if self.options.loss == "dice":
            return soft_dice(logits, label, per_image=True, smooth=SMOOTH)
        return supervised_loss(logits, label, self.options.loss)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.net(images)
