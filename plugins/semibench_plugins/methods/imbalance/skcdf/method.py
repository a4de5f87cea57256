"""SKCDF, semantic knowledge complementarity based decoupling framework (Zhang et al., CVPR 2025), in 2D and 3D."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from semibench import (
    IGNORE,
    Backbones,
    Batch,
    Clock,
    Decoder,
    Losses,
    Method,
    Optimiser,
    Pools,
    Ramp,
    Task,
    Term,
    UnsupportedError,
)
from semibench.blocks import inverse_frequency
from semibench_plugins.methods.generalisation.three_decoders.losses import dice_with_ce
from semibench_plugins.methods.imbalance.skcdf.attention import Complementarity
from semibench_plugins.methods.nesterov import NesterovOptions, one_optimiser


def classifier(decoder: Decoder, classes: int) -> nn.Conv2d | nn.Conv3d:
    """The layer of a decoder that maps its finest map to logits.

    Raises:
        UnsupportedError: if there is no convolution from the finest map to the classes.
    """
    for part in reversed(list(decoder.modules())):
        if isinstance(part, nn.Conv2d | nn.Conv3d) and (part.in_channels, part.out_channels) == (
            decoder.channels[0],
            classes,
        ):
            return part
    raise UnsupportedError(
        f"skcdf copies the last layer of the decoder: expected a convolution from {decoder.channels[0]} channels to {classes} "
        f"classes, found none in {type(decoder).__name__}; use vnet or unet"
    )


class SKCDF(Method):
    """Decoders of their own for labeled and unlabeled samples, which share an encoder, complement each other's features and have a
    second, class-balanced head each.

    D_u is the network's decoder, which is tested; D_l a second one. Each has a main head and a balanced one (a fresh copy of
    its last layer). At the coarsest map the attention of `Complementarity` comes between encoder and decoder: for D_l, labeled
    samples look at the unlabeled of the batch and the other way round; for D_u each unlabeled sample looks at itself.
    r_k = min_j n_j / n_k from the voxels of the labeled cases, at time t relaxed to r_k(t) = 1 - t (1 - r_k); a voxel of class k
    counts for a balanced head with probability r_k. y' and y'_b are the labels of D_l's two heads for unlabeled samples.
    sup = R(D_l(x_l), y) + R(D_l,b(x_l), y; drawn with r)
    unsup = R(D_u(x_u), y') + R(D_u,b(x_u), y'_b; drawn with r(t))
    R = CE + mean_{k >= 1} (1 - Dice_k). L = sup + 10 exp(-5 (1 - t)^2) unsup. (The loss function is R / 2, hence the weights 2
    and 20.) Each iteration starts with D_l.main <- .99 D_l.main + .01 D_l.balanced, D_u <- .99 D_u + .01 D_l, both heads
    included, and D_u.main the same with its balanced head; running statistics don't change.

    A voxel that isn't drawn stays in R as the published code has it: its logits and its label are set to 0, which adds ln K
    to the cross-entropy and 1 / K to the size of every class in the Dice. `undrawn=ignored` leaves it out (ours; .866 on the
    toy, published .888, labels alone .840). Other differences from the code: it encodes the unlabeled samples a second time
    for D_u; here both decoders use the same maps, so dropout and batch statistics of the encoder are shared. sup has no
    gradient through the unlabeled samples; in the code it has one by way of D_l's batch statistics. The code counts the
    voxels of the first four labeled cases, here of all, and starts from Xavier's weights, here from the backbone's own. Its
    attention is written for maps of 4 x 8 x 8; here it fits the patch. A class that no labeled case has keeps all its voxels.
    Presets `synapse` and `amos22`: the rate of .3 or .1 and the 1500 epochs of the authors' runs, for `amos22` with 2 % of
    the labels, and their Nesterov momentum. Scored: D_u's main head.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(2.0),
        "unsup": Term(20.0, Ramp("sigmoid"), search=(2.0, 40.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "synapse": {
            "options": {"nesterov": True},
            "recipe": {
                "iterations": 12000, "labeled_batch": 2, "unlabeled_batch": 2, "patch": (64, 128, 128), "optimiser": "sgd",
                "lr": 0.3, "weight_decay": 3e-5,
            },
        },
        "amos22": {
            "options": {"nesterov": True},
            "recipe": {
                "iterations": 159000, "labeled_batch": 2, "unlabeled_batch": 2, "patch": (64, 128, 128), "optimiser": "sgd",
                "lr": 0.1, "weight_decay": 3e-5,
            },
        },
    }  # fmt: skip
    known_failures: ClassVar[Mapping[str, str]] = {
        "trained_weights_are_not_overwritten": "published: both decoders learn, and 1 % of the labeled decoder flows into the "
        "other in each iteration, as does 1 % of each balanced head into its main head"
    }

    class Options(NesterovOptions, frozen=True, extra="forbid"):
        """Options of `skcdf`."""

        mixing: float = Field(
            0.01, ge=0.0, le=1.0, description="rate at which weights flow; 0: not at all; useful range 0 to .05"
        )
        undrawn: Literal["background", "ignored"] = Field(
            "background",
            description="voxels that a balanced head doesn't draw: zero logits with label 0 (published), or left out",
        )
        heads: int = Field(2, ge=1, description="heads of the attention; useful range 1 to 4")
        dropout: float = Field(0.1, ge=0.0, lt=1.0, description="dropout of the attention; useful range 0 to .3")

    rates: Tensor

    def __init__(self, task: Task, backbones: Backbones, options: SKCDF.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, kinds = options, len(task.classes)
        self.net = backbones()
        self.labeled_decoder = self.net.new_decoder()
        grid = [math.ceil(side / self.net.strides[-1]) for side in task.patch]
        self.complement = Complementarity(self.net.channels[-1], grid, heads=options.heads, dropout=options.dropout)
        self.balanced = nn.ModuleList(copy.deepcopy(classifier(self.net.decoder, kinds)) for _ in range(2))
        for layer in self.balanced:
            layer.reset_parameters()  # type: ignore[operator]
        self.register_buffer("rates", torch.ones(kinds))

    def optimisers(self) -> Mapping[str, Optimiser]:
        """One optimiser for everything; SGD if `nesterov` is set."""
        return one_optimiser(self, nesterov=self.options.nesterov)

    def begin(self, stage: str, pools: Pools) -> None:
        """Counts the voxels of the labeled cases: the rarest class is always drawn."""
        weights = inverse_frequency(pools.class_voxels())
        self.rates.copy_(weights / weights.max())

    @torch.no_grad()
    def flow(self) -> None:
        """Lets weights flow: balanced head -> main head of D_l, D_l -> D_u, balanced head -> main head of D_u."""
        rate, decoders = self.options.mixing, (self.labeled_decoder, self.net.decoder)
        labeled, unlabeled = (classifier(decoder, len(self.rates)) for decoder in decoders)
        steps = [
            (labeled, self.balanced[0]),
            (self.net.decoder, self.labeled_decoder),
            (self.balanced[1], self.balanced[0]),
            (unlabeled, self.balanced[1]),
        ]
        for mine, theirs in steps:
            torch._foreach_lerp_(list(mine.parameters()), list(theirs.parameters()), rate)

    def _both_heads(self, maps: list[Tensor], size: torch.Size, labeled: bool) -> tuple[Tensor, Tensor]:
        decoder, balanced = (self.labeled_decoder if labeled else self.net.decoder), self.balanced[0 if labeled else 1]
        fine = decoder(maps)[0]
        return self.net.enlarge(decoder.head(fine), size), self.net.enlarge(balanced(fine), size)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, D_l; unsup: unlabeled part, D_u. Lets weights flow first."""
        self.flow()
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        images, count = torch.cat([labeled.image, unlabeled.image]), len(labeled.image)
        size = images.shape[2:]
        *skips, coarse = self.net.encode(images)
        mixed = self.complement.between(coarse[:count], coarse[count:])
        both = [torch.cat([maps[:count], maps[count:].detach()]) for maps in skips]
        main, balanced = self._both_heads([*both, mixed], size, labeled=True)
        pseudo, pseudo_b = (
            z[count:].detach().argmax(1).masked_fill(~unlabeled.valid, IGNORE) for z in (main, balanced)
        )
        own = [*(maps[count:] for maps in skips), self.complement(coarse[count:])]
        main_u, balanced_u = self._both_heads(own, size, labeled=False)
        relaxed = 1.0 - clock.progress * (1.0 - self.rates)
        self.notes["foreground"] = pseudo.gt(0).logical_and(unlabeled.valid).float().mean()
        target = labeled.target
        return {
            "sup": dice_with_ce(main[:count], target) + self.drawn_loss(balanced[:count], target, self.rates),
            "unsup": dice_with_ce(main_u, pseudo) + self.drawn_loss(balanced_u, pseudo_b, relaxed),
        }

    def drawn_loss(self, logits: Tensor, label: Tensor, rates: Tensor) -> Tensor:
        """The loss of a balanced head: a voxel of class k counts with probability rates[k]."""
        drawn = torch.rand(label.shape, device=label.device) < rates[label.masked_fill(label == IGNORE, 0).long()]
        if self.options.undrawn == "ignored":
            return dice_with_ce(logits, label.masked_fill(~drawn, IGNORE))
        background = label.masked_fill(~drawn & (label != IGNORE), 0)
        return dice_with_ce(logits * drawn.unsqueeze(1), background)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of D_u's main head."""
        *skips, coarse = self.net.encode(images)
        return self.net.decode([*skips, self.complement(coarse)], images.shape[2:])
