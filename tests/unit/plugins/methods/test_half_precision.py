"""Losses under autocast, as `recipe.precision=bf16` computes them."""

from __future__ import annotations

import pytest
import torch
from support.methods_support import Collected, case_of, clock
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Method
from semibench_plugins.methods.consistency.dk_hrs import DKHRS
from semibench_plugins.methods.contrast_and_prototypes.scp_net import SCPNet
from semibench_plugins.methods.contrast_and_prototypes.ss_net.method import SSNet
from semibench_plugins.methods.contrast_and_prototypes.ss_net.smoothness import linear_dice_distance, worst_direction


@pytest.mark.parametrize(("method", "options"), [(DKHRS, {"width": 8}), (SCPNet, {}), (SSNet, {})])
def test_losses_are_finite(method: type[Method], options: dict[str, int]) -> None:
    case, seen = case_of(method, options=options), Collected()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        case.build().step(case.data().batch(0), clock(step=50), seen)
    assert seen.losses and all(bool(loss.isfinite()) for loss in seen.losses.values())


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
