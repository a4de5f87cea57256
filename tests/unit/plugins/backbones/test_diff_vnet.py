"""Diff-VNet: parameter counts of the sheets, the fusion of the step, what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semibench import UsageError
from semibench.conformance.backbones import BACKBONE_CHECKS
from semibench.conformance.subject import BackboneSubject
from semibench_plugins.backbones.diff_vnet import DiffVNet, Unit, waves

torch.set_num_threads(1)
NEVER_USED = 736
"""Channels (16 filters) of the last unit of each level and of the stem: the authors give each a projection and never
use it."""


def net(dims: int = 3, channels: int = 1, outputs: int = 2, **options: Any) -> DiffVNet:
    return DiffVNet(
        dims=dims, channels=channels, outputs=outputs, patch=(16,) * dims, options=DiffVNet.Options(**options)
    )


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def projections(module: nn.Module) -> int:
    return sum(count(unit.project) for unit in module.modules() if isinstance(unit, Unit) and unit.project is not None)


def formula(filters: int, embedding: int, channels: int, outputs: int, dims: int) -> tuple[int, int, int]:
    """(encoder with both stems and embedding, plain decoder, decoder with the step), counted from the sheet's table."""
    cube, two = 3**dims, 2**dims
    width = [filters * 2**level for level in range(5)]

    def conv(inputs: int, to: int, taps: int) -> int:
        return inputs * to * taps + to + 2 * to

    encoder = conv(channels, filters, cube) + conv(channels + outputs, filters, cube)
    encoder += 128 * embedding + embedding + embedding * embedding + embedding
    plain = filters * outputs + outputs
    timed = plain
    for level, repeats in zip(range(1, 5), (2, 3, 3, 3), strict=True):
        encoder += conv(width[level - 1], width[level], two) + repeats * conv(width[level], width[level], cube)
        encoder += repeats * width[level] * (embedding + 1)
    for level, repeats in zip(range(4), (1, 2, 3, 3), strict=True):
        layers = conv(width[level + 1], width[level], two) + repeats * conv(width[level], width[level], cube)
        plain += layers
        timed += layers + repeats * width[level] * (embedding + 1)
    return encoder, plain, timed


@pytest.mark.parametrize(("dims", "width"), [(3, 1.0), (3, 0.5), (2, 1.0)])
def test_counts_follow_from_the_table(dims: int, width: float) -> None:
    with torch.device("meta"):
        one = net(dims, width=width)
        timed = one.new_decoder(time=True)
    found = count(one) - count(one.decoder), count(one.decoder), count(timed)
    assert found == formula(int(32 * width), int(512 * width), 1, 2, dims)
    if (dims, width) == (3, 1.0):
        assert found == (31_271_296, 8_282_434, 8_955_490)


@pytest.mark.parametrize(("width", "sheet"), [(1.0, 40_980_962), (0.5, 11_214_834)])
def test_count_of_the_noisy_path_is_the_sheets(width: float, sheet: int) -> None:
    with torch.device("meta"):
        one = net(width=width, embedding=512)
        timed = one.new_decoder(time=True)
    path = count(one.noisy_stem, one.embedding, one.levels, timed)
    unused = int(2 * width) * NEVER_USED * 513
    assert path + unused == sheet
    if width == 0.5:
        assert projections(one.levels) + projections(timed) + count(one.embedding) + unused == 1_765_104


def test_image_path_has_the_parameters_of_the_vnet() -> None:
    with torch.device("meta"):
        one = net(width=0.5)
    assert count(one.image_stem, one.levels, one.decoder) - projections(one.levels) == 9_448_866


def test_waves() -> None:
    values = waves(torch.tensor([0, 5]))
    assert values.shape == (2, 128)
    assert torch.equal(values[0], torch.cat([torch.zeros(64), torch.ones(64)]))
    assert values[1, 0] == pytest.approx(math.sin(5.0), abs=1e-6)
    assert values[1, 63] == pytest.approx(math.sin(5.0 / 10000.0), abs=1e-7)
    assert values[1, 127] == pytest.approx(math.cos(5.0 / 10000.0), abs=1e-6)


def like_image_stem(one: DiffVNet) -> None:
    """The noisy stem sees the image alone; no dropout anywhere."""
    state = one.image_stem.state_dict()
    weight = state["units.0.conv.weight"]
    state["units.0.conv.weight"] = torch.cat([weight, torch.zeros_like(weight).repeat(1, 2, 1, 1)], 1)
    one.noisy_stem.load_state_dict(state)
    one.eval()


@torch.no_grad()
def test_without_a_step_the_fusion_is_skipped() -> None:
    one = net(2, width=0.125)
    like_image_stem(one)
    images, noisy, time = torch.randn(2, 1, 32, 32), torch.randn(2, 2, 32, 32), torch.tensor([0, 400])
    alone = one.encode(images)
    assert not torch.equal(alone[-1], one.encode(images, noisy, time)[-1])
    for unit in one.modules():
        if isinstance(unit, Unit) and unit.project is not None:
            unit.project.weight.zero_()
    assert not torch.equal(alone[-1], one.encode(images, noisy, time)[-1]), (
        "a step of 0 is no missing step: biases stay"
    )
    for unit in one.modules():
        if isinstance(unit, Unit) and unit.project is not None:
            assert unit.project.bias is not None
            unit.project.bias.zero_()
    assert all(torch.equal(a, b) for a, b in zip(alone, one.encode(images, noisy, time), strict=True))


@torch.no_grad()
def test_three_decoders_on_one_encoder() -> None:
    one = net(2, outputs=3, width=0.125).eval()
    psi, xi = one.new_decoder(), one.new_decoder(time=True).eval()
    images, time = torch.randn(1, 1, 32, 48), torch.tensor([999])
    assert one(images).shape == one.decode(one.encode(images), (32, 48), psi).shape == (1, 3, 32, 48)
    maps = one.encode(images, torch.randn(1, 3, 32, 48), time)
    first, later = (one.decode(maps, (32, 48), xi, time=t) for t in (time, time - 900))
    assert first.shape == (1, 3, 32, 48) and not torch.equal(first, later)


def test_refuses() -> None:
    one = net(2, width=0.125)
    images, noisy, time = torch.randn(1, 1, 32, 32), torch.randn(1, 2, 32, 32), torch.tensor([3])
    for given in ({"noisy": noisy}, {"time": time}):
        with pytest.raises(UsageError, match="only one of them"):
            one.encode(images, **given)
    with pytest.raises(UsageError, match="time=True"):
        one.decode(one.encode(images), (32, 32), time=time)
    with pytest.raises(UsageError, match="multiples of 16"):
        one.encode(torch.zeros(1, 1, 40, 32))
    with pytest.raises(UsageError, match="dims"):
        DiffVNet(dims=1, channels=1, outputs=2, patch=(32,), options=DiffVNet.Options())
    with pytest.raises(UsageError, match="differ in time"):
        one.new_decoder(time="yes")


class Timeless(DiffVNet):
    """Says it provides "time" and ignores the step."""

    def encode(self, images: Tensor, noisy: Tensor | None = None, time: Tensor | None = None) -> list[Tensor]:
        return super().encode(images, noisy, None if time is None else torch.zeros_like(time))


def test_a_network_that_ignores_the_step_is_found() -> None:
    with pytest.raises(AssertionError, match="the step has no effect"):
        BACKBONE_CHECKS["time_is_fused"](BackboneSubject(Timeless))
