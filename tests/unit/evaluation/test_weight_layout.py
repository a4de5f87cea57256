"""Weights of convolutions in channels last for inference, where nothing but rounding changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semibench.evaluation.network import Network
from semibench.evaluation.weight_layout import lay_out

NETWORK = Network(2, (6, 6), divisor=4)


class Net(nn.Module):
    """Two convolutions and, by default, nothing that asks for a layout."""

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        conv: Any = (nn.Conv2d, nn.Conv3d)[dims - 2]
        self.first, self.second = conv(1, 6, 3, padding=1), conv(6, 2, 3, padding=1)

    def between(self, maps: Tensor) -> Tensor:
        return maps

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.second(self.between(self.first(images)))
        return found


class Viewing(Net):
    def between(self, maps: Tensor) -> Tensor:
        return maps.view(len(maps), -1).view(maps.shape)


class ByLayout(Net):
    """It finds something else in channels last."""

    def between(self, maps: Tensor) -> Tensor:
        return maps if maps.is_contiguous() else 10 * maps


class Mostly(Net):
    """Most of its weights are outside convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1000))


class Normalised(Net):
    """Its norm is slower in channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(6)

    def between(self, maps: Tensor) -> Tensor:
        found: Tensor = self.norm(maps)
        return found


@pytest.mark.parametrize("dims", [2, 3])
def test_values_stay_and_convolutions_become_channels_last(dims) -> None:
    net, plain = Net(dims), Net(dims)
    network = Network(dims, (6,) * dims)
    images = torch.randn(2, 1, *network.patch)
    assert lay_out(net, {"main": net}, network, 1)
    assert all(map(torch.equal, net.parameters(), plain.parameters()))
    assert not net.second.weight.is_contiguous()
    torch.testing.assert_close(net(images), plain(images), atol=1e-5, rtol=1e-5)
    assert lay_out(net, {}, network, 1)  # nothing is tried again


@pytest.mark.parametrize("kind", [Viewing, ByLayout, Mostly, Normalised])
def test_networks_that_another_layout_would_break_or_not_help_keep_theirs(kind) -> None:
    net = kind()
    state = torch.get_rng_state()
    assert not lay_out(net, {"main": net}, NETWORK, 1)
    assert net.second.weight.is_contiguous() and net.training
    assert torch.equal(state, torch.get_rng_state())


def test_whole_cases_and_other_devices_are_left_alone() -> None:
    net = Net()
    assert not lay_out(net, {"main": net}, Network(2, (6, 6), whole_cases=True), 1)
    assert not lay_out(net, {"main": net}, Network(2, (6, 6), device="cuda"), 1)
