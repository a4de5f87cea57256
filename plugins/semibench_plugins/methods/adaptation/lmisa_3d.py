"""LMISA, lightweight multi-modal adaptation with gradient maps and shape constraint (Jafari et al., Medical Image Analysis
2022), in 3D and 2D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbones, Batch, Clock, Method, MethodOptions, Optimise, Optimiser, Task, Term
from semibench.blocks import Supervision, gradient_penalty, masked_mean, one_hot, supervised_loss
from semibench_plugins.methods.adaptation.adaoutput import PatchCritic
from semibench_plugins.methods.adaptation.normalised_gradient import normalised_gradient, standardised

PENALTY = 10.0


def balanced_squares(painted: Tensor, edges: Tensor, valid: Tensor) -> Tensor:
    """Mean squared error in which few strong edges count as much as the many positions without any: each position weighs 1 minus
    the share of the positions of the same map that have its sign.

    Args:
        painted: reconstructed edges, (B, C, *spatial).
        edges: standardised edges, (B, C, *spatial).
        valid: bool (B, 1, *spatial), False on padding, which doesn't count.

    Returns:
        A scalar.
    """
    over = tuple(range(2, edges.ndim))
    inside = valid.expand_as(edges)
    high = (edges > 0) & inside
    share = high.sum(over, keepdim=True) / inside.sum(over, keepdim=True).clamp(min=1)
    return masked_mean(torch.where(high, 1.0 - share, share) * (painted.float() - edges).square(), inside)


class LMISA3D(Method):
    """The network sees edges instead of intensities, which look alike in CT and MR. It segments source images, reconstructs the
    edges of both domains, and makes its masks of target images look like true masks of source images to a critic of shapes.

    x is the normalised gradient magnitude of the image (see `normalised_gradient`), standardised for each sample and channel,
    and p the softmax of the foreground classes. Network: L = 40 CE(seg(x_s), y_s) + 40 mean w (rec(x) - x)^2 - E[D(p_t)], where
    w of a position is 1 minus the share of the positions of its map that have the sign of x there. Critic: L = E[D(p_t)] -
    E[D(y_s)] + 10 GP, y_s one-hot and GP the gradient penalty of WGAN-GP between p_t and y_s. Both are updated once in each
    iteration, from one forward pass. Here everything is divided by 40 (weights 1, 1 and 1/40), which Adam doesn't see and
    which suits SGD. The recipe's optimiser trains the network, Adam 1e-3 the critic.

    The network is the run's instead of a U-Net of 16-32-64-128 channels with residual blocks and without normalisation; a
    1x1 convolution on the finest decoder map reconstructs. Both heads are followed by a leaky ReLU of slope .2, as published.
    The run's head keeps its bias; both published heads have none. The critic has the convolutions of `adaoutput`'s, from 16
    channels on, and its score is their mean. The authors' code interpolates reconstructions for the penalty, not masks; here it
    is masks. The edges are computed of the training and test patches and not once for each volume, and the smaller scales are
    means of windows instead of cubic interpolation. The gradient smooths with 1-2-1 along each other axis; the MATLAB script
    uses MATLAB's own 3D Sobel kernel. Where a case is smaller than the patch, training leaves the padding out of edges and
    masks, but prediction, which isn't told where it is, sees edges there, too. The authors reduce the rate by .8 every ten
    epochs; the recipe's schedule is used here. Preset `code`: Adam 1e-3 and two images of each domain in a batch. Scored: the
    segmentation of the image's edges.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "reconstruction": Term(1.0, search=(0.1, 3.0)),
        "shape": Term(1 / 40, search=(0.01, 0.2), unlabeled=True),
        "critic": Term(),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "code": {
            "recipe": {
                "optimiser": "adam", "lr": 1e-3, "weight_decay": 0.0, "labeled_batch": 2, "unlabeled_batch": 2,
            },
        },
    }  # fmt: skip

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `lmisa-3d`."""

        critic_lr: float = Field(1e-3, gt=0.0, description="rate of the critic; useful range 1e-4 to 1e-3")
        critic_filters: int = Field(16, ge=1, description="channels of the critic's first convolution")
        slope: float = Field(0.2, gt=0.0, le=1.0, description="of the leaky ReLU behind both heads; 1: without")
        loss: Supervision = Field("cross_entropy", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: LMISA3D.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, self.classes = options, len(task.classes)
        conv = (nn.Conv2d, nn.Conv3d)[task.dims - 2]
        self.net = backbones()
        self.reconstruct = conv(self.net.decoder.channels[0], task.channels, 1, bias=False)
        self.critic = PatchCritic(task.dims, self.classes - 1, task.patch, options.critic_filters)

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`net` trains the network with both heads, `critic` the critic."""
        critic = Optimiser((self.critic,), "adam", lr=self.options.critic_lr, settings={"weight_decay": 0.0})
        return {"net": Optimiser((self.net, self.reconstruct)), "critic": critic}

    def both(self, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Edges (B, C, *spatial) -> logits (B, K, *spatial) and reconstructed edges (B, C, *spatial)."""
        size, finest = edges.shape[2:], self.net.decoder(self.net.encode(edges))[0]
        heads = (self.net.decoder.head, self.reconstruct)
        logits, painted = (F.leaky_relu(self.net.enlarge(head(finest), size), self.options.slope) for head in heads)
        return logits, painted

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Updates the network against a fixed critic, then the critic on the masks of the same pass."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        count = len(labeled.image)
        valid = torch.cat([labeled.valid, unlabeled.valid]).unsqueeze(1)
        edges = standardised(normalised_gradient(torch.cat([labeled.image, unlabeled.image])), valid)
        logits, painted = self.both(edges)
        masks = logits[count:].float().softmax(1)[:, 1:] * valid[count:]
        losses = {
            "sup": supervised_loss(logits[:count], labeled.target, self.options.loss),
            "reconstruction": balanced_squares(painted, edges, valid),
            "shape": -self.critic(masks).mean(),
        }
        optimise(losses, on=["net"])
        true, masks = one_hot(labeled.target, self.classes)[:, 1:], masks.detach()
        distance = self.critic(masks).mean() - self.critic(true).mean()
        optimise({"critic": distance + PENALTY * gradient_penalty(self.critic, true, masks)}, on=["critic"])

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the edges."""
        logits = self.net(standardised(normalised_gradient(images)))
        return F.leaky_relu(logits, self.options.slope)
