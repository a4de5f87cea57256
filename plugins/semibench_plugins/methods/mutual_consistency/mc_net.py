"""MC-Net and MC-Net+ (Wu et al., MICCAI 2021 and MedIA 2022), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from semibench import Backbones, Batch, Clock, Decoder, Losses, Method, MethodOptions, Ramp, Task, Term
from semibench.blocks import masked_mean
from semibench_plugins.methods.mutual_consistency.other_decoders import Upsampling, other_decoders
from semibench_plugins.methods.mutual_consistency.supervision import LabelLoss, label_loss

RECIPE: Mapping[str, Any] = {"iterations": 15000, "labeled_batch": 2, "unlabeled_batch": 2, "schedule": "constant"}
"""The authors' recipe of the left atrium: 15000 iterations of 2 + 2 at a constant rate."""
RAMP = Ramp("sigmoid", end=0.4, levels=40)
"""40 steps of 150 iterations, 6000 of the 15000."""


def sharpened(logits: Tensor, temperature: float) -> Tensor:
    """Softmax of the logits over T: p^(1/T) / sum_c p_c^(1/T), without the underflow of the powers."""
    return (logits.float() / temperature).softmax(1)


def mutual_consistency(
    outputs: Sequence[Tensor], temperature: float, valid: Tensor, *, stop_gradient: bool = False
) -> Tensor:
    """Sum over the ordered pairs i != j of mean (p_i - sharp(p_j))^2, a mean over samples, classes and valid positions."""
    soft = [z.float().softmax(1) for z in outputs]
    sharp = [sharpened(z.detach() if stop_gradient else z, temperature) for z in outputs]
    square = sum((p - goal).square() for i, p in enumerate(soft) for j, goal in enumerate(sharp) if i != j)
    return masked_mean(cast(Tensor, square), valid.unsqueeze(1))


class MCNet(Method):
    """One encoder and two decoders that differ in their upsampling. Each decoder is pulled to the sharpened prediction of
    the other, on labeled and unlabeled samples; where they disagree, the network is uncertain.

    L = .5 sum_i Dice(p_i, y) + w sum_{i != j} mean (p_i - sharp(p_j))^2, sharp(p) = p^(1/T) / sum_c p_c^(1/T), T = .1. w
    rises to 1 as exp(-5 (1 - t)^2), in 40 steps over the first two fifths of the run. The Dice has no squares, sums over
    the batch and leaves the background out. The authors sharpen two classes, where the divisor is p^(1/T) + (1 - p)^(1/T).
    The paper calls sharp(p_j) a pseudo-label. The authors' code lets the gradient through it, which is the default here;
    `stop_gradient` makes it a constant.

    The first decoder is the backbone's own: transposed convolutions in `vnet`, linear upsampling in `unet`. The second has
    the other of the two (option `upsampling`). Scored: the first decoder, the only one that runs then. The
    authors keep the weights that are best on the test list. Preset `la`: their recipe for the left atrium.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(0.5, search=(0.1, 1.0)),
        "consistency": Term(1.0, RAMP, search=(0.1, 10.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"la": {"recipe": RECIPE}}
    others: ClassVar[int] = 1
    """Number of decoders beside the backbone's own."""

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `mc-net` and `mc-net-plus`."""

        temperature: float = Field(0.1, gt=0.0, le=1.0, description="T of the sharpening; useful range .05 to 1")
        stop_gradient: bool = Field(False, description="treat the sharpened prediction as a constant")
        upsampling: tuple[Upsampling, ...] | None = Field(
            None,
            min_length=1,
            description="upsampling of each decoder beside the backbone's own; default: "
            "transposed, linear and nearest, without that of its own",
        )
        loss: LabelLoss = Field("dice", description="supervised loss of each decoder")

    def __init__(self, task: Task, backbones: Backbones, options: MCNet.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net = backbones()
        self.auxiliary = nn.ModuleList(
            other_decoders(self.net, self.others)
            if options.upsampling is None
            else [self.net.new_decoder(upsampling=kind) for kind in options.upsampling]
        )

    def branches(self, images: Tensor) -> list[Tensor]:
        """(B, C, *spatial) -> logits (B, K, *spatial) of every decoder, the first is the backbone's own."""
        features, size = self.net.encode(images), images.shape[2:]
        decoders = [self.net.decoder, *(cast(Decoder, decoder) for decoder in self.auxiliary)]
        return [self.net.decode(features, size, decoder) for decoder in decoders]

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, sum over decoders; consistency: all samples without padding, sum over ordered pairs."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        outputs = self.branches(torch.cat([labeled.image, unlabeled.image]))
        valid = torch.cat([labeled.valid, unlabeled.valid])
        options, count = self.options, len(labeled.image)
        return {
            "sup": label_loss([z[:count] for z in outputs], labeled.target, options.loss),
            "consistency": mutual_consistency(outputs, options.temperature, valid, stop_gradient=options.stop_gradient),
        }

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the first decoder."""
        return self.net(images)


class MCNetPlus(MCNet):
    """MC-Net with three decoders: transposed convolutions, linear and nearest upsampling.

    The losses are sums over three decoders and six ordered pairs, so at equal weights the supervised loss counts 1.5 times
    and the consistency three times as much as with two. All else is as in `mc-net`.
    """

    others: ClassVar[int] = 2
