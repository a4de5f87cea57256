"""What stays in float32 under autocast. (That losses stay finite is a check of the battery.)"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semibench.blocks import gaussian_blur
from semibench_plugins.methods.contrast_and_prototypes.ss_net.smoothness import linear_dice_distance, worst_direction
from semibench_plugins.methods.weak_to_strong.random_intensities import sharpness


def test_the_worst_direction_is_that_of_float32() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1))
    images, valid = torch.rand(2, 1, 16, 16), torch.ones(2, 16, 16, dtype=torch.bool)
    target = net(images).detach().softmax(1)

    def found(half: bool) -> Tensor:
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            return worst_direction(net, images, target, valid, linear_dice_distance, 1e-6)

    assert F.cosine_similarity(found(True).flatten(1), found(False).flatten(1)).min() > 0.999


def test_views_made_in_a_step_keep_float32() -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 1, 16, 16)

    def made(half: bool) -> list[Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            return [gaussian_blur(images, torch.full((4,), 1.5), radius=4), sharpness(images, torch.full((4,), 0.5))]

    for found, expected in zip(made(True), made(False), strict=True):
        assert torch.equal(found, expected)
