"""An encoder with a diffusion path and three decoders (A&D, NeurIPS 2023, section 3; DTLP-Net, figure 1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from semibench import Backbone, Backbones, UnsupportedError
from semibench.blocks import LabelDiffusion, one_hot

CleanMap = Literal["logits", "softmax"]
"""What DDIM uses as the clean label map: the network's logits, clipped to [-1, 1], or 2 softmax - 1."""


class ThreeDecoders(nn.Module):
    """Shared encoder; decoder theta (unlabeled samples, inference), psi (labeled), xi (denoises label maps).

    net: the run's backbone, which must provide "time"; its own decoder is theta. Label maps are 2 onehot(y) - 1 in
    [-1, 1]; padding has no class (all -1). xi predicts the clean map (as logits), not the noise.
    """

    def __init__(self, backbones: Backbones) -> None:
        super().__init__()
        net = backbones()
        if "time" not in net.provides:
            raise UnsupportedError(
                f"the encoder needs a noisy label map and a diffusion step: expected a backbone that provides 'time', got "
                f"{type(net).__name__}; omit --backbone, or use diff-vnet"
            )
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

    def denoise(self, images: Tensor, noisy: Tensor, time: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Images (B, C, *spatial), noisy maps (B, K, *spatial), steps (B,) -> logits of xi, encoder maps."""
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

    @contextmanager
    def labelling(self, mode: Literal["train", "eval"]) -> Iterator[None]:
        """Puts the network in this mode inside the block. In "train" mode dropout is active and passes update the running
        statistics."""
        before = self.training
        self.train(mode == "train")
        try:
            yield
        finally:
            self.train(before)
