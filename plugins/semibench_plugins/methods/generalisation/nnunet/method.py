"""nnU-Net as the tables use it (Isensee et al., Nature Methods 2021): a supervised network with its training, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbones, Batch, Clock, Losses, Method, Optimiser, Stream, Task, Term
from semibench.blocks import cross_entropy, soft_dice
from semibench_plugins.methods.generalisation.nnunet.intensities import augmented
from semibench_plugins.methods.generalisation.nnunet.turns import turned
from semibench_plugins.methods.nesterov import NesterovOptions, one_optimiser

WEAK: Mapping[str, Any] = {
    "flip": 0.5, "rotate90": 0.0, "rotate": (0.2, 180.0), "scale": (0.2, 0.7, 1.4), "blur": (0.0, 1.0, 1.0),
    "brightness": (0.0, 1.0, 1.0), "contrast": (0.0, 1.0, 1.0), "gamma": (0.0, 1.0, 1.0),
}  # fmt: skip
"""Its geometry: mirrors on every axis, rotations in the image plane, scaling. The method itself changes intensities."""
NETWORKS: Mapping[str, Any] = {
    "unet": {"norm": "instance", "dropout": [0.0] * 5, "upsampling": "transposed"},
    "vnet": {"norm": "instance", "has_dropout": False},
}
"""What brings backbones of the harness nearest to its plain convolutional U-Net."""
RECIPE: Mapping[str, Any] = {
    "optimiser": "sgd", "lr": 0.01, "momentum": 0.99, "weight_decay": 3e-5, "schedule": "poly", "power": 0.9, "clip_norm": 12.0,
    "weak": WEAK, "networks": NETWORKS, "widths": {"*": 1.0, "unet": 2.0}, "iterations": 250000, "labeled_batch": 2,
}  # fmt: skip


def level_weights(maps: int) -> list[float]:
    """Weights of the outputs of a decoder with that many maps, finest first: 1 / 2^i, 0 for the coarsest, sum 1."""
    weights = [0.5**level for level in range(max(maps - 1, 1))]
    return [weight / sum(weights) for weight in weights] + [0.0] * (maps - len(weights))


class NNUNet(Method):
    """Deep supervision: each decoder map but the coarsest predicts the label at its own resolution.

    L = sum_i w_i [CE(o_i, y_i) + Dice(o_i, y_i)], w_i = 2^-i, normalised to the sum 1, y_i the nearest labels; the Dice is that
    of the softmax over the foreground classes, with plain sums, s = 1e-5, and over the batch (`batch_dice`; by default in 2D
    alone, as nnU-Net plans it). Crops with foreground are one of two, three or four and two of five, six or seven, as where
    nnU-Net rounds a third of the batch. Every sample gets nnU-Net's changes of intensity (`intensities`): noise, blur,
    brightness, contrast, low resolution, gamma of the image and of its negative. Unlabeled samples are never drawn.

    This is the method's loss and augmentation on a network of the harness, not the package nnunetv2: nothing configures itself,
    spacing and normalisation are the data set's. Default backbone: `unet`, the nearest to its plain U-Net. Preset `published` has
    SGD with Nesterov momentum .99, 250,000 iterations of 2, mirrors, rotations and scaling, and, under its own recipe,
    instance norm without dropout, transposed convolutions and 32 to 512 channels on five levels (published: six or
    seven levels, strided convolutions, at most 320 channels in 3D). Preset `mnms` is the same with the patch, batch and length of
    training of the other rows of DTLP-Net's Table VIII; how its row was trained isn't stated. The published code starts Dice at 0,
    not at 1, which changes no gradient; it predicts with mirrored images, which is a matter of the convention.

    nnU-Net turns volumes by up to 30 degrees about all three axes. Flat ones, more than three times as long as deep, it turns
    by any angle in the image plane. Preset `published-3d` is `published` for the former, `published` and `mnms` are for the latter
    and for images. What differs from the code: with `published-3d` the crop turns, so that its corners become padding, where
    nnU-Net cuts a larger one first; flat volumes are also scaled along their short axis; images that are more than 1.5 times as
    long as wide turn by any angle (published: 15 degrees).

    The option `nesterov`, which the presets set, trains with SGD at the rate of whatever recipe is used. Under a recipe of
    another optimiser set `lr`, too: a rate that suits Adam is too low for SGD. The recipe's `momentum` mustn't be 0, which
    torch refuses. Scored: the network.
    """

    terms: Mapping[str, Term] = {"sup": Term()}
    streams: ClassVar[Mapping[str, Stream]] = {"labeled": Stream("labeled", foreground=1 / 4)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {"options": {"nesterov": True}, "recipe": RECIPE},
        "published-3d": {
            "options": {"nesterov": True, "turns": 30.0},
            "recipe": {**RECIPE, "weak": {**WEAK, "rotate": (0.0, 0.0)}},
        },
        "mnms": {
            "options": {"nesterov": True},
            "recipe": {**RECIPE, "patch": (32, 128, 128), "iterations": 33000, "labeled_batch": 4},
        },
    }

    class Options(NesterovOptions, frozen=True, extra="forbid"):
        """Options of `nnunet`."""

        deep: bool = Field(True, description="deep supervision: losses at the coarser decoder maps, too")
        intensities: bool = Field(True, description="nnU-Net's changes of intensity, on top of the recipe's views")
        turns: float = Field(
            0.0,
            ge=0.0,
            le=180.0,
            description="largest angle in degrees by which a fifth of the volumes turns about each of the three axes, on top of "
            "the recipe's views; 0: none",
        )
        batch_dice: bool | None = Field(
            None, description="Dice over the batch, not per sample; none: in 2D, as nnU-Net plans it"
        )

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """Turns about three axes need volumes."""
        if options.turns and task.dims == 2:
            return f"turns: images have one axis to turn about; set method.turns=0, got {options.turns}, or train a 3D network"
        return None

    def __init__(self, task: Task, backbones: Backbones, options: NNUNet.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.per_sample = not (task.dims == 2 if options.batch_dice is None else options.batch_dice)
        self.net = backbones()
        channels = self.net.decoder.channels if options.deep else self.net.decoder.channels[:1]
        self.weights = [weight for weight in level_weights(len(channels)) if weight]
        conv = (nn.Conv2d, nn.Conv3d)[task.dims - 2]
        self.heads = nn.ModuleList(conv(count, len(task.classes), 1) for count in channels[1 : len(self.weights)])

    def optimisers(self) -> Mapping[str, Optimiser]:
        """One optimiser for everything; SGD if `nesterov` is set."""
        return one_optimiser(self, nesterov=self.options.nesterov)

    def outputs(self, images: Tensor) -> list[Tensor]:
        """(B, C, *spatial) -> logits by level, finest first; the first has the size of the images."""
        maps = self.net.decoder(self.net.encode(images))
        finest = self.net.enlarge(self.net.decoder.head(maps[0]), images.shape[2:])
        return [finest, *(head(one) for head, one in zip(self.heads, maps[1:], strict=False))]

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: the labeled samples, at every level."""
        samples = batch["labeled"]
        image, target, valid = samples.image, samples.target, samples.valid
        if self.options.turns:
            image, target, valid = turned(samples, self.options.turns)
        if self.options.intensities:
            image = augmented(image, valid)
        each = [self.level(logits, target) for logits in self.outputs(image)]
        return {"sup": torch.stack([w * loss for w, loss in zip(self.weights, each, strict=True)]).sum()}

    def level(self, logits: Tensor, target: Tensor) -> Tensor:
        """CE + Dice of the foreground against the nearest labels."""
        if logits.shape[2:] != target.shape[1:]:
            small = F.interpolate(target.unsqueeze(1).float(), logits.shape[2:], mode="nearest-exact")
            target = small.squeeze(1).long()
        dice = soft_dice(logits, target, squared=False, per_image=self.per_sample, background=False)
        return cross_entropy(logits, target) + dice

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.net(images)
