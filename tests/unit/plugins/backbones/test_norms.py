"""Every network can be built with batch, instance or group norm; with the latter two it keeps no running statistics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from semibench.discovery.registry import registry

NETWORKS = [("unet", 2), ("unet", 3), ("vnet", 3), ("mgcc-net", 2), ("cmu-net", 2), ("diff-vnet", 2),
            ("diff-vnet", 3), ("diffusion-vnet", 2), ("deeplabv3plus", 2)]  # fmt: skip


def network(name: str, dims: int, norm: str) -> Any:
    cls = registry().get("backbones", name).resolve()
    torch.manual_seed(0)
    width = 0.125 if name != "vnet" else 0.25
    return cls(dims=dims, channels=1, outputs=2, patch=(32,) * dims, options=cls.Options(width=width, norm=norm))


def parts(net: nn.Module) -> list[nn.Module]:
    return [net, net.new_decoder()]  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["instance", "group"])
@pytest.mark.parametrize(("name", "dims"), NETWORKS)
def test_without_batch_norm_training_and_inference_are_one_function(name: str, dims: int, norm: str) -> None:
    net = network(name, dims, norm).double()
    for part in parts(net):
        assert not [one for one in part.modules() if isinstance(one, _BatchNorm)]
        assert not list(part.buffers()), "nothing is remembered between passes"
    for part in net.modules():  # in float64: at 2 x 2 voxels a norm enlarges rounding errors
        if isinstance(part, nn.Dropout | nn.Dropout2d | nn.Dropout3d):
            part.p = 0.0
    images = torch.randn(2, 1, *(32,) * dims, dtype=torch.float64)
    with torch.no_grad():
        trained, together, alone = net.train()(images), net.eval()(images), net(images[:1])
    torch.testing.assert_close(trained, together)
    torch.testing.assert_close(alone, together[:1])


@pytest.mark.parametrize(("name", "dims"), NETWORKS)
def test_the_published_norm_is_batch_norm_and_the_other_weights_are_the_same(name: str, dims: int) -> None:
    batch, instance = network(name, dims, "batch"), network(name, dims, "instance")
    assert [one for one in batch.modules() if isinstance(one, _BatchNorm)]
    other = dict(instance.named_parameters())
    for key, value in batch.named_parameters():
        if key in other:
            assert torch.equal(value, other[key]), key
    if name != "vnet":  # UA-MT's instance norm has neither scale nor shift
        assert batch.state_dict().keys() - other.keys() == dict(batch.named_buffers()).keys()


def test_a_pooled_image_needs_no_partner_without_batch_norm() -> None:
    net = network("deeplabv3plus", 2, "instance").train()
    assert net(torch.randn(1, 1, 32, 32)).isfinite().all()
