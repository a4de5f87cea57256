"""Batch norms that give way to another kind of normalisation."""

from __future__ import annotations

import torch
from torch import nn

from semibench.blocks import exchange_batch_norm


def stack() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 12, 1), nn.BatchNorm2d(12, eps=1e-3), nn.Sequential(nn.BatchNorm2d(12)))


def test_instance_norm_is_that_of_each_channel_of_each_image() -> None:
    net, images = exchange_batch_norm(nn.Sequential(nn.BatchNorm3d(3)), "instance"), torch.randn(2, 3, 4, 5, 6)
    mean, variance = images.mean((2, 3, 4), keepdim=True), images.var((2, 3, 4), keepdim=True, unbiased=False)
    torch.testing.assert_close(net(images), (images - mean) / (variance + 1e-5).sqrt())


def test_group_norm_shares_statistics_among_eight_channels_or_their_common_divisor() -> None:
    assert [exchange_batch_norm(nn.Sequential(nn.BatchNorm2d(count)), "group")[0].num_groups for count in (16, 12, 3)] == [
        2, 3, 3,
    ]  # fmt: skip
    net, images = exchange_batch_norm(nn.Sequential(nn.BatchNorm2d(16)), "group"), torch.randn(2, 16, 4, 4)
    halves = images.unflatten(1, (2, 8))
    mean, variance = halves.mean((2, 3, 4), keepdim=True), halves.var((2, 3, 4), keepdim=True, unbiased=False)
    torch.testing.assert_close(net(images), ((halves - mean) / (variance + 1e-5).sqrt()).flatten(1, 2))


def test_nested_layers_are_exchanged_in_place_and_keep_their_epsilon() -> None:
    net = stack()
    assert exchange_batch_norm(net, "instance") is net
    assert isinstance(net[1], nn.InstanceNorm2d) and isinstance(net[2][0], nn.InstanceNorm2d)
    assert net[1].eps == 1e-3 and net[1].affine


def test_batch_and_vectors_stay() -> None:
    net, vectors = stack(), nn.Sequential(nn.BatchNorm1d(4))
    assert isinstance(exchange_batch_norm(net, "batch")[1], nn.BatchNorm2d)
    assert isinstance(exchange_batch_norm(vectors, "instance")[0], nn.BatchNorm1d)
