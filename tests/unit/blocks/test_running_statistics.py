"""Which passes move the running statistics of batch normalisation, and how they are estimated again."""

from __future__ import annotations

import copy

import torch
from torch import nn

from semibench.blocks import estimate_statistics, frozen_statistics


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))


def buffers(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.named_buffers()}


def test_a_frozen_pass_normalises_with_its_batch_and_moves_nothing() -> None:
    net, images = network()[:3], 3.0 + torch.rand(4, 1, 8, 8)
    moved = copy.deepcopy(net)
    before = buffers(net)
    with frozen_statistics(net):
        frozen = net(images)
        frozen.sum().backward()
    torch.testing.assert_close(frozen, moved(images), rtol=0, atol=0)
    assert all(torch.equal(before[name], value) for name, value in net.named_buffers())
    assert not torch.equal(before["1.running_mean"], moved[1].running_mean)
    assert net[0].weight.grad is not None


def test_after_the_block_passes_move_statistics_again() -> None:
    net, images = network(), torch.rand(4, 1, 8, 8)
    with frozen_statistics(net):
        net(images)
    net(images)
    assert int(net[1].num_batches_tracked) == 1


def test_a_frozen_pass_in_eval_mode_uses_the_running_statistics() -> None:
    net, images = network().eval(), 3.0 + torch.rand(4, 1, 8, 8)
    plain = net(images)
    with frozen_statistics(net):
        torch.testing.assert_close(net(images), plain, rtol=0, atol=0)


def test_layers_without_statistics_stay_without() -> None:
    norm = nn.BatchNorm2d(1, track_running_stats=False)
    with frozen_statistics(norm, nn.InstanceNorm2d(1)):
        norm(torch.rand(2, 1, 4, 4))
    assert norm.track_running_stats is False and norm.running_mean is None


def test_estimated_statistics_are_the_mean_over_the_batches() -> None:
    net = network()
    batches = [torch.randn(3, 1, 8, 8) * scale + scale for scale in (1.0, 2.0, 5.0)]
    net(10.0 * torch.rand(4, 1, 8, 8))
    assert estimate_statistics(net, iter(batches)) == 3
    maps = [net[0](batch).detach() for batch in batches]
    mean = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    variance = torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0)
    torch.testing.assert_close(net[1].running_mean, mean)
    torch.testing.assert_close(net[1].running_var, variance)
    assert net.training and net[1].momentum == 0.1


def test_without_batches_and_without_a_pass_statistics_stay() -> None:
    net, aside = network(), nn.BatchNorm2d(4)
    net(torch.rand(4, 1, 8, 8))
    net.add_module("aside", aside)
    aside(1.0 + torch.rand(4, 4, 2, 2))
    before = buffers(net)
    assert estimate_statistics(net, []) == 0
    assert all(torch.equal(before[name], value) for name, value in net.named_buffers())
    net.forward = lambda images: net[1](net[0](images))  # type: ignore[method-assign]
    assert estimate_statistics(net, [torch.rand(4, 1, 8, 8)]) == 1
    assert torch.equal(before["aside.running_mean"], aside.running_mean)
    assert int(aside.num_batches_tracked) == 1
