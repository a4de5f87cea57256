"""The atlas: one label map for every case, the majority vote of the labeled ones; what data give away without an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from semibench import Backbones, Method, MethodOptions, Optimiser, Pools, Stream, Task, Term

CERTAIN = 10.0
"""Logit of the class that won the vote; the others have 0."""


class Atlas(Method):
    """Predicts the class that most labeled cases have at each place; of equal counts, the lower class wins.

    The votes are counted on one grid, whose sides are the medians of the labeled label maps' sides (at most `largest`); maps
    with other sides are resized to it, and the result to each case, by the nearest voxel. Volumes vote and are predicted whole,
    also where the run's network is 2D: a slice at one height of the body says little about a slice at another, and the position
    of a slice isn't known to a network that sees slices. Nothing is optimised, and of an image only its size is read.
    """

    terms: Mapping[str, Term] = {}
    streams: ClassVar[Mapping[str, Stream]] = {"labeled": Stream("labeled")}
    whole_cases: ClassVar[bool] = True

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `atlas`."""

        largest: int = Field(160, ge=1, description="largest side of the grid on which votes are counted")

    def __init__(self, task: Task, backbones: Backbones, options: Atlas.Options) -> None:
        super().__init__(task, backbones, options)
        self.classes, self.largest = len(task.classes), options.largest
        self.vote = torch.zeros(task.patch, dtype=torch.uint8)

    def optimisers(self) -> Mapping[str, Optimiser]:
        """None: `begin` has done everything."""
        return {}

    def begin(self, stage: str, pools: Pools) -> None:
        """Counts the votes of the labeled cases."""
        self.vote = majority(list(pools.label_maps()), self.classes, self.largest)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial), the same for every image."""
        vote = nearest(self.vote.to(images.device), images.shape[2:])
        logits = CERTAIN * F.one_hot(vote.long(), self.classes).movedim(-1, 0).float()
        return logits.expand(len(images), *logits.shape)

    def get_extra_state(self) -> dict[str, Tensor]:
        """The vote. Its grid is known only when training begins, so it can't be a buffer."""
        return {"vote": self.vote}

    def set_extra_state(self, state: Any) -> None:
        self.vote = state["vote"]


def nearest(label: Tensor, size: Iterable[int]) -> Tensor:
    """Resizes a label map, uint8 (*spatial), by the nearest voxel, with aligned centres."""
    sides = tuple(size)
    if tuple(label.shape) == sides:
        return label
    return F.interpolate(label[None, None].float(), sides, mode="nearest-exact")[0, 0].to(torch.uint8)


def majority(labels: list[Tensor], classes: int, largest: int) -> Tensor:
    """Returns the class with the most votes at each place, uint8, on the grid of median sides, each at most `largest`.

    Values that are no class (padding) don't vote.
    """
    sides = torch.tensor([tuple(label.shape) for label in labels]).median(dim=0).values.clamp(max=largest).tolist()
    votes = torch.zeros((classes, *sides), dtype=torch.int32)
    for label in labels:
        resized = nearest(label.cpu(), sides)
        for number in range(classes):
            votes[number] += resized == number
    return votes.argmax(dim=0).to(torch.uint8)
