"""CPC-SAM, cross prompting consistency with SAM (Miao et al., MICCAI 2024), in 2D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage
from torch import Tensor

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
    UsageError,
)
from semibench.blocks import dice_ce

START = 0.1
"""When prompting begins, as a share of the run: 5000 of 50000 iterations."""
PROMPTING = ("prompted", "cross", "agreement")
"""Terms of the second and third round."""


def _recipe(iterations: int) -> dict[str, Any]:
    """The authors' recipe. Rate and start of the terms are set in iterations there, 250 and 5000."""
    return {
        "iterations": iterations, "labeled_batch": 6, "unlabeled_batch": 6, "patch": (512, 512), "optimiser": "adamw",
        "lr": 1e-3, "weight_decay": 0.1, "warm_up": 250 / iterations,
    }  # fmt: skip


def _longer(iterations: int) -> dict[str, Any]:
    """A preset for more labeled patients: prompting begins after 5000 of more iterations."""
    active = [5000 / iterations, None]
    return {"recipe": _recipe(iterations), "terms": {name: {"active": active} for name in PROMPTING}}


CE_SHARE = 0.2
"""Share of the cross-entropy in the loss on labels."""
EIGHT = np.ones((3, 3), dtype=bool)
"""Neighbours of a pixel, diagonals included."""


