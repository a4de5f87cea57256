"""SIFA, synergistic image and feature adaptation (Chen et al., IEEE TMI 2020), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from semibench import Backbones, Batch, Clock, Method, Optimise, Optimiser, Pools, Samples, Task, Term
from semibench.blocks import (
    ImagePool,
    IntensityRange,
    PatchDiscriminator,
    Supervision,
    TranslationGenerator,
    absolute_error,
    discriminator_loss,
    frequency_weighted_loss,
    frozen_statistics,
    least_squares,
    supervised_loss,
)
from semibench_plugins.methods.translation.source_decoder import SourceDecoder
from semibench_plugins.methods.translation.two_way import Passes, TranslationOptions, fit_ranges, grouped

STRIDE = 8
"""Of the encoder map that the source-style images are decoded from."""


PRINTED: Mapping[str, float] = {"output": 0.1, "output_aux": 0.01}
"""Published weights of the discriminators of segmentations."""


class SIFA(Method):
    """Image translation and segmentation share an encoder, and features are aligned through what is made of them: segmentations
    and source-style images.

    A generator g translates source to target. The segmenter is an encoder e with decoder s; a second decoder d makes of the map
    at stride 8 a source-style image. With x_st = g(x_s), x_ts = d(e(x_t)): cycle = |d(e(x_st)) - x_s| + |g(x_ts) - x_t|.
    1. g and d: 10 cycle + adversarial, which is E (D_T(x_st) - 1)^2 + E (D_S(x_ts) - 1)^2.
    2. e and s, with g and d fixed: L_sup(x_st) + .1 L_sup_aux + 1 shared_cycle + .1 shared_adversarial (the same cycle and
       (D_S(x_ts) - 1)^2 as terms of the encoder) + .1 source_like + .01 output + .001 output_aux. source_like = E (A(x_ts) - 1)^2,
       where A, a second output of D_S, tells x_ts from d(e(x_st)): is it made of the features of a target image? output =
       E (D_P(s(e(x_t))) - 1)^2 on softmax maps; _aux: on a head of the second finest decoder map, with a discriminator of its own.
    3. Discriminators: halved least squares; to D_P and A what comes from x_st is real. Image pools for x_st and x_ts.
    L_sup is a cross-entropy weighted against frequent classes plus a Dice loss; source images themselves are never segmented.

    Adam 2e-4, betas (.5, .999), constant, for g, d and discriminators; e and s have the recipe's optimiser and decay (the paper:
    1e-3; in the published code the rate of the GAN reaches them by mistake). e and s are the backbone of the run (the paper: a
    dilated residual network of stride 8, with the second head before its dilated part). g and d have half the filters of the
    discriminators.

    What differs from the published code, and what its preset `code` restores: there a change c is added to an image x as
    tanh(x + c), which narrows even an image that doesn't change; ours is tanh(atanh(x) + c) with c = 0 at the start, so that g and
    d start as the identity, but the darkest and brightest values (most of the background) hardly change. There each domain passes
    e and s by itself and has its own batch statistics; ours pass together (option `passes`). There the discriminators of maps see
    the scores before the softmax. `code` also has that code's recipe: 8 + 8 images, Adam at a constant 2e-4, decay 1e-4, 20,000
    steps. What differs in every preset: the code makes seven updates in turn, each after the networks of the one before changed;
    here g and d learn together, and all discriminators. Its pools hold 50 batches, ours 50 images. Its residual blocks end with a
    ReLU, its generators pad with zeros, and its discriminators pad by two (35 x 35 scores of 256 x 256, here 30 x 30). Its
    networks see single slices, those of its first version (AAAI 2019) three neighbouring ones as channels; here an image has the
    channels of the data set.

    The weights of `output` and `output_aux` are ours, a tenth of the published ones (presets `printed`, `code`): with those
    the learning check ends at Dice .34 (seed 0; everything foreground gives .19), with ours at .78, without any adversarial
    loss of the segmenter at .87, and the labels alone have .84.

    All networks see intensities that are scaled to [-1, 1], as in `cyclegan`. Scored: s(e(x)).
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "sup_aux": Term(0.1, search=(0.01, 0.5)),
        "cycle": Term(10.0, search=(1.0, 20.0)),
        "adversarial": Term(),
        "shared_cycle": Term(1.0, search=(0.1, 10.0)),
        "shared_adversarial": Term(0.1, search=(0.01, 1.0)),
        "source_like": Term(0.1, search=(0.01, 1.0), unlabeled=True),
        "output": Term(0.01, search=(1e-3, 1.0), unlabeled=True),
        "output_aux": Term(0.001, search=(1e-4, 0.1), unlabeled=True),
        "critic": Term(),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "printed": {"terms": PRINTED},
        "code": {
            "options": {"maps": "scores", "passes": "separate", "addition": "plain"},
            "terms": PRINTED,
            "recipe": {
                "iterations": 20000, "labeled_batch": 8, "unlabeled_batch": 8,
                "optimiser": "adam", "lr": 2e-4, "weight_decay": 1e-4, "schedule": "constant",
            },
        },
    }  # fmt: skip

    class Options(TranslationOptions, frozen=True, extra="forbid"):
        """Options of `sifa`."""

        loss: Supervision | Literal["rare-first"] = Field(
            "rare-first", description="supervised loss; rare-first: weighted cross-entropy + Dice, the published one"
        )
        maps: Literal["softmax", "scores"] = Field(
            "softmax", description="what the discriminators of segmentations see"
        )
        passes: Passes = Field(
            "joint", description="whether both domains pass the segmenter in one batch; separate: the published code"
        )
        addition: Literal["from-identity", "plain"] = Field(
            "from-identity",
            description="how a residual generator adds a change: tanh(atanh(x) + change) from 0 on, or plain, as published: "
            "tanh(x + change)",
        )

    def __init__(self, task: Task, backbones: Backbones, options: SIFA.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        dims, channels, classes, patch = task.dims, task.channels, len(task.classes), task.patch
        self.net = backbones()
        widths = self.net.decoder.channels
        filters = options.filters_for(dims, widths[0])
        number, size, plain = options.blocks_for(patch), options.pool_for(dims), options.addition == "plain"
        self.level, self.deep = min(1, len(widths) - 1), deepest(self.net.strides)
        self.aux = (nn.Conv2d, nn.Conv3d)[dims - 2](widths[self.level], classes, 1)
        self.to_target = TranslationGenerator(
            dims, channels, filters=max(filters // 2, 1), blocks=number, residual=options.residual, plain=plain
        )
        self.to_source = SourceDecoder(
            dims, self.net.channels[self.deep], channels, self.net.strides[self.deep],
            max(filters // 2, 1), options.residual, plain,
        )  # fmt: skip
        self.source_critic = PatchDiscriminator(dims, channels, patch, filters=filters, outputs=2)
        self.target_critic = PatchDiscriminator(dims, channels, patch, filters=filters)
        self.map_critics = nn.ModuleList(PatchDiscriminator(dims, classes, patch, filters=filters) for _ in range(2))
        self.target_pool, self.source_pool = (ImagePool(size, channels, patch) for _ in range(2))
        self.source_range, self.target_range = (IntensityRange(channels) for _ in range(2))

    def begin(self, stage: str, pools: Pools) -> None:
        """Takes the intensity ranges of both domains."""
        fit_ranges(self.source_range, self.target_range, pools)

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`generators` (g and d), `net` (e and s with its auxiliary head) and `critics`."""
        critics = (self.source_critic, self.target_critic, self.map_critics)
        return {
            "generators": self.options.adam(self.to_target, self.to_source, schedule="constant"),
            "net": Optimiser((self.net, self.aux)),
            "critics": self.options.adam(*critics, schedule="constant"),
        }

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Updates the generators, the segmenter, then the discriminators."""
        source, target = batch["labeled"], batch["unlabeled"]
        x_s, x_t = self.source_range(source.image), self.target_range(target.image)
        with frozen_statistics(self.net):
            x_st = self.to_target(x_s)
            features = torch.cat([self.net.encode(x)[self.deep] for x in grouped((x_st, x_t), self.options.passes)])
        back_s, x_ts = self.decoded(features, x_st, x_t)
        real, _ = self.source_critic(x_ts).split(1, 1)
        adversarial = least_squares(self.target_critic(x_st), 1.0) + least_squares(real, 1.0)
        cycle = absolute_error(back_s, x_s, source.valid) + absolute_error(self.to_target(x_ts), x_t, target.valid)
        optimise({"cycle": cycle, "adversarial": adversarial}, on=["generators"])
        x_st = x_st.detach()
        losses, seen = self.shared(source, target, (x_s, x_st, x_t))
        optimise(losses, on=["net"])
        optimise({"critic": self.critic_loss((x_s, x_st, x_t), *(part.detach() for part in seen))}, on=["critics"])

    def decoded(self, features: Tensor, x_st: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
        """Source-style images of the features of x_st and x_t."""
        images = self.to_source(features, torch.cat([x_st, x_t]))
        back_s, x_ts = images.split([len(x_st), len(x_t)])
        return back_s, x_ts

    def passed(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, *spatial) -> the encoder map that d decodes, the logits (B, K, *spatial), and those of the second head."""
        features = self.net.encode(images)
        decoded, size = self.net.decoder(features), images.shape[2:]
        logits = self.net.enlarge(self.net.decoder.head(decoded[0]), size)
        return features[self.deep], logits, self.net.enlarge(self.aux(decoded[self.level]), size)

    def shared(
        self, source: Samples, target: Samples, images: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        """Returns the losses of the segmenter, and what the discriminators are shown: d(e(x_st)), x_ts, maps by level."""
        x_s, x_st, x_t = images
        number = len(x_st)
        parts = [self.passed(x) for x in grouped((x_st, x_t), self.options.passes)]
        features, *logits = (torch.cat(part) for part in zip(*parts, strict=True))
        maps = [z.float().softmax(1) if self.options.maps == "softmax" else z.float() for z in logits]
        output, output_aux = (
            least_squares(critic(p[number:]), 1.0) for critic, p in zip(self.map_critics, maps, strict=True)
        )
        back_s, x_ts = self.decoded(features, x_st, x_t)
        real, source_like = self.source_critic(x_ts).split(1, 1)
        cycle = absolute_error(back_s, x_s, source.valid) + absolute_error(self.to_target(x_ts), x_t, target.valid)
        sup, sup_aux = (self.supervised(z[:number], source.target) for z in logits)
        losses = {
            "sup": sup,
            "sup_aux": sup_aux,
            "shared_cycle": cycle,
            "shared_adversarial": least_squares(real, 1.0),
            "source_like": least_squares(source_like, 1.0),
            "output": output,
            "output_aux": output_aux,
        }
        return losses, (back_s, x_ts, *maps)

    def critic_loss(self, images: tuple[Tensor, Tensor, Tensor], back_s: Tensor, x_ts: Tensor, *maps: Tensor) -> Tensor:
        """Sum of the losses of all discriminators."""
        x_s, x_st, x_t = images
        real_s, _ = self.source_critic(x_s).split(1, 1)
        fake_s, fake_aux = self.source_critic(self.source_pool(x_ts)).split(1, 1)
        _, real_aux = self.source_critic(back_s).split(1, 1)
        losses = [
            discriminator_loss(real_s, fake_s),
            discriminator_loss(real_aux, fake_aux),
            discriminator_loss(self.target_critic(x_t), self.target_critic(self.target_pool(x_st))),
        ]
        for critic, each in zip(self.map_critics, maps, strict=True):
            losses.append(discriminator_loss(critic(each[: len(x_st)]), critic(each[len(x_st) :])))
        return torch.stack(losses).sum()

    def supervised(self, logits: Tensor, target: Tensor) -> Tensor:
        """The supervised loss of the option `loss`."""
        kind = self.options.loss
        return (
            frequency_weighted_loss(logits, target) if kind == "rare-first" else supervised_loss(logits, target, kind)
        )

    def pictures(self, images: Tensor) -> Mapping[str, Tensor]:
        """What to show beside target images: d(e(x_t)), and its translation back."""
        x_t = self.target_range(images)
        translated = self.to_source(self.net.encode(x_t)[self.deep], x_t)
        return {"in the style of the source": translated, "and back": self.to_target(translated)}

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.net(self.target_range(images))


def deepest(strides: tuple[int, ...]) -> int:
    """Position of the encoder map with the largest stride up to 8; the finest map if all are coarser."""
    fitting = [position for position, stride in enumerate(strides) if stride <= STRIDE]
    return max(fitting, key=lambda position: strides[position]) if fitting else 0
