"""Swin-UNet and CMU-Net: parameter counts of the sheets, laws of their layers, sizes they take and refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semibench import UsageError
from semibench_plugins.backbones.cmu_net import CMUNet
from semibench_plugins.backbones.swin_unet import (
    DropPath,
    SwinBlock,
    SwinUNet,
    WindowAttention,
    assemble,
    partition,
    regions,
    relative_positions,
    stage_windows,
)

torch.set_num_threads(1)


def swin(channels: int = 1, outputs: int = 2, patch: tuple[int, ...] = (64, 64), **options: Any) -> SwinUNet:
    return SwinUNet(dims=2, channels=channels, outputs=outputs, patch=patch, options=SwinUNet.Options(**options))


def cmu(channels: int = 3, outputs: int = 1, patch: tuple[int, ...] = (32, 32), **options: Any) -> CMUNet:
    return CMUNet(dims=2, channels=channels, outputs=outputs, patch=patch, options=CMUNet.Options(**options))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("outputs", "expected"), [(1, 27_168_132), (2, 27_168_228), (4, 27_168_420)])
def test_swin_counts(outputs: int, expected: int) -> None:
    with torch.device("meta"):
        net = swin(1, outputs, (224, 224))
    assert count(net) == expected
    assert net.channels == (96, 192, 384, 768) and net.windows == (7, 7, 7, 7) and net.divisor == 224
    rates = [m.p for m in net.levels.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.2 * n / 7 for n in range(8)])


@pytest.mark.parametrize(
    ("patch", "windows", "divisor"),
    [((224, 224), (7, 7, 7, 7), 224), ((256, 256), (8, 8, 8, 8), 256), ((64, 64), (8, 8, 4, 2), 64),
     ((32, 32), (8, 4, 2, 1), 32), ((96, 96), (6, 6, 6, 3), 192), ((448, 224), (7, 7, 7, 7), 224)],
)  # fmt: skip
def test_windows_follow_from_the_patch(patch: tuple[int, int], windows: tuple[int, ...], divisor: int) -> None:
    net = swin(patch=patch, width=0.04)
    assert net.windows == windows
    assert net.eval()(torch.zeros(1, 1, *patch)).shape == (1, 2, *patch)


def test_swin_refuses() -> None:
    for patch in ((225, 224), (48, 48), (16, 16), (352, 352), (64, 64, 64)):
        with pytest.raises(UsageError, match="swin-unet"):
            swin(patch=patch)
    with pytest.raises(UsageError, match="windows of 7 tokens"):
        swin(patch=(256, 256), window=7)
    with pytest.raises(UsageError, match="multiples of 64"):
        swin(width=0.1).encode(torch.zeros(1, 1, 96, 64))
    with pytest.raises(UsageError, match="dims=2"):
        SwinUNet(dims=3, channels=1, outputs=2, patch=(32, 32, 32), options=SwinUNet.Options())
    assert stage_windows((224, 224), 7) == (7, 7, 7, 7) and stage_windows((256, 256), 7) is None


def test_partition_and_its_inverse() -> None:
    tokens = torch.arange(2 * 6 * 9 * 2.0).view(2, 6, 9, 2)
    windows = partition(tokens, 3)
    assert windows.shape == (2 * 2 * 3, 9, 2)
    assert torch.equal(windows[1].view(3, 3, 2), tokens[0, :3, 3:6]) and torch.equal(
        assemble(windows, (6, 9), 3), tokens
    )


def test_relative_positions_depend_on_the_offset_only() -> None:
    index = relative_positions(3)
    assert index.min() == 0 and index.max() == 24 and index.diagonal().eq(12).all()
    assert index[0, 1] == index[3, 4] == index[7, 8] and index[0, 1] != index[1, 0]


def naive(block: SwinBlock, tokens: Tensor) -> Tensor:
    """Shifted-window attention written token by token, without cyclic shift and mask: a token sees those of its window,
    where the windows lie half a window off."""
    _, h, w, c = tokens.shape
    s, m, a = block.window // 2, block.window, block.attention
    x = block.norm1(tokens)[0]
    q, k, v = a.qkv(x).view(h, w, 3, a.heads, -1).unbind(2)
    out = torch.zeros(h, w, c)
    for i in range(h):
        for j in range(w):
            near = [(p, r) for p in range(h) for r in range(w)
                    if (p + m - s) // m == (i + m - s) // m and (r + m - s) // m == (j + m - s) // m]  # fmt: skip
            scores = torch.stack([(q[i, j] * k[p, r]).sum(-1) * q.shape[-1] ** -0.5 for p, r in near])
            assert a.bias is not None
            scores = scores + torch.stack([a.bias[(i - p + m - 1) * (2 * m - 1) + j - r + m - 1] for p, r in near])
            out[i, j] = (scores.softmax(0)[..., None] * torch.stack([v[p, r] for p, r in near])).sum(0).flatten()
    tokens = tokens + a.proj(out)[None]
    return tokens + block.mlp(block.norm2(tokens))


def test_shifted_block_equals_attention_token_by_token() -> None:
    torch.manual_seed(0)
    block = SwinBlock(6, 3, 4, True, 0.0).eval()
    tokens = torch.randn(1, 8, 12, 6)
    with torch.no_grad():
        block.attention.bias.normal_()  # type: ignore[union-attr]
        torch.testing.assert_close(block(tokens), naive(block, tokens), rtol=1e-4, atol=1e-5)


def test_windows_see_only_themselves_without_shift() -> None:
    block = SwinBlock(6, 3, 4, False, 0.0).eval()
    tokens = torch.randn(1, 8, 8, 6)
    other = tokens.clone()
    other[:, 4:, 4:] += 1.0
    with torch.no_grad():
        same = (block(tokens) - block(other)).abs().amax(-1)[0] < 1e-6
    assert same[:4].all() and same[:, :4].all() and not same[4:, 4:].any()
    assert not regions((8, 8), 4, (0, 0), torch.device("cpu")).any()


def test_single_tokens_have_no_bias_and_drop_path_keeps_the_mean() -> None:
    assert WindowAttention(6, 3, 1).bias is None
    torch.manual_seed(0)
    drop = DropPath(0.2)
    kept = drop(torch.ones(20_000, 1))
    assert set(kept.unique().tolist()) == {0.0, 1.25} and kept.mean().item() == pytest.approx(1.0, abs=0.01)
    assert torch.equal(drop.eval()(kept), kept)


def test_one_channel_is_three_equal_ones() -> None:
    torch.manual_seed(0)
    grey, colour = swin(1, width=0.1).eval(), swin(3, width=0.1).eval()
    colour.load_state_dict(grey.state_dict())
    images = torch.randn(1, 1, 64, 64)
    torch.testing.assert_close(grey(images), colour(images.repeat(1, 3, 1, 1)))
    assert count(swin(1, width=0.1)) == count(swin(3, width=0.1)) < count(swin(4, width=0.1))


def test_cmu_counts() -> None:
    with torch.device("meta"):
        net = cmu(patch=(256, 256))
    assert count(net) == 49_932_353 and count(net.chain) == 7_734_272
    assert [count(gate) for gate in net.decoder.gates] == [90_880, 361_984, 1_444_864, 5_773_312]  # type: ignore[union-attr]
    with torch.device("meta"):
        assert count(cmu(layers=0, gates=False)) == 34_527_041, "without chain and gates: the U-Net"


def test_cmu_refuses() -> None:
    with pytest.raises(UsageError, match="cmu-net is a 2D network"):
        CMUNet(dims=3, channels=1, outputs=2, patch=(32, 32, 32), options=CMUNet.Options())
    with pytest.raises(UsageError, match="cmu-net halves"):
        cmu(patch=(40, 32))
    with pytest.raises(UsageError, match="cmu-net has only one kind"):
        cmu(width=0.1).new_decoder(upsampling="linear")
    with pytest.raises(ValueError, match="odd"):
        CMUNet.Options(kernel=4)


def test_cmu_zero_depthwise_weights_leave_the_residual() -> None:
    net = cmu(width=1 / 16).eval()
    layer = net.chain[0]
    with torch.no_grad():
        layer.depthwise.weight.zero_()  # type: ignore[union-attr, operator]
        maps = torch.randn(1, net.channels[-1], 2, 2)
        bias = nn.functional.gelu(layer.depthwise.bias)[None, :, None, None]  # type: ignore[union-attr, arg-type, index]
        torch.testing.assert_close(layer(maps), layer.pointwise(maps + layer.norm(bias.expand_as(maps))))  # type: ignore[operator]
