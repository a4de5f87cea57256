"""What the methods share that train a convolutional network beside a transformer."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from semibench import Backbones, Batch, MethodOptions, Task
from semibench.blocks import Supervision, supervised_loss
from semibench_plugins.datasets.paper_budgets import SSL4MIS_RECIPE
from semibench_plugins.methods.pseudo_labels.cps import TwoNetworks

CROSS_TEACHING_RECIPE: dict[str, Any] = {
    **SSL4MIS_RECIPE, "labeled_batch": 8, "unlabeled_batch": 8, "patch": (224, 224),
}  # fmt: skip
"""SSL4MIS's recipe with the batch and the patch of its scripts with a transformer."""


class CrossTeachingOptions(MethodOptions, frozen=True, extra="forbid"):
    """Options of methods with a second network."""

    second: str = Field("swin-unet", description="backbone of the second network")
    second_width: float | None = Field(
        None, gt=0.0, description="width of the second network; default: the recipe's for that backbone"
    )
    loss: Supervision = Field("dice_ce", description="supervised loss")


class CrossTeaching(TwoNetworks):
    """The first network is the run's backbone, the second by default Swin-UNet. A subclass writes `losses`."""

    loss: Supervision

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """2D only: Swin-UNet is a 2D network."""
        if task.dims == 2:
            return None
        return f"{cls.__name__} needs 2D networks, but the task asks for a {task.dims}D network"

    def __init__(self, task: Task, backbones: Backbones, options: CrossTeachingOptions) -> None:
        super().__init__(task, backbones, options)
        self.loss = options.loss
        own: dict[str, Any] = {} if options.second_width is None else {"width": options.second_width}
        self.first, self.second = backbones(), backbones(options.second, **own)

    def supervised_and_unlabeled(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the sum of both supervised losses, and both networks' logits of the unlabeled samples."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        images, sizes = torch.cat([labeled.image, unlabeled.image]), [len(labeled.image), len(unlabeled.image)]
        (one, a), (two, b) = self.first(images).split(sizes), self.second(images).split(sizes)
        sup = supervised_loss(one, labeled.target, self.loss) + supervised_loss(two, labeled.target, self.loss)
        return sup, a, b
