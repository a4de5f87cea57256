"""AllSpark (Wang et al., CVPR 2024), in 2D and 3D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from semibench import Backbones, Batch, Clock, Losses, Method, MethodOptions, Ramp, Task, Term
from semibench.blocks import Supervision, evaluating, supervised_loss
from semibench_plugins.methods.pseudo_labels.allspark.rebirth import Rebirth
from semibench_plugins.methods.pseudo_labels.allspark.semantic_memory import SemanticMemory, class_of_channels
from semibench_plugins.methods.pseudo_labels.cps import pseudo_labels


class AllSpark(Method):
    """Pseudo-labels, and labeled features that are reborn from unlabeled ones, so that the few labels don't dominate.

    At the coarsest map, attention from channels to channels comes between encoder and decoder (`Rebirth`): a labeled sample
    looks at the channels of the unlabeled ones, an unlabeled sample at its own. A = softmax(norm(q k^T)) v, where norm makes
    each score matrix have mean 0 and deviation 1, in place of a scale.
    From 1/16 of the run on (5 of 80 epochs), labeled samples look into the semantic memory instead: a queue for each class with
    the last C channels that belong to it. An unlabeled channel belongs to the class whose predicted map has the
    greatest cosine with it. Keys are a linear map of the C places of a queue, as they are of the C channels of a sample.
    L = L_sup(labeled, y) + w L_sup(unlabeled, the own predicted labels); the labels are predicted in eval mode, without a
    threshold. With L_sup = (CE + Dice) / 2 and w = 1 this is the mean of both CE + Dice.
    w rises to 1 as exp(-5 (1 - t)^2), which is ours: the paper's w is constant, but its encoder is pretrained. Dice on the toy
    of the learning check, seeds 0 to 3: .84, .88, .73, .85; with a constant w .74, .89, .86, .79, where the network of seed 0
    loses .16 when its running statistics are estimated again; constant and without the memory .89, .86, .00 with seeds 0 to 2
    (the last predicts background alone). Labels alone: .84, .88, .79.

    In prediction an image is its own and only key, by the weights of the labeled path (in the published code all images of
    a batch are keys of each other), so the block works on maps of any size. Training needs one size, the patch.
    Scored: the network with this block.

    The paper's network is SegFormer with a pretrained encoder, its loss the cross-entropy of natural images, and its head learns at
    ten times the rate. Here it has the network of the run and its rate; the authors published no 3D code. `scores=logits`: the
    published code compares channels with logits, the paper with probabilities. Presets: `voc`, the authors' loss, weights,
    scores and rate; `la`, the loss that tables in 3D share.
    """

    terms: Mapping[str, Term] = {"sup": Term(), "pseudo": Term(1.0, Ramp("sigmoid"), search=(0.1, 2.0), unlabeled=True)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "voc": {
            "options": {"loss": "cross_entropy", "scores": "logits"},
            "terms": {"sup": 0.5, "pseudo": {"weight": 0.5, "ramp": {"kind": "constant"}}},
            "recipe": {
                "labeled_batch": 8, "unlabeled_batch": 8, "optimiser": "sgd", "lr": 0.001, "momentum": 0.9, "weight_decay": 1e-4,
                "schedule": "poly", "power": 0.9,
            },
        },
        "la": {"options": {"loss": "dice_ce_foreground"}},
    }  # fmt: skip

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `allspark`."""

        warm_up: float = Field(
            0.0625, ge=0.0, le=1.0, description="share of the run before the memory is read; useful range 0 to .5"
        )
        scores: Literal["probabilities", "logits"] = Field(
            "probabilities",
            description="what channels are compared with: the paper's probabilities or the code's logits",
        )
        heads: int = Field(2, ge=1, description="heads of the attention; useful range 1 to 8")
        dropout: float = Field(0.1, ge=0.0, lt=1.0, description="dropout of the attention; useful range 0 to .3")
        loss: Supervision = Field("dice_ce", description="loss against labels and pseudo-labels")

    def __init__(self, task: Task, backbones: Backbones, options: AllSpark.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net = backbones()
        self.rebirth = Rebirth(task.dims, self.net.channels[-1], options.heads, options.dropout)
        tokens = math.prod(math.ceil(side / self.net.strides[-1]) for side in task.patch)
        self.memory = SemanticMemory(len(task.classes), self.rebirth.width, tokens)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, reborn; pseudo: unlabeled part against the network's own labels. Fills the memory first."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        with evaluating(self):
            prediction = self(unlabeled.image)
        label = pseudo_labels(prediction, unlabeled.valid)
        images, count = torch.cat([labeled.image, unlabeled.image]), len(labeled.image)
        *fine, coarse = self.net.encode(images)
        x, f = self.rebirth.tokens(coarse)
        self.remember(f[count:], prediction, coarse.shape[2:])
        keys = self.memory.contents() if clock.progress >= self.options.warm_up else f[count:]
        attended = torch.cat([self.rebirth.reborn(f[:count], keys), self.rebirth.within(f[count:])])
        maps = self.rebirth.folded(x, attended, coarse.shape[2:])
        logits = self.net.decode([*fine, maps], images.shape[2:])
        self.notes["classes"] = (self.memory.filled > 0).float().mean()
        return {
            "sup": supervised_loss(logits[:count], labeled.target, self.options.loss),
            "pseudo": supervised_loss(logits[count:], label, self.options.loss),
        }

    @torch.no_grad()
    def remember(self, f: Tensor, prediction: Tensor, grid: torch.Size) -> None:
        """Puts the channels of unlabeled samples, f (B, N, C), into the queues of their classes."""
        scores = prediction.float()
        scores = scores.softmax(1) if self.options.scores == "probabilities" else scores
        scores = F.interpolate(scores, tuple(grid), mode=("bilinear", "trilinear")[self.net.dims - 2])
        self.memory.add(f, class_of_channels(f, scores.flatten(2)))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial); each image is its own key."""
        *fine, coarse = self.net.encode(images)
        x, f = self.rebirth.tokens(coarse)
        maps = self.rebirth.folded(x, self.rebirth.alone(f), coarse.shape[2:])
        return self.net.decode([*fine, maps], images.shape[2:])
