"""DSFN, dual-scheme fusion network (Zou, Zhu & Yan, IJCAI 2020), in 2D and 3D: a reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from semibench import Backbones, Batch, Clock, Method, Optimise, Optimiser, Pools, Samples, Task, Term
from semibench.blocks import (
    PatchDiscriminator,
    Supervision,
    discriminator_loss,
    least_squares,
    masked_mean,
    supervised_loss,
)
from semibench_plugins.methods.translation.two_way import Translated, TranslationOptions, TwoWayTranslation


class DSFN(Method):
    """One segmenter h learns source images both as they are and translated to the target, and its predictions for a target
    image as it is and translated to the source are fused.

    Each iteration: the generators learn as in CycleGAN, L = adversarial + 10 cycle + 5 identity (see `TwoWayTranslation`).
    Then h, with fixed generators: L_sup(h(G(x_s)), y_s) + L_sup(h(x_s), y_s) + .01 output + .1 consistency, where
    output = E (D_1(h(x_t)) - 1)^2 + E (D_2(h(F(x_t))) - 1)^2 on softmax maps and consistency = the mean of
    (h(x_t) - h(F(x_t)))^2. Then all discriminators; to D_1 the map of G(x_s) is real and that of x_t fake, to D_2 those of x_s
    and F(x_t). Prediction: a h(x_t) + (1 - a) h(F(x_t)) of softmaxes, a = .5.

    This is a reconstruction: no code was found, and of the paper no more than its idea and its two schemes were at hand. That h
    is shared by both schemes, the discriminators, the consistency and all weights are ours. Generators and discriminators have
    Adam as in `cyclegan`, h the recipe's optimiser. All networks see intensities that are scaled to [-1, 1]. The generators add
    what they compute to the image, as there (option `residual`), and all four kinds of images pass h in one batch.

    With .1 for `output`, the learning check ended at Dice .30 (seed 0); with .01 it ends at .76, the labels alone at .84.

    Scored: the fusion, and for comparison both of its parts: a poor F makes the fusion worse than `direct`.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "adversarial": Term(),
        "cycle": Term(10.0, search=(1.0, 20.0)),
        "identity": Term(5.0, search=(0.1, 10.0)),
        "output": Term(0.01, search=(1e-3, 0.1), unlabeled=True),
        "consistency": Term(0.1, search=(0.01, 1.0), unlabeled=True),
        "critic": Term(),
        "output_critic": Term(),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"modalities": {"terms": {"identity": 0.0}}}

    class Options(TranslationOptions, frozen=True, extra="forbid"):
        """Options of `dsfn`."""

        direct: float = Field(
            0.5, ge=0.0, le=1.0, description="share of the prediction for the image as it is; useful range .3 to 1"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: DSFN.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net = backbones()
        width = self.net.decoder.channels[0]
        self.translation = TwoWayTranslation(task, options, width)
        filters = options.filters_for(task.dims, width)
        self.in_target, self.in_source = (
            PatchDiscriminator(task.dims, len(task.classes), task.patch, filters=filters) for _ in range(2)
        )

    def begin(self, stage: str, pools: Pools) -> None:
        """Takes the intensity ranges of both domains."""
        self.translation.fit(pools)

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`generators`, `net` and `critics`, which are the discriminators of images and of softmax maps."""
        adam = self.options.adam
        return {
            "generators": adam(*self.translation.generators),
            "net": Optimiser((self.net,)),
            "critics": adam(*self.translation.critics, self.in_target, self.in_source),
        }

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Updates the generators, the segmenter on what they translated, then all discriminators."""
        source, target = batch["labeled"], batch["unlabeled"]
        identity = self.weight("identity", clock) > 0
        losses, images = self.translation.generated(source, target, identity=identity)
        optimise(losses, on=["generators"])
        losses, maps = self.segmented(source, target, images)
        optimise(losses, on=["net"])
        translated_s, plain_s, plain_t, translated_t = (p.detach() for p in maps)
        output_critic = discriminator_loss(self.in_target(translated_s), self.in_target(plain_t))
        output_critic = output_critic + discriminator_loss(self.in_source(plain_s), self.in_source(translated_t))
        optimise({"critic": self.translation.critic_loss(images), "output_critic": output_critic}, on=["critics"])

    def segmented(
        self, source: Samples, target: Samples, images: Translated
    ) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        """Returns the losses of the segmenter and its softmax maps of G(x_s), x_s, x_t and F(x_t)."""
        views = [images.fake_target.detach(), images.source, images.target, images.fake_source.detach()]
        logits = self.net(torch.cat(views)).split([len(view) for view in views])
        maps = tuple(z.float().softmax(1) for z in logits)
        kind = self.options.loss
        sup = supervised_loss(logits[0], source.target, kind) + supervised_loss(logits[1], source.target, kind)
        output = least_squares(self.in_target(maps[2]), 1.0) + least_squares(self.in_source(maps[3]), 1.0)
        consistency = masked_mean((maps[2] - maps[3]).square(), target.valid.unsqueeze(1))
        return {"sup": sup, "output": output, "consistency": consistency}, maps

    def plain(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the images as they are."""
        return self.net(self.translation.target_range(images))

    def translated(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the images translated to the source."""
        return self.net(self.translation.as_source(images))

    def pictures(self, images: Tensor) -> Mapping[str, Tensor]:
        """What to show beside target images; see `TwoWayTranslation.pictures`."""
        return self.translation.pictures(images)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> the logarithm of the fused softmax (B, K, *spatial)."""
        share = self.options.direct
        fused = share * self.plain(images).float().softmax(1) + (1.0 - share) * self.translated(images).float().softmax(
            1
        )
        return fused.clamp_min(1e-8).log()

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """The fusion (the default) and its two parts."""
        return {"fusion": self, "direct": self.plain, "translated": self.translated}
