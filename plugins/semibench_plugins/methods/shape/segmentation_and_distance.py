"""A network that predicts a segmentation and signed distance maps: the part that DTC and SASSNet share."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from semibench import Backbone
from semibench.blocks import Supervision, masked_mean, soft_dice, supervised_loss

LabelLoss = Literal["dice", Supervision]
"""Names of `label_loss`."""
Absent = Literal["outside", "zero"]
"""What the distance map of a class is in a sample without that class."""
ABSENT = {"outside": 1.0, "zero": 0.0}
ABSENT_HELP = "distance map of a class that a sample lacks: 1 everywhere, or 0 as in the published code"


class SegmentationAndDistance(nn.Module):
    """A backbone whose finest decoded map feeds two heads: its own, and a 1x1 convolution with tanh that predicts the signed
    distance map of each foreground class."""

    def __init__(self, net: Backbone, classes: int) -> None:
        super().__init__()
        self.net = net
        self.distance = (nn.Conv2d, nn.Conv3d)[net.dims - 2](net.decoder.channels[0], classes - 1, 1)

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, *spatial) -> logits (B, K, *spatial) and distance maps (B, K - 1, *spatial) in [-1, 1]."""
        finest, size = self.net.decoder(self.net.encode(images))[0], images.shape[2:]
        logits = self.net.enlarge(self.net.decoder.head(finest), size)
        return logits, self.net.enlarge(self.distance(finest), size).float().tanh()

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.net(images)


def label_loss(logits: Tensor, target: Tensor, kind: LabelLoss) -> Tensor:
    """ "dice" is 1 - (2 sum p y + s) / (sum p^2 + sum y^2 + s), s = 1e-5, with sums over the batch, averaged over the
    foreground classes. The other names are those of `supervised_loss`."""
    return soft_dice(logits, target, background=False) if kind == "dice" else supervised_loss(logits, target, kind)


def distance_error(distances: Tensor, goal: Tensor, valid: Tensor) -> Tensor:
    """Mean of (z - g)^2 over samples, foreground classes and valid positions; z and g are (B, K - 1, *spatial)."""
    return masked_mean((distances - goal).square(), valid.unsqueeze(1))
