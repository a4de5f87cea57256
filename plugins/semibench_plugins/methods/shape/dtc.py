"""DTC, dual-task consistency (Luo et al., AAAI 2021), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from semibench import Backbones, Batch, Clock, Losses, Method, MethodOptions, Ramp, Task, Term
from semibench.blocks import distance_maps, masked_mean
from semibench_plugins.methods.shape.segmentation_and_distance import (
    ABSENT,
    ABSENT_HELP,
    Absent,
    LabelLoss,
    SegmentationAndDistance,
    distance_error,
    label_loss,
)


def region_of(distances: Tensor, steepness: float) -> Tensor:
    """T(z) = sigmoid(-k z), a smooth step: about 1 where the signed distance is negative and about 0 where it is positive."""
    return torch.sigmoid(-steepness * distances)


class DTC(Method):
    """One network predicts the segmentation and the signed distance map of each foreground class. A smooth step turns the
    distances back into a segmentation, and both must agree on labeled and unlabeled samples.

    With s = softmax of the segmentation, z = tanh of the distance head and g the true signed distance (negative inside, in
    [-1, 1], of the training patch): L = Dice(s, y) + .3 mean (z - g)^2 + w mean (T(z) - s)^2, T(z) = sigmoid(-1500 z), means
    over foreground classes and positions. w rises to 1 as exp(-5 (1 - t)^2) in 40 steps over the run. The gradient passes
    through both heads. The Dice has squares, sums over the batch and leaves the background out. The published network has
    one class and a sigmoid; several classes are our extension.

    T rises within |z| < .003, so the consistency trains the distance head near its zero level only. The authors' code sets
    the distances of a patch without the object to 0, where T is .5, and so pulls s towards .5; the default here is 1, the
    value of far outside (option `absent`). Preset `la`: the code's 0 and its recipe for the left atrium, except that the rate
    falls as poly instead of by .1 every 2500 of 6000 iterations. Scored: the segmentation; the distance head doesn't run.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "distance": Term(0.3, search=(0.05, 1.0)),
        "consistency": Term(1.0, Ramp("sigmoid", levels=40), search=(0.05, 5.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "la": {
            "options": {"absent": "zero"},
            "recipe": {"iterations": 6000, "labeled_batch": 2, "unlabeled_batch": 2},
        }
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `dtc`."""

        steepness: float = Field(1500.0, gt=0.0, description="k of the smooth step; useful range 100 to 3000")
        absent: Absent = Field("outside", description=ABSENT_HELP)
        loss: LabelLoss = Field("dice", description="supervised loss of the segmentation")

    def __init__(self, task: Task, backbones: Backbones, options: DTC.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, self.classes = options, len(task.classes)
        self.net = SegmentationAndDistance(backbones(), self.classes)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup and distance: labeled part; consistency: all samples without padding."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        logits, distances = self.net.both(torch.cat([labeled.image, unlabeled.image]))
        count, options = len(labeled.image), self.options
        goal = distance_maps(labeled.target, self.classes, absent=ABSENT[options.absent])
        square = (region_of(distances, options.steepness) - logits.float().softmax(1)[:, 1:]).square()
        valid = torch.cat([labeled.valid, unlabeled.valid]).unsqueeze(1)
        return {
            "sup": label_loss(logits[:count], labeled.target, options.loss),
            "distance": distance_error(distances[:count], goal, labeled.valid),
            "consistency": masked_mean(square, valid),
        }

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.net(images)