class CPCSAM(Method):
    """SAM with two mask decoders. What one decoder predicts without prompts gives the other one points to start from; with those
    it labels unlabeled images for the first.

    Round 1: sup = sum over both decoders of .2 CE + .8 Dice on labeled images, without prompts. From a tenth of the run on,
    two more rounds follow, each with a step of the optimiser. In round 2 the prediction of the second decoder (argmax, without
    prompts) gives for each class, background included, the largest component of 8-neighbours, and of it point A, a position
    farthest from its border, and point B, any position. The first decoder predicts a with the points A and b with the points
    B. With y the argmax of the mean of both softmaxes on unlabeled images:
    prompted = the loss of sup for a and for b on labeled images; cross = (CE + Dice) / 2 of the second decoder's prediction without
    prompts against y; agreement = (CE + Dice) / 2 of b against y. L = prompted + .4 cross + .05 agreement. Round 3 is round
    2 with the decoders swapped. A class that a prediction lacks takes the background's point A, with the background's label.
    The Dice has squares and sums over the batch, background counted. No gradient passes through points and y.

    The encoder is frozen and learns through LoRA of rank 4 on queries and values. That needs SAM's weights (`--weights
    sam_vit_b_01ec64.pth`); rank 0 trains the whole encoder instead, for runs without them. Preset `acdc`: the authors' recipe
    for one patient, AdamW with rate 1e-3 and decay .1 at 512 x 512, 10000 passes over the labeled slices, which are 50000
    iterations; `acdc-3` and `acdc-7`: for three and seven patients, 110000 and 220000 iterations. In all of them prompting
    begins after 5000 iterations and the rate rises in the first 250. Scored: the mean of both decoders without prompts (as
    published), and each of them. The authors measure distances in mm with the spacing of the files.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "prompted": Term(active=(START, math.inf)),
        "cross": Term(0.4, active=(START, math.inf), search=(0.1, 1.0), unlabeled=True),
        "agreement": Term(0.05, active=(START, math.inf), search=(0.01, 0.2), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "acdc": {"recipe": _recipe(50000)},
        "acdc-3": _longer(110000),
        "acdc-7": _longer(220000),
    }

    known_failures: ClassVar[Mapping[str, str]] = {
        "beats_chance": "the frozen encoder has random weights on the toy, where even the labels alone, with the whole encoder "
        "trained, reach a Dice of .25: the method needs SAM's weights"
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `cpc-sam`."""

        rank: int = Field(
            4, ge=0, le=64, description="rank of LoRA in the frozen encoder; 0: the whole encoder is trained"
        )

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """SAM takes images only."""
        return None if task.dims == 2 else "cpc-sam prompts SAM, a network of 2D images"

    def __init__(self, task: Task, backbones: Backbones, options: CPCSAM.Options) -> None:
        super().__init__(task, backbones, options)
        self.classes = len(task.classes)
        net: Any = backbones()  # with `prompt` and `adapt`, beyond the contract
        if "prompts" not in net.provides:
            raise UsageError(
                "cpc-sam prompts its decoders with points: expected a backbone that provides 'prompts', such as sam, got "
                f"{type(net).__name__}"
            )
        if options.rank:
            net.adapt(options.rank)
        self.net = net
        self.second = net.new_decoder()

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`main` trains all that isn't frozen."""
        return {"main": Optimiser((self,))}

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Round 1; while a term of theirs counts, also rounds 2 and 3, each with a step of its own."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        decoders, size = (self.net.decoder, self.second), labeled.image.shape[2:]
        features = self.net.encode(labeled.image)
        parts = [dice_ce(self._decoded(decoder, features, size), labeled.target, mix=CE_SHARE) for decoder in decoders]
        optimise({"sup": torch.stack(parts).sum()})
        if not any(self.weight(name, clock) for name in PROMPTING):
            return
        images, count = torch.cat([labeled.image, unlabeled.image]), len(labeled.image)
        for prompted, coarse in (decoders, decoders[::-1]):
            features = self.net.encode(images)
            alone = self._decoded(coarse, features, size)
            kinds, *places = points_of(alone.detach().argmax(1), self.classes)
            first, second = (
                self._decoded(prompted, features, size, self.net.prompt(points, kinds, size)) for points in places
            )
            mean = first[count:].detach().float().softmax(1) + second[count:].detach().float().softmax(1)
            label = mean.argmax(1).masked_fill(~unlabeled.valid, IGNORE)
            optimise(
                {
                    "prompted": torch.stack(
                        [dice_ce(logits[:count], labeled.target, mix=CE_SHARE) for logits in (first, second)]
                    ).sum(),
                    "cross": dice_ce(alone[count:], label),
                    "agreement": dice_ce(second[count:], label),
                }
            )

    def _decoded(self, decoder: Any, features: list[Tensor], size: Any, prompts: Tensor | None = None) -> Tensor:
        return self.net.enlarge(decoder.head(decoder(features, prompts)[0]), size)

    def predictors(self) -> Mapping[str, Any]:
        """The mean of both decoders, and each."""
        return {"main": self, "first": self.net, "second": self._second}

    def _second(self, images: Tensor) -> Tensor:
        return self._decoded(self.second, self.net.encode(images), images.shape[2:])

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> logarithm of the mean softmax of both decoders without prompts, (B, K, H, W)."""
        features, size = self.net.encode(images), images.shape[2:]
        parts = [
            self._decoded(decoder, features, size).float().log_softmax(1) for decoder in (self.net.decoder, self.second)
        ]
        return torch.logsumexp(torch.stack(parts), 0) - math.log(len(parts))


def points_of(labels: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draws a point of each class from label maps (B, H, W).

    Returns:
        Labels (B, K) of the points: their classes, 0 for one that the map lacks. Points A (B, K, 2), as (y, x): positions farthest
        from the border of the largest component. Points B (B, K, 2): any positions of that component.
    """
    maps = labels.cpu().numpy()
    central, anywhere = np.zeros((2, len(maps), classes, 2), dtype=np.int64)
    kinds = np.zeros((len(maps), classes), dtype=np.int64)
    for sample, found in enumerate(maps):
        for kind in range(classes):
            mask = found == kind
            if mask.any():
                component = largest(mask)
                distance = ndimage.distance_transform_edt(np.pad(component, 1))[1:-1, 1:-1]
                central[sample, kind] = drawn(distance == distance.max())
                anywhere[sample, kind], kinds[sample, kind] = drawn(component), kind
            else:
                central[sample, kind] = anywhere[sample, kind] = central[sample, 0]
    return tuple(torch.from_numpy(array).to(labels.device) for array in (kinds, central, anywhere))  # type: ignore[return-value]


def largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest component of a mask (H, W), diagonal neighbours included; of equally large ones the first."""
    components, count = ndimage.label(mask, EIGHT)
    return mask if count == 1 else components == 1 + np.bincount(components.ravel())[1:].argmax()


def drawn(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A random position (y, x) of those where a mask (H, W) holds, by torch's generator."""
    positions = np.argwhere(mask)
    return positions[int(torch.randint(len(positions), ()))]
