"""An encoder with a diffusion path and three decoders (A&D, NeurIPS 2023, section 3; DTLP-Net, figure 1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from semibench import Backbone, Backbones, UnsupportedError
from semibench.blocks import LabelDiffusion, frozen_statistics, one_hot, without_dropout

CleanMap = Literal["logits", "softmax"]
"""What DDIM uses as the clean label map: the network's logits, clipped to [-1, 1], or 2 softmax - 1."""

Statistics = Literal["images", "every-pass"]
"""Which passes in training mode move the running statistics: those of whole images along the image path, or all."""
Labelling = Literal["no-dropout", "train", "eval"]
"""How a network predicts pseudo-labels: with the statistics of the batch and without dropout; in training mode; in eval mode,
with the running statistics."""


class ThreeDecoders(nn.Module):
    """Shared encoder; decoder theta (unlabeled samples, inference), psi (labeled), xi (denoises label maps).

    net: the run's backbone, which must provide "time"; its own decoder is theta. Label maps are 2 onehot(y) - 1 in
    [-1, 1]; padding has no class (all -1). xi predicts the clean map (as logits), not the noise.

    Both paths share the encoder's batch normalisation, and inference reads the running statistics of the image path. With
    `statistics="images"` passes of noisy label maps leave all running statistics alone, and so do passes within
    `auxiliary()`. The noisy path then always uses the statistics of its batch, which differ from step to step anyway.
    """

    def __init__(self, backbones: Backbones, statistics: Statistics = "images") -> None:
        super().__init__()
        net = backbones()
        if "time" not in net.provides:
            raise UnsupportedError(
                f"the encoder needs a noisy label map and a diffusion step: expected a backbone that provides 'time', got "
                f"{type(net).__name__}; omit --backbone, or use diff-vnet"
            )
        self.statistics = statistics
        self.net: Any = net
        self.psi = net.new_decoder()
        self.xi = net.new_decoder(time=True)
        self.diffusion = LabelDiffusion()

    def theta_logits(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of theta on the image path, without diffusion."""
        return cast(Tensor, self.net(images))

    def psi_logits(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of psi."""
        return cast(Backbone, self.net).decode(self.net.encode(images), images.shape[2:], self.psi)

    def image_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, *spatial) -> logits (B, K, *spatial) of theta and of psi, from one pass of the encoder."""
        maps, size = self.net.encode(images), images.shape[2:]
        return self.net.decode(maps, size), self.net.decode(maps, size, self.psi)

    def denoise(self, images: Tensor, noisy: Tensor, time: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Images (B, C, *spatial), noisy maps (B, K, *spatial), steps (B,) -> logits of xi, encoder maps."""
        with self.auxiliary():
            maps = self.net.encode(images, noisy=noisy, time=time)
            return self.net.decode(maps, images.shape[2:], self.xi, time=time), maps

    def denoise_labels(self, images: Tensor, target: Tensor, classes: int) -> tuple[Tensor, list[Tensor]]:
        """DTLP-Net eq. 1: adds noise to labels (B, *spatial) at random steps and returns `denoise` of them."""
        time = self.diffusion.draw(len(images))
        noisy = self.diffusion.noised(2.0 * one_hot(target, classes) - 1.0, time)
        return self.denoise(images, noisy, time)

    @torch.no_grad()
    def sample(self, images: Tensor, classes: int, *, steps: int = 10, clean: CleanMap = "logits") -> Tensor:
        """Samples label maps (B, K, *spatial) in [-1, 1] deterministically from noise."""

        def guess(noisy: Tensor, time: Tensor) -> Tensor:
            logits = self.denoise(images, noisy, time)[0].float()
            return logits if clean == "logits" else 2.0 * logits.softmax(1) - 1.0

        start = torch.randn((len(images), classes, *images.shape[2:]), device=images.device)
        return self.diffusion.ddim(guess, start, count=steps)

    @torch.no_grad()
    def blend(self, rate: float) -> None:
        """theta <- (1 - rate) theta + rate (xi + psi) / 2, for parameters with the same name and shape in all three (the
        step projections have no counterpart). Running statistics don't change."""
        if rate == 0.0:
            return
        xi, psi = dict(self.xi.named_parameters()), dict(self.psi.named_parameters())
        for name, mine in self.net.decoder.named_parameters():
            if name in xi and xi[name].shape == mine.shape == psi[name].shape:
                mine.lerp_((xi[name] + psi[name]) / 2.0, rate)

    @torch.no_grad()
    def labels(
        self, images: Tensor, classes: int, *, mode: Labelling, steps: int, clean: CleanMap
    ) -> tuple[Tensor, Tensor]:
        """Returns what `sample` draws and the probabilities of psi, both (B, K, *spatial). With `statistics="images"` and
        mode "eval" only psi reads running statistics: there are none of noisy maps."""
        with self.labelling("no-dropout" if mode == "eval" and self.statistics == "images" else mode):
            drawn = self.sample(images, classes, steps=steps, clean=clean)
        with self.labelling(mode):
            return drawn, self.psi_logits(images).float().softmax(1)

    def auxiliary(self) -> AbstractContextManager[None]:
        """Encloses passes of masked, mixed or noisy input: they move the running statistics only if every pass does."""
        return frozen_statistics(self) if self.statistics == "images" else nullcontext()

    @contextmanager
    def labelling(self, mode: Labelling) -> Iterator[None]:
        """Puts the network in this mode inside the block. Except in "eval" mode, passes update running statistics."""
        before = self.training
        self.train(mode != "eval")
        try:
            with without_dropout(self) if mode == "no-dropout" else nullcontext():
                yield
        finally:
            self.train(before)
