"""SASSNet, shape-aware semi-supervised segmentation (Li et al., MICCAI 2020), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbones, Batch, Clock, Method, MethodOptions, Optimise, Optimiser, Ramp, Task, Term
from semibench.blocks import distance_maps, evaluating
from semibench_plugins.methods.shape.segmentation_and_distance import (
    ABSENT,
    ABSENT_HELP,
    Absent,
    LabelLoss,
    SegmentationAndDistance,
    distance_error,
    label_loss,
)

UNLABELED, LABELED = 0, 1
SLOPE, DROPOUT = 0.2, 0.5
STEPS = 4
"""Convolutions of the critic; each halves the size."""


class ShapeCritic(nn.Module):
    """Tells the distance maps of labeled images from those of unlabeled ones, given the image.

    Maps and image each pass a convolution of their own, and the two are added. Three more convolutions (kernel 4, stride 2)
    double the channels; leaky ReLU and channel dropout follow all but the last, which has no dropout. The mean over positions
    makes any patch size possible (the authors' pooling has the size that 112 x 112 x 80 leaves). 11,020,290 parameters in
    3D with 64 filters, one distance map and one channel.
    """

    def __init__(self, dims: int, maps: int, channels: int, filters: int) -> None:
        super().__init__()
        conv = (nn.Conv2d, nn.Conv3d)[dims - 2]
        dropout = (nn.Dropout2d, nn.Dropout3d)[dims - 2]
        self.of_maps = conv(maps, filters, 4, stride=2, padding=1)
        self.of_image = conv(channels, filters, 4, stride=2, padding=1)
        layers: list[nn.Module] = [nn.LeakyReLU(SLOPE), dropout(DROPOUT)]
        widths = [filters * 2**step for step in range(STEPS)]
        for inputs, outputs in pairwise(widths):
            layers += [conv(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE), dropout(DROPOUT)]
        self.rest = nn.Sequential(*layers[:-1])
        self.classify = nn.Linear(widths[-1], 2)

    def forward(self, maps: Tensor, images: Tensor) -> Tensor:
        """Distance maps (B, K - 1, *spatial) and images (B, C, *spatial) -> logits (B, 2): unlabeled, labeled."""
        return self.classify(self.rest(self.of_maps(maps) + self.of_image(images)).flatten(2).mean(2))


class SASSNet(Method):
    """One network predicts the segmentation and the signed distance map of each foreground class. A critic learns which
    distance maps belong to labeled images, and the network learns to deceive it on unlabeled ones: a prior on shapes.

    Network: L = Dice(s, y) + .3 mean (z - g)^2 + w CE(D(z_u, x_u), labeled), s = softmax of the segmentation, z = tanh of
    the distance head, g the true signed distance (negative inside, in [-1, 1], of the training patch). w rises to .01 as
    exp(-5 (1 - t)^2) in 40 steps over the run. The Dice has squares, sums over the batch and leaves the background out.
    Critic: CE(D(z, x), labeled or unlabeled) on predicted maps of both parts, after the network's step, with the network
    in eval mode; Adam, rate 1e-4. The critic is without dropout where it judges and with it where it learns. Several
    classes are our extension of the published one.

    The weight .01 is the default of the published code and what its read-me gives for 16 labels; for 8 it gives .015. Preset
    `la`: .015, 0 for the distances of a patch without the object (option `absent`), and the code's recipe for the left
    atrium, except that the rate falls as poly instead of by .1 every 2500 of 6000 iterations; `la-16`: the same with .01;
    `la-printed`: the same with .001, the weight that is quoted from the paper, which we haven't seen in print. Scored: the
    segmentation; the distance head doesn't run.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "distance": Term(0.3, search=(0.05, 1.0)),
        "adversarial": Term(0.01, Ramp("sigmoid", levels=40), search=(1e-3, 0.1), unlabeled=True),
        "critic": Term(),
    }
    _la: ClassVar[Mapping[str, Any]] = {
        "options": {"absent": "zero"},
        "recipe": {"iterations": 6000, "labeled_batch": 2, "unlabeled_batch": 2},
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "la": {**_la, "terms": {"adversarial": 0.015}},
        "la-16": _la,
        "la-printed": {**_la, "terms": {"adversarial": 0.001}},
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `sassnet`."""

        critic_lr: float = Field(1e-4, gt=0.0, description="rate of the critic; useful range 1e-5 to 1e-3")
        critic_filters: int = Field(64, ge=1, description="channels of the critic's first convolution")
        absent: Absent = Field("outside", description=ABSENT_HELP)
        loss: LabelLoss = Field("dice", description="supervised loss of the segmentation")

    def __init__(self, task: Task, backbones: Backbones, options: SASSNet.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, self.classes = options, len(task.classes)
        self.net = SegmentationAndDistance(backbones(), self.classes)
        self.critic = ShapeCritic(task.dims, self.classes - 1, task.channels, options.critic_filters)

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`net` trains the network with both heads, `critic` the critic."""
        settings = {"betas": (0.9, 0.99), "weight_decay": 0.0}
        return {
            "net": Optimiser((self.net,)),
            "critic": Optimiser((self.critic,), "adam", self.options.critic_lr, schedule="constant", settings=settings),
        }

    def judged(self, distances: Tensor, images: Tensor, kinds: Tensor) -> Tensor:
        """Cross-entropy of the critic's verdicts against the kinds (B,), LABELED or UNLABELED."""
        return F.cross_entropy(self.critic(distances, images).float(), kinds)

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Updates the network against a fixed critic, then the critic on the updated network's distance maps."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        images, count = torch.cat([labeled.image, unlabeled.image]), len(labeled.image)
        kinds = torch.full((len(images),), UNLABELED, device=images.device)
        kinds[:count] = LABELED
        logits, distances = self.net.both(images)
        goal = distance_maps(labeled.target, self.classes, absent=ABSENT[self.options.absent])
        self.critic.eval()
        deceived = self.judged(distances[count:], unlabeled.image, torch.full_like(kinds[count:], LABELED))
        self.critic.train()
        losses = {
            "sup": label_loss(logits[:count], labeled.target, self.options.loss),
            "distance": distance_error(distances[:count], goal, labeled.valid),
            "adversarial": deceived,
        }
        optimise(losses, on=["net"])
        with evaluating(self.net):
            distances = self.net.both(images)[1]
        optimise({"critic": self.judged(distances, images, kinds)}, on=["critic"])

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.net(images)
