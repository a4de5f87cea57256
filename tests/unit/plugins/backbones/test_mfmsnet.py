"""MFMSNet and its octave convolutions: laws, sizes and counts."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from semibench import UsageError
from semibench_plugins.backbones.mfmsnet import MFMSNet, MultiFrequencyBlock, MultiScaleFusion
from semibench_plugins.backbones.octave import Bottleneck, OctaveConv

torch.set_num_threads(1)


def built(patch: tuple[int, int] = (64, 64), width: float = 0.0625, channels: int = 1) -> MFMSNet:
    options = MFMSNet.Options(width=width)
    return MFMSNet(dims=2, channels=channels, outputs=2, patch=patch, options=options).eval()


def test_octave_convolution_without_a_low_part_is_a_plain_one() -> None:
    torch.manual_seed(0)
    octave, x = OctaveConv((3, 0), (4, 0), 3), torch.rand(2, 3, 8, 8)
    high, low = octave((x, None))
    assert low is None
    torch.testing.assert_close(high, F.conv2d(x, octave.high_high.weight, padding=1))  # type: ignore[union-attr]
    assert sum(p.numel() for p in octave.parameters()) == 3 * 4 * 9


@pytest.mark.parametrize("stride", [1, 2])
def test_octave_convolution_against_its_formula(stride: int) -> None:
    torch.manual_seed(0)
    octave = OctaveConv((3, 2), (4, 5), 1, stride=stride)
    high, low = torch.rand(1, 3, 8, 8), torch.rand(1, 2, 4, 4)
    found_high, found_low = octave((high, low))
    mix = {name: getattr(octave, name).weight[:, :, 0, 0] for name in ("high_high", "high_low", "low_high", "low_low")}
    h = F.avg_pool2d(high, 2) if stride == 2 else high
    l = F.avg_pool2d(low, 2) if stride == 2 else low  # noqa: E741
    across = torch.einsum("oi,bihw->bohw", mix["low_high"], low)
    if stride == 1:
        across = across.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(found_high, torch.einsum("oi,bihw->bohw", mix["high_high"], h) + across)
    down = torch.einsum("oi,bihw->bohw", mix["high_low"], F.avg_pool2d(h, 2))
    assert found_low is not None
    torch.testing.assert_close(found_low, torch.einsum("oi,bihw->bohw", mix["low_low"], l) + down)


def test_a_bottleneck_ends_with_four_times_its_inner_channels() -> None:
    high, low = Bottleneck((8, 8), (16, 16), stride=2)((torch.rand(2, 8, 8, 8), torch.rand(2, 8, 4, 4)))
    assert low is not None and (high.shape[1:], low.shape[1:]) == ((16, 4, 4), (16, 2, 2))


def test_attention_rows_sum_to_1_and_both_directions_share_them() -> None:
    torch.manual_seed(0)
    block = MultiFrequencyBlock(16).eval()
    query, key = torch.randn(2, 8, 2, 9), torch.randn(2, 8, 2, 4)
    weights = block.weights(query, key)
    torch.testing.assert_close(weights.sum(3), torch.ones(2, 8, 9))
    expected = torch.einsum("bhdn,bhdm->bhnm", query, key) / 2**0.5
    torch.testing.assert_close(weights, expected.softmax(3))
    high, low = block(torch.rand(2, 16, 4, 4), torch.rand(2, 16, 2, 2))
    assert (high.shape, low.shape) == ((2, 16, 4, 4), (2, 16, 2, 2))
    assert high.min() >= 0 and low.min() >= 0


def test_scales_are_fused_at_the_middle_size() -> None:
    fusion = MultiScaleFusion((2, 4, 8), 16, 4).eval()
    assert fusion(torch.rand(1, 2, 8, 8), torch.rand(1, 4, 4, 4), torch.rand(1, 8, 2, 2)).shape == (1, 4, 4, 4)


def test_maps_have_the_channels_and_strides_they_promise() -> None:
    net = built()
    maps = net.encode(torch.rand(1, 1, 64, 96))
    assert [one.shape[1] for one in maps] == list(net.channels)
    assert [64 // one.shape[2] for one in maps] == list(net.strides)
    assert all(fine <= coarse for fine, coarse in pairwise(net.strides))
    assert net(torch.rand(2, 1, 64, 96)).shape == (2, 2, 64, 96)


def test_published_widths() -> None:
    with torch.device("meta"):
        net = MFMSNet(dims=2, channels=3, outputs=2, patch=(256, 256), options=MFMSNet.Options())
    assert net.channels == (64, 128, 128, 256, 256, 512, 512, 2048)
    encoder = sum(p.numel() for name, p in net.named_parameters() if not name.startswith("decoder."))
    assert encoder == 23_508_032, "octave convolutions move channels between sizes and add none: the count of ResNet-50"
    deepest = sum(p.numel() for p in net.decoder.up[0].parameters())
    assert deepest == 952_320, "2048 -> 128 + 128 -> 256 + 256, both halves enlarged"
    assert sum(p.numel() for p in net.parameters()) == 30_460_903


def test_odd_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="multiples of 32"):
        built((513, 513))
    with pytest.raises(UsageError, match="2D"):
        MFMSNet(dims=3, channels=1, outputs=2, patch=(32, 32, 32), options=MFMSNet.Options())
    with pytest.raises(UsageError, match="multiples of 32; got \\(50, 64\\)"):
        built()(torch.rand(1, 1, 50, 64))
