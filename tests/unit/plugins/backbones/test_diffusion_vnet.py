"""The diffusion segmentation V-Net: counts of the sheet, where the step enters, sizes. What all backbones must do, those with
"time" included, is in test_conformance.py."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semibench import UsageError
from semibench_plugins.backbones.diff_vnet import waves
from semibench_plugins.backbones.diffusion_vnet import DiffusionVNet, TimedMaps
from semibench_plugins.backbones.vnet import VNet

torch.set_num_threads(1)


def network(dims: int = 3, channels: int = 1, outputs: int = 2, side: int = 32, **options: Any) -> DiffusionVNet:
    patch = (side,) * dims
    made = DiffusionVNet.Options(**options)
    return DiffusionVNet(dims=dims, channels=channels, outputs=outputs, patch=patch, options=made)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts() -> None:
    """The sheet counts A&D's module, idle projections included; what works is 736 x 513 less (513 = 512 + bias for each of
    16 + 32 + 64 + 128 + 256 + 128 + 64 + 32 + 16 last units' channels)."""
    with torch.device("meta"):
        whole, double, used = network(idle=True), network(idle=True, width=2), network()
        plain = VNet(dims=3, channels=3, outputs=2, patch=(32,) * 3, options=VNet.Options())
    assert count(whole) == 11_214_834 and count(double) == 40_980_962
    assert count(whole) - count(plain) == 1_765_104, "the time layers"
    assert count(used) == 11_214_834 - 736 * 513 == 10_837_266
    assert not any(parameter.requires_grad for parameter in whole.idle.parameters())


def test_embedding_of_the_step() -> None:
    found = waves(torch.tensor([0, 7]))
    assert found.shape == (2, 128)
    assert found[0, :64].eq(0).all() and found[0, 64:].eq(1).all()
    rate = math.exp(-math.log(10000) * 5 / 63)
    assert float(found[1, 5]) == pytest.approx(math.sin(7 * rate)) and float(found[1, 69]) == pytest.approx(
        math.cos(7 * rate)
    )


@pytest.mark.parametrize("dims", [2, 3])
def test_sizes_and_stem(dims: int) -> None:
    net = network(dims, channels=2, outputs=3, width=0.125).eval()
    images, noisy = torch.randn(2, 2, *(32,) * dims), torch.randn(2, 3, *(32,) * dims)
    maps = net.encode(images, noisy, torch.tensor([0, 999]))
    assert isinstance(maps, TimedMaps) and maps.embedding is not None and maps.embedding.shape == (2, 64)
    assert [m.shape[2] for m in maps] == [32, 16, 8, 4, 2] and net.channels == (2, 4, 8, 16, 32)
    assert net.decode(maps, images.shape[2:]).shape == (2, 3, *(32,) * dims)
    alone, zeros = net.encode(images), torch.zeros_like(noisy)
    assert alone.embedding is None
    stem = net.blocks[0](torch.cat([images, zeros], 1), None)
    torch.testing.assert_close(alone[0], stem)


def test_the_step_enters_encoder_and_decoder() -> None:
    net = network(2, width=0.25).eval()
    images, noisy = torch.randn(2, 1, 32, 32), torch.randn(2, 2, 32, 32)
    early, late = (net.encode(images, noisy, torch.full((2,), time)) for time in (3, 800))
    torch.testing.assert_close(early[0], late[0], msg="the only unit of level 1 is its last: no step")
    assert all(not torch.allclose(a, b) for a, b in zip(early[1:], late[1:], strict=True))
    same_maps = net.decode(TimedMaps(early, late.embedding), (32, 32))
    assert not torch.allclose(same_maps, net.decode(early, (32, 32))), "the decoder adds the step, too"
    assert not torch.allclose(net.decode(list(early), (32, 32)), net.decode(early, (32, 32))), (
        "and skips it without one"
    )


def test_samples_have_steps_of_their_own() -> None:
    net = network(2, width=0.25).eval()
    images, noisy = torch.randn(2, 1, 32, 32), torch.randn(2, 2, 32, 32)
    both = net.decode(net.encode(images, noisy, torch.tensor([10, 600])), (32, 32))
    one = net.decode(net.encode(images[1:], noisy[1:], torch.tensor([600])), (32, 32))
    torch.testing.assert_close(both[1:], one, rtol=1e-4, atol=1e-5)


def test_units_are_in_the_order_of_a_and_d() -> None:
    """conv, ReLU, norm: in training mode with gains of 1 the maps of a unit have mean 0 and are not cut at 0."""
    net = network(2, width=0.5, unit_dropout=0.0, has_dropout=False).train()
    maps: Tensor = net.encode(torch.randn(4, 1, 32, 32))[0]
    assert float(maps.detach().mean((0, 2, 3)).abs().max()) < 1e-5 and float(maps.detach().min()) < -0.1


def test_refusals() -> None:
    with pytest.raises(UsageError, match="multiples of 16"):
        network(side=24)
    with pytest.raises(UsageError, match="dims=4"):
        network(4)
    net = network(2, width=0.25)
    with pytest.raises(UsageError, match="noisy label map and its step"):
        net.encode(torch.zeros(1, 1, 32, 32), torch.zeros(1, 2, 32, 32))
    with pytest.raises(UsageError, match="no variants"):
        net.new_decoder(time=True)
