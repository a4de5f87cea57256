"""How DTLP-Net labels, and which of its passes move running statistics."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from support.methods_support import Collected, case_of, clock, quiet, samples
from torch import Tensor

from semibench_plugins.backbones.diff_vnet import DiffVNet
from semibench_plugins.methods.systems.dtlp_net.method import DTLPNet

torch.set_num_threads(1)


def method(**options: Any) -> DTLPNet:
    built = case_of(DTLPNet, backbone=DiffVNet, options={"ddim_steps": 2} | options).build()
    assert isinstance(built, DTLPNet)
    return built


def batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn((4, 1, 32, 32), generator=generator)
    label = torch.randint(2, (2, 32, 32), generator=generator)
    return {"labeled": samples(image[:2], label), "unlabeled": samples(image[2:])}


def test_labels_have_no_dropout() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 1, 32, 32)

    def labels(built: DTLPNet) -> tuple[Tensor, Tensor]:
        _, _, psi, second = built.teach(images)
        return psi, second

    calm = method().train()
    assert all(torch.equal(one, two) for one, two in zip(labels(calm), labels(calm), strict=True))
    loud = method(labelling="train", teacher_mode="train").train()
    assert not any(torch.equal(one, two) for one, two in zip(labels(loud), labels(loud), strict=True))


def test_whole_images_alone_move_the_statistics() -> None:
    """Against passes of whole images made by hand, each network with its own: mixed, masked and noisy input moves nothing."""
    built, given = method(mixing=0.0, buffers="none"), batch()
    quiet(built).train()
    network, teacher = copy.deepcopy(built.network), copy.deepcopy(built.teacher)
    built.step(given, clock(), Collected())
    labeled, unlabeled = given["labeled"].image, given["unlabeled"].image
    theta, psi = network.net.decoder, network.psi
    for images, decoders in ((labeled, (theta, psi)), (unlabeled, (psi,)), (unlabeled, (theta,))):
        maps = network.net.encode(images)
        for decoder in decoders:
            network.net.decode(maps, images.shape[2:], decoder)
    for images in (unlabeled, labeled):
        teacher(images)
    for found, expected in ((built.network, network), (built.teacher, teacher)):
        pairs = zip(found.named_buffers(), expected.buffers(), strict=True)
        assert all(torch.allclose(mine, theirs, atol=1e-6) for (_, mine), theirs in pairs)
    counts = {name: int(value) for name, value in built.network.named_buffers() if "tracked" in name}
    assert {
        counts["net.levels.0.units.0.norm.num_batches_tracked"],
        counts["net.decoder.up.0.norm.num_batches_tracked"],
    } == {3, 2}


def test_every_pass_moves_the_statistics_on_request() -> None:
    """Two passes of DDIM, one of denoising, one mixed and one masked, and three of whole images; theta decodes the mixed, the
    masked, and the labeled and unlabeled whole ones."""
    built = method(statistics="every-pass").train()
    built.step(batch(), clock(), Collected())
    counts = {name: int(value) for name, value in built.network.named_buffers() if "tracked" in name}
    assert counts["net.levels.0.units.0.norm.num_batches_tracked"] == 8
    assert counts["net.decoder.up.0.norm.num_batches_tracked"] == 4


BOTH = {"teachers": "t1+t2"}


@pytest.mark.slow
def test_one_teacher_or_both() -> None:
    """Eq. 10 by hand from the parts that `teach` returns. The default is teacher 1, "t1" has no share of teacher 2, and the
    ramp starts near there."""
    torch.manual_seed(0)
    images, parts = torch.randn(2, 1, 32, 32), {}
    weights = method().state_dict()
    for name, options, progress in (
        ("t1", {"teachers": "t1"}, 0.5), ("t2", {"teachers": "t2"}, 0.5), ("both", BOTH, 0.0),
        ("start", {**BOTH, "teacher_ramp": 1.0}, 0.0), ("end", {**BOTH, "teacher_ramp": 0.5}, 0.5), ("default", {}, 0.5),
    ):  # fmt: skip
        built = method(**options).train()
        built.load_state_dict(weights)
        torch.manual_seed(1)
        parts[name] = built.teach(images, progress)[0]
    one, two = parts["t1"], parts["t2"]
    assert torch.equal(parts["default"], one)
    first, second = (torch.exp((p * p.log2()).sum(1, keepdim=True)) for p in (one, two))
    assert torch.allclose(parts["both"], (first * one + second * two) / (first + second), atol=1e-5)
    assert torch.allclose(parts["end"], parts["both"], atol=1e-6)
    small = math.exp(-5.0)
    assert torch.allclose(parts["start"], (first * one + small * second * two) / (first + small * second), atol=1e-5)
