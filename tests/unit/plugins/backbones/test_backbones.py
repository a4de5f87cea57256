"""The published networks: parameter counts of the sheets, layers, sizes. What all backbones must do is in
test_conformance.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from semibench import UsageError
from semibench_plugins.backbones.unet import UNet
from semibench_plugins.backbones.vnet import VNet


def unet(channels: int = 1, outputs: int = 4, dims: int = 2, **options: Any) -> UNet:
    return UNet(dims=dims, channels=channels, outputs=outputs, patch=(32,) * dims, options=UNet.Options(**options))


def vnet(channels: int = 1, outputs: int = 2, **options: Any) -> VNet:
    return VNet(dims=3, channels=channels, outputs=outputs, patch=(32,) * 3, options=VNet.Options(**options))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("channels", "outputs", "expected"),
    [(1, 2, 1_813_474), (1, 4, 1_813_764), (3, 2, 1_813_762), (3, 4, 1_814_052)],
)
def test_unet_counts(channels: int, outputs: int, expected: int) -> None:
    assert count(unet(channels, outputs)) == expected


def test_unet_parts() -> None:
    net = unet()
    assert [count(stage) for stage in net.stages] == [2_544, 14_016, 55_680, 221_952, 886_272]
    assert count(net.decoder) == 633_300 and count(net.decoder.last) == 580
    assert count(net) + 3 * count(net.new_decoder()) == 3_713_664, "CCT: one encoder, four decoders"
    assert count(unet(upsampling="transposed")) == 1_944_324
    rates = [[m.p for m in stage.modules() if isinstance(m, nn.Dropout)] for stage in net.stages]
    assert rates == [[0.05], [0.1], [0.2], [0.3], [0.5]]
    assert not [m for m in net.decoder.modules() if isinstance(m, nn.Dropout)]
    assert [m.align_corners for m in net.decoder.modules() if isinstance(m, nn.Upsample)] == [True] * 4


def test_unet_34m_counts() -> None:
    net = unet(3, 1, variant="34m")
    assert count(net) == 34_527_041
    assert [count(stage) for stage in net.stages] == [38_976, 221_952, 886_272, 3_542_016, 14_161_920]
    pairs = [(count(up), count(block)) for up, block in zip(net.decoder.up, net.decoder.blocks, strict=True)]
    assert pairs == [(73_920, 110_976), (295_296, 443_136), (1_180_416, 1_771_008), (4_720_128, 7_080_960)]
    assert count(net.decoder.last) == 65
    assert not [m for m in net.modules() if isinstance(m, nn.Dropout | nn.LeakyReLU)]


def test_unet_sizes_at_224() -> None:
    maps = unet().eval().encode(torch.zeros(1, 1, 224, 224))
    assert [(m.shape[1], m.shape[2]) for m in maps] == [(16, 224), (32, 112), (64, 56), (128, 28), (256, 14)]


@pytest.mark.parametrize("upsampling", ["linear", "nearest", "transposed"])
@pytest.mark.parametrize("variant", ["ssl4mis", "34m"])
@pytest.mark.parametrize("dims", [2, 3])
def test_unet_variants(dims: int, variant: str, upsampling: str) -> None:
    net = unet(dims=dims, variant=variant, upsampling=upsampling, width=0.1).eval()
    size = (32, 48, 16)[:dims]
    assert net(torch.zeros(2, 1, *size)).shape == (2, 4, *size)
    assert net.channels == tuple(
        max(1, round(0.1 * c)) for c in ((16, 32, 64, 128, 256), (64, 128, 256, 512, 1024))[variant == "34m"]
    )


def test_unet_options_reach_the_layers() -> None:
    dry = unet(dropout=(0.0,) * 5, width=0.25).train()
    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(dry(x), dry(x))
    with pytest.raises(UsageError, match="multiples of 16"):
        dry.encode(torch.zeros(1, 1, 40, 32))
    with pytest.raises(UsageError, match="2 sides"):
        UNet(dims=2, channels=1, outputs=2, patch=(32, 32, 32), options=UNet.Options())
    with pytest.raises(UsageError, match="dims=4"):
        UNet(dims=4, channels=1, outputs=2, patch=(32,) * 4, options=UNet.Options())
    with pytest.raises(UsageError, match="upsampling"):
        dry.new_decoder(upsampling="cubic")


def test_vnet_counts() -> None:
    net = vnet()
    assert count(net) == 9_448_866
    assert count(net.blocks) == 7_376_896 and count(net.decoder) == 2_071_970
    for upsampling in ("linear", "nearest"):
        assert count(net.new_decoder(upsampling=upsampling)) == 2_898_850
    assert count(net) + count(net.new_decoder(upsampling="linear")) == 12_347_716, "MC-Net"
    assert count(net) + 2 * count(net.new_decoder(upsampling="nearest")) == 15_246_566, "MC-Net+"
    assert count(vnet(width=2)) == 37_777_730


def test_vnet_bottleneck_and_dropout() -> None:
    net = vnet(width=0.125)
    assert [m.shape[2:] for m in net.eval().encode(torch.zeros(1, 1, 112, 112, 80))][-1] == (7, 7, 5)
    x = torch.randn(2, 1, 32, 32, 32)
    maps = net.train().encode(x)
    gone = (maps[-1].flatten(2) == 0).all(2)
    assert gone.any() and not gone.all(), "whole channels are dropped on the coarsest map"
    finest = net.decoder(maps)[0].flatten(2)
    assert (finest == 0).all(2).any(), "and on the finest decoded map"
    dry = vnet(width=0.125, has_dropout=False).train()
    torch.testing.assert_close(dry(x), dry(x))


@pytest.mark.parametrize("norm", ["batch", "group", "instance", "none"])
@pytest.mark.parametrize("upsampling", ["transposed", "linear", "nearest"])
def test_vnet_variants(norm: str, upsampling: str) -> None:
    net = vnet(3, 5, norm=norm, upsampling=upsampling, width=0.25)
    assert net(torch.randn(2, 3, 32, 16, 32)).shape == (2, 5, 32, 16, 32)
    assert net.channels[0] == (16 if norm == "group" else 4)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm3d | nn.GroupNorm | nn.InstanceNorm3d)]
    assert bool(norms) == (norm != "none")


def test_vnet_refuses() -> None:
    with pytest.raises(UsageError, match="dims=2"):
        VNet(dims=2, channels=1, outputs=2, patch=(32, 32), options=VNet.Options())
    with pytest.raises(UsageError, match="multiples of 16"):
        VNet(dims=3, channels=1, outputs=2, patch=(32, 32, 20), options=VNet.Options())
    with pytest.raises(UsageError, match="upsampling"):
        vnet(width=0.125).new_decoder(upsampling="cubic")


def test_skips_are_added_in_vnet_and_joined_in_unet() -> None:
    for net, x in (
        (vnet(width=0.125).eval(), torch.randn(1, 1, 16, 16, 16)),
        (unet(width=0.25).eval(), torch.randn(1, 1, 32, 32)),
    ):
        maps = net.encode(x)
        without = [torch.zeros_like(m) for m in maps[:-1]] + [maps[-1]]
        size = tuple(x.shape[2:])
        assert not torch.equal(net.decode(maps, size), net.decode(without, size))
    first = vnet(width=0.125).decoder.blocks[0][0]
    assert first.in_channels == first.out_channels == 2
    joined = unet(width=0.25).decoder.blocks[0][0]
    assert joined.in_channels == 2 * joined.out_channels
