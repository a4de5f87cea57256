"""DSAN, deep symmetric adaptation network (Han et al., IEEE TMI 2022), in 2D and 3D: a reconstruction."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import (
    Backbone,
    Backbones,
    Batch,
    Clock,
    Decoder,
    Method,
    MethodOptions,
    Optimise,
    Optimiser,
    Pools,
    Task,
    Term,
)
from semibench.blocks import (
    Supervision,
    absolute_error,
    discriminator_loss,
    frozen_statistics,
    least_squares,
    softmax_mse,
    supervised_loss,
)
from semibench_plugins.methods.adaptation.adaoutput import PatchCritic


class Translator(nn.Module):
    """A decoder of the shared encoder's maps that paints the image in one domain, between a low and a high value."""

    def __init__(self, decoder: Decoder, backbone: Backbone) -> None:
        super().__init__()
        self.decoder = decoder
        self.mode = ("bilinear", "trilinear")[backbone.dims - 2]

    def forward(self, features: list[Tensor], size: torch.Size, bounds: Tensor) -> Tensor:
        """Encoder maps, finest first -> images (B, C, *size) between bounds[0] and bounds[1]."""
        painted = self.decoder.head(self.decoder(features)[0])
        if painted.shape[2:] != size:
            painted = F.interpolate(painted, size, mode=self.mode)
        return torch.lerp(bounds[0], bounds[1], (painted.float().tanh() + 1.0) / 2.0)


class DSAN(Method):
    """One encoder E serves a segmentation decoder and two translation decoders, source to target (T) and target to source (S).
    The encoder sees source, target and their translations, so that both directions align its features.

    With x_st = T(E(x_s)), x_ts = S(E(x_t)) and p = softmax of the segmentation:
    L = L_sup(x_s) + L_sup(x_st) + (D_T(x_st) - real)^2 + (D_S(x_ts) - real)^2 + 10 (|S(E(x_st)) - x_s| + |T(E(x_ts)) - x_t|)
    + .1 (D_p({p_t, p_ts}) - source)^2 + .1 (p_t - p_ts)^2, all means. The critics of images and of softmax maps learn least
    squares on the same images, detached, half for each side. Translation decoders and critics: Adam 2e-4, betas (.5, .999);
    encoder and segmentation: the recipe's optimiser.

    The authors published no code, and this is a reconstruction by the paper's idea: the weights, the consistency of p_t with
    p_ts in place of an alignment whose form we don't know, and the critics (those of `adaoutput`) are ours. There is no pool
    of earlier translations: 50 volumes would take more memory than the networks. Painted values lie between the lowest and
    the highest of the training images (tanh). Translations aren't tested, so that they don't move running statistics.
    Three critics with 64 channels would have many times the parameters of the network, so they start with 16.

    On the toy of the learning check, blobs on noise as strong as their contrast, the Dice is .36 (labels alone .84, seed 0): there
    the small encoder has to carry the noise for the translations. With critics of 4 channels it is .44 with a weight of the cycle
    of 1 and .70 without the cycle.

    Scored: the segmentation of the target image; the translation decoders don't run.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "sup_translated": Term(1.0, search=(0.1, 2.0), unlabeled=True),
        "translation": Term(1.0, search=(0.1, 10.0)),
        "cycle": Term(10.0, search=(1.0, 30.0)),
        "output": Term(0.1, search=(0.01, 1.0), unlabeled=True),
        "consistency": Term(0.1, search=(0.01, 1.0), unlabeled=True),
        "critic": Term(),
    }
    bounds: Tensor

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `dsan`."""

        lr: float = Field(2e-4, gt=0.0, description="rate of translation decoders and critics; useful 1e-5 to 1e-3")
        critic_filters: int = Field(
            16, ge=1, description="channels of the critics' first convolution; useful range 16 to 64"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss, of source images and of their translations")

    def __init__(self, task: Task, backbones: Backbones, options: DSAN.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, classes = options, len(task.classes)
        self.net = backbones()
        painter = backbones(outputs=task.channels)
        self.to_source, self.to_target = (Translator(painter.new_decoder(), painter) for _ in range(2))
        self.source_critic, self.target_critic, self.output_critic = (
            PatchCritic(task.dims, inputs, task.patch, options.critic_filters)
            for inputs in (task.channels, task.channels, classes)
        )
        self.register_buffer("bounds", torch.tensor([0.0, 1.0]))

    def begin(self, stage: str, pools: Pools) -> None:
        """Looks for the lowest and the highest value of the training images."""
        ends = torch.stack([torch.stack(samples.image.aminmax()) for samples in pools.batches("all")])
        self.bounds.copy_(torch.stack([ends[:, 0].min(), ends[:, 1].max()]))

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`net` trains encoder and segmentation, `translation` both translation decoders, `critics` the three critics."""
        lr, settings = self.options.lr, {"betas": (0.5, 0.999), "weight_decay": 0.0}
        critics = (self.source_critic, self.target_critic, self.output_critic)
        return {
            "net": Optimiser((self.net,)),
            "translation": Optimiser((self.to_source, self.to_target), "adam", lr, settings=settings),
            "critics": Optimiser(critics, "adam", lr, settings=settings),
        }

    def encoded(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """(B, C, *spatial) -> encoder maps and logits (B, K, *spatial)."""
        maps = self.net.encode(images)
        return maps, self.net.decode(maps, images.shape[2:])

    def translated(self, maps: list[Tensor], count: int, size: torch.Size) -> tuple[Tensor, Tensor]:
        """Paints the first `count` of the encoded images in the target domain, the others in the source domain."""
        first, others = [one[:count] for one in maps], [one[count:] for one in maps]
        return self.to_target(first, size, self.bounds), self.to_source(others, size, self.bounds)

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Updates encoder and decoders against fixed critics, then the critics."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        source, target, count = labeled.image, unlabeled.image, len(labeled.image)
        size, loss = source.shape[2:], self.options.loss
        maps, logits = self.encoded(torch.cat([source, target]))
        as_target, as_source = self.translated(maps, count, size)
        with frozen_statistics(self.net):
            maps_again, logits_again = self.encoded(torch.cat([as_target, as_source]))
        # what was painted as target goes back to the source, and the other way round
        back_to_source = self.to_source([one[:count] for one in maps_again], size, self.bounds)
        back_to_target = self.to_target([one[count:] for one in maps_again], size, self.bounds)
        own, again = logits.float().softmax(1), logits_again.float().softmax(1)
        of_target = torch.cat([own[count:], again[count:]])
        optimise(
            {
                "sup": supervised_loss(logits[:count], labeled.target, loss),
                "sup_translated": supervised_loss(logits_again[:count], labeled.target, loss),
                "translation": least_squares(self.target_critic(as_target), 1.0)
                + least_squares(self.source_critic(as_source), 1.0),
                "cycle": absolute_error(back_to_source, source, labeled.valid)
                + absolute_error(back_to_target, target, unlabeled.valid),
                "output": least_squares(self.output_critic(of_target), 0.0),  # 0: source
                "consistency": softmax_mse(logits_again[count:], own[count:], valid=unlabeled.valid),
            },
            on=["net", "translation"],
        )
        of_source = torch.cat([own[:count], again[:count]])
        sides = (
            (self.source_critic, source, as_source),
            (self.target_critic, target, as_target),
            (self.output_critic, of_target, of_source),
        )
        losses = [discriminator_loss(d(one.detach()), d(other.detach())) for d, one, other in sides]
        optimise({"critic": torch.stack(losses).sum()}, on=["critics"])

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the image as it is."""
        return self.net(images)
