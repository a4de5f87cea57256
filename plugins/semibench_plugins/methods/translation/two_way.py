"""Translation in both directions between the labeled and the unlabeled domain, as CycleGAN learns it. CycleGAN, CyCADA and DSFN
share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from semibench import MethodOptions, Optimiser, Pools, Samples, Task
from semibench.blocks import (
    ImagePool,
    IntensityRange,
    PatchDiscriminator,
    TranslationGenerator,
    absolute_error,
    discriminator_loss,
    least_squares,
    residual_blocks,
)

WIDEST = {2: 64, 3: 32}
"""Filters of generators and discriminators for images and for volumes."""
POOL = {2: 50, 3: 4}
"""Generated images that each discriminator's memory holds; the published 50 volumes would fill the memory of the device."""


class TranslationOptions(MethodOptions, frozen=True, extra="forbid"):
    """Options of methods that translate images."""

    filters: int | None = Field(
        None, ge=1,
        description="filters of generators and discriminators; useful range 16 to 64; default 64 for images and 32 for volumes, "
        "at most four and two times the width of the segmenter, so that short runs have narrow ones",
    )  # fmt: skip
    residual_blocks: int | None = Field(
        None, ge=0, description="residual blocks of a generator; default 9 for patches of 256 or more, else 6"
    )
    pool: int | None = Field(
        None, ge=0,
        description="generated images that a discriminator also learns from, 0: none; default 50 images or 4 volumes",
    )  # fmt: skip
    translation_lr: float = Field(
        2e-4, gt=0.0, description="Adam's rate for generators and discriminators; useful range 5e-5 to 1e-3"
    )
    residual: bool = Field(
        True, description="whether a generator adds what it computes to the image, so that it starts as the identity"
    )

    def filters_for(self, dims: int, width: int) -> int:
        """Filters for images (dims 2) or volumes (3), where the finest decoder map of the segmenter has `width` channels."""
        return self.filters or min(WIDEST[dims], width * WIDEST[dims] // 16)

    def blocks_for(self, patch: Sequence[int]) -> int:
        """Residual blocks of a generator."""
        return residual_blocks(patch) if self.residual_blocks is None else self.residual_blocks

    def pool_for(self, dims: int) -> int:
        """Generated images that a discriminator's memory holds."""
        return POOL[dims] if self.pool is None else self.pool

    def adam(self, *modules: nn.Module, schedule: Literal["poly", "constant"] = "poly") -> Optimiser:
        """Adam with betas (.5, .999) and a rate that falls linearly to 0 (`poly`) or stays."""
        settings = {"betas": (0.5, 0.999), "weight_decay": 0.0, "power": 1.0}
        return Optimiser(modules, "adam", lr=self.translation_lr, schedule=schedule, settings=settings)


def fit_ranges(source: IntensityRange, target: IntensityRange, pools: Pools) -> None:
    """Takes the intensity ranges of both domains from the training images. The labeled ones are the source."""
    source.fit(samples.image for samples in pools.batches("labeled"))
    target.fit(samples.image for samples in pools.batches("unlabeled"))


Passes = Literal["joint", "separate"]
"""Whether images of both domains pass the segmenter in one batch, so that its batch norm sees them together, or one domain after
the other."""


def grouped(images: Sequence[Tensor], passes: Passes) -> list[Tensor]:
    """The batches in which images of several domains, each (B, C, *spatial), pass the segmenter."""
    return [torch.cat(list(images))] if passes == "joint" else list(images)


@dataclass
class Translated:
    """What the generators made of a batch; all images are in [-1, 1]."""

    source: Tensor
    """Real source images."""
    target: Tensor
    """Real target images."""
    fake_target: Tensor
    """Source images in the style of the target."""
    fake_source: Tensor
    """Target images in the style of the source."""


class TwoWayTranslation(nn.Module):
    """Generators G: source -> target and F: target -> source, a discriminator of each domain with an image pool, and the
    intensity range of each domain.

    With images in [-1, 1]: adversarial = E (D_T(G(x_s)) - 1)^2 + E (D_S(F(x_t)) - 1)^2, cycle = |F(G(x_s)) - x_s| +
    |G(F(x_t)) - x_t|, identity = |G(x_t) - x_t| + |F(x_s) - x_s|, all means; critic = sum over both domains of
    (E (D(real) - 1)^2 + E D(fake)^2) / 2, fake from the pool.
    """

    def __init__(self, task: Task, options: TranslationOptions, width: int) -> None:
        super().__init__()
        filters = options.filters_for(task.dims, width)
        number, size = options.blocks_for(task.patch), options.pool_for(task.dims)
        self.to_target, self.to_source = (
            TranslationGenerator(task.dims, task.channels, filters=filters, blocks=number, residual=options.residual)
            for _ in range(2)
        )
        self.target_critic, self.source_critic = (
            PatchDiscriminator(task.dims, task.channels, task.patch, filters=filters) for _ in range(2)
        )
        self.target_pool, self.source_pool = (ImagePool(size, task.channels, task.patch) for _ in range(2))
        self.source_range, self.target_range = (IntensityRange(task.channels) for _ in range(2))
        self.generators = (self.to_target, self.to_source)
        self.critics = (self.target_critic, self.source_critic)

    def fit(self, pools: Pools) -> None:
        """Takes the intensity ranges from the training images."""
        fit_ranges(self.source_range, self.target_range, pools)

    def generated(
        self, source: Samples, target: Samples, *, identity: bool = True
    ) -> tuple[dict[str, Tensor], Translated]:
        """Returns the losses of the generators and the translated images.

        identity: whether its loss is wanted, which needs another pass of each generator.
        """
        x_s, x_t = self.source_range(source.image), self.target_range(target.image)
        if identity:
            fake_target, same_target = self.to_target(torch.cat([x_s, x_t])).split([len(x_s), len(x_t)])
            fake_source, same_source = self.to_source(torch.cat([x_t, x_s])).split([len(x_t), len(x_s)])
        else:
            fake_target, fake_source = self.to_target(x_s), self.to_source(x_t)
        back_s, back_t = self.to_source(fake_target), self.to_target(fake_source)
        losses = {
            "adversarial": least_squares(self.target_critic(fake_target), 1.0)
            + least_squares(self.source_critic(fake_source), 1.0),
            "cycle": absolute_error(back_s, x_s, source.valid) + absolute_error(back_t, x_t, target.valid),
        }
        if identity:
            losses["identity"] = absolute_error(same_target, x_t, target.valid) + absolute_error(
                same_source, x_s, source.valid
            )
        return losses, Translated(x_s, x_t, fake_target, fake_source)

    def critic_loss(self, images: Translated) -> Tensor:
        """Loss of both discriminators; the fake images pass through the pools."""
        target = discriminator_loss(
            self.target_critic(images.target), self.target_critic(self.target_pool(images.fake_target))
        )
        source = discriminator_loss(
            self.source_critic(images.source), self.source_critic(self.source_pool(images.fake_source))
        )
        return target + source

    @torch.no_grad()
    def as_target(self, images: Tensor) -> Tensor:
        """Source images (B, C, *spatial) in the style of the target and in [-1, 1], without gradient."""
        return self.to_target(self.source_range(images))

    @torch.no_grad()
    def as_source(self, images: Tensor) -> Tensor:
        """Target images (B, C, *spatial) in the style of the source and in [-1, 1], without gradient."""
        return self.to_source(self.target_range(images))

    @torch.no_grad()
    def pictures(self, images: Tensor) -> dict[str, Tensor]:
        """What to show beside target images (B, C, *spatial): their translation, and its translation back."""
        translated = self.as_source(images)
        return {"in the style of the source": translated, "and back": self.to_target(translated)}
