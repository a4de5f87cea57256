"""A&D, aggregating and decoupling, also known as GenericSSL (Wang & Li, NeurIPS 2023), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from semibench import IGNORE, Backbones, Batch, Clock, Losses, Method, Optimiser, Ramp, Task, Term
from semibench.blocks import gumbel_blur
from semibench_plugins.datasets.paper_budgets import GENERIC_SSL_WEAK
from semibench_plugins.methods.generalisation.three_decoders.losses import dice_with_ce
from semibench_plugins.methods.generalisation.three_decoders.network import ThreeDecoders
from semibench_plugins.methods.generalisation.three_decoders.options import ThreeDecodersOptions
from semibench_plugins.methods.nesterov import one_optimiser

CODE: Mapping[str, Any] = {
    "loss": "code", "difficulty": "ema", "nesterov": True, "labelling": "train", "statistics": "every-pass",
    "weighted": "both",
}  # fmt: skip
TRAINING: Mapping[str, Any] = {
    "optimiser": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 3e-5, "weak": GENERIC_SSL_WEAK,
}  # fmt: skip


def _own(patch: tuple[int, ...], iterations: int, batch: int, ramp: float = 1.0) -> dict[str, Any]:
    recipe = {**TRAINING, "patch": patch, "iterations": iterations, "labeled_batch": batch, "unlabeled_batch": batch}
    return {"options": dict(CODE), "terms": {"unsup": {"ramp": {"end": ramp}}}, "recipe": recipe}


class AandD(Method):
    """A diffusion encoder learns from all domains (aggregating); three decoders have separate jobs (decoupling).

    theta predicts, and learns from pseudo-labels of unlabeled samples; psi learns from labels, with classes weighted by
    difficulty; xi restores labels from noise. DC is `dice_with_ce`; w are the weights of `ClassDifficulty`, computed from
    the hard Dice of xi on the labeled batch:
    deno = DC(xi(x_l, y_t, t), y); diff = DC(psi(x_l), y; w); unsup = DC(theta(x_u), y'), y' = argmax(G + S), G the
    blurred Gumbel-softmax of the label map that ten steps of DDIM draw for x_u, S = softmax(psi(x_u)).
    L = deno + diff + mu unsup, mu = 10 exp(-5 (1 - t)^2) over the run (the code's README; its default argument is 2).
    Each iteration starts with theta <- .99 theta + .01 (xi + psi) / 2. Symbols are those of DTLP-Net, eq. 1-7, which
    restates the method.

    Where the code differs from the paper there are the options `loss` and `nesterov`. The preset `code` sets both,
    and three ways of the code that are not the defaults here: `weighted`, class weights act on the cross-entropy,
    too; `statistics`, all passes move the running statistics that inference of the image path reads, most of them
    passes of noisy label maps; `labelling`, pseudo-labels are predicted with dropout. By default only whole images
    move the statistics (labeled and unlabeled ones those of encoder and psi, unlabeled ones those of theta), and
    labels are predicted with the statistics of the batch and without dropout. One preset per data set adds the code's
    budget and views to `code`. Elsewhere the code is followed where the paper is silent: the difficulty uses moving
    averages, and the *logits* of xi are clipped to [-1, 1] as if they were label maps (`clean_map`), which makes the
    Gumbel-softmax very flat with many classes. The code lowers the learning rate per epoch; here it falls per
    iteration. The code's validation lists (the labeled cases on LA, the test cases on M&Ms) are not used. Scored:
    theta (published) and psi.
    """

    terms: Mapping[str, Term] = {
        "deno": Term(search=(0.3, 3.0)),
        "diff": Term(search=(0.3, 3.0)),
        "unsup": Term(10.0, Ramp("sigmoid"), search=(1.0, 20.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "code": {"options": CODE},
        "la": _own((112, 112, 80), 5700, 4),
        "synapse": _own((64, 128, 128), 2400, 2),
        "mmwhs": _own((128, 128, 128), 2400, 2),
        "mnms": _own((32, 128, 128), 33000, 4, ramp=1 / 3),
    }

    class Options(ThreeDecodersOptions, frozen=True, extra="forbid"):
        """Options of `a-and-d`."""

    def __init__(self, task: Task, backbones: Backbones, options: AandD.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.kinds = len(task.classes)
        self.network = ThreeDecoders(backbones, options.statistics)
        self.difficulty = options.class_difficulty(self.kinds)

    def optimisers(self) -> Mapping[str, Optimiser]:
        """One optimiser for everything; SGD if `nesterov` is set."""
        return one_optimiser(self, nesterov=self.options.nesterov)

    @torch.no_grad()
    def pseudo_label(self, images: Tensor, valid: Tensor) -> Tensor:
        """(B, C, *spatial), bool (B, *spatial) -> labels (B, *spatial), argmax of G + S, IGNORE on padding."""
        options = self.options
        drawn, psi = self.network.labels(
            images, self.kinds, mode=options.labelling, steps=options.ddim_steps, clean=options.clean_map
        )
        smoothed = gumbel_blur(drawn, temperature=options.temperature, sigma=options.blur)
        return (smoothed + psi).argmax(1).masked_fill(~valid, IGNORE)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """deno, diff: labeled part; unsup: unlabeled part. Blends theta first."""
        options, network = self.options, self.network
        network.blend(options.mixing)
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        image, image_u = labeled.image, unlabeled.image
        target = labeled.target
        restored, _ = network.denoise_labels(image, target, self.kinds)
        weights = self.difficulty.update(restored.detach().argmax(1), target)
        self.notes["greatest-class-weight"] = weights.max()
        weight = None if options.difficulty == "none" else weights
        pseudo = self.pseudo_label(image_u, unlabeled.valid)
        return {
            "deno": dice_with_ce(restored, target, form=options.loss),
            "diff": dice_with_ce(
                network.psi_logits(image), target, weight=weight, weighted=options.weighted, form=options.loss
            ),
            "unsup": dice_with_ce(network.theta_logits(image_u), pseudo, form=options.loss),
        }

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of theta, without diffusion."""
        return self.network.theta_logits(images)

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """theta (published tables) and psi."""
        return {"theta": self.network.theta_logits, "psi": self.network.psi_logits}
