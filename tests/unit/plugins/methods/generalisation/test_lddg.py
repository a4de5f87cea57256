"""LDDG against the numbers of its description."""

from __future__ import annotations

import math

import pytest
import torch
from support.methods_support import case_of, clock, samples
from torch.nn import functional as F

from semibench import IGNORE
from semibench_plugins.methods.generalisation.lddg import LDDG, gaussian_kl, weighted_cross_entropy

SMALL = {"width": 8, "samples": 256}


def test_kl_of_worked_gaussians() -> None:
    """0 for N(0, 1), 1/2 for a mean of 1, (e - 2) / 2 for a variance of e; padding is left out."""
    zero, valid = torch.zeros(1, 3, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool)
    assert gaussian_kl(zero, zero, valid).item() == 0.0
    assert gaussian_kl(zero + 1, zero, valid).item() == pytest.approx(0.5)
    assert gaussian_kl(zero, zero + 1, valid).item() == pytest.approx((math.e - 2) / 2)
    valid[:, :2] = False
    mean = zero.clone()
    mean[:, :, :2] = 9.0
    assert gaussian_kl(mean, zero, valid).item() == 0.0


def test_two_classes_are_the_binary_cross_entropy_of_the_code() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 2, 8, 8), (torch.rand(2, 8, 8) < 0.2).long()
    z, y = logits[:, 1] - logits[:, 0], target.float()
    published = F.binary_cross_entropy_with_logits(z, y, pos_weight=2.0 / y.mean())
    assert weighted_cross_entropy(logits, target, 2.0).item() == pytest.approx(published.item(), rel=1e-5)
    empty = torch.zeros_like(target)
    without = F.binary_cross_entropy_with_logits(z, empty.float())
    assert weighted_cross_entropy(logits, empty, 2.0).item() == pytest.approx(without.item(), rel=1e-5)


def test_each_class_has_its_share_and_padding_none() -> None:
    """Shares 1/2, 3/8, 1/8 and equal logits: (1/2 + 2 + 2) ln 3."""
    target = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 2, IGNORE, IGNORE]])
    loss = weighted_cross_entropy(torch.zeros(1, 3, 10), target, 2.0)
    assert loss.item() == pytest.approx(4.5 * math.log(3), rel=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_inference_takes_the_mean_of_the_latents(dims: int) -> None:
    case = case_of(LDDG, dims, options=SMALL)
    method, batch = case.build(), case.data().batch(0)["labeled"]
    assert batch.domain.tolist() == [0, 1, 2], "the batch of 2 is divided, at least one sample of each domain"
    method.eval()
    with torch.no_grad():
        mean = method.encoder(method.net(batch.image))[0]
        assert torch.allclose(method(batch.image), method.head(mean), atol=1e-6)
        method.encoder.logvar[2].weight.zero_()
        method.encoder.logvar[2].bias.fill_(-200.0)
        losses = method.losses({"labeled": batch}, clock())
    expected = weighted_cross_entropy(method.head(mean), batch.target, 2.0)
    assert losses["sup"].item() == pytest.approx(expected.item(), rel=1e-4), "no variance, no noise"


def test_latents_are_drawn_once_about_their_mean() -> None:
    """The published code adds the mean twice; here mean and deviation of many draws are mu and s."""
    case = case_of(LDDG, options={**SMALL, "latent": 4})
    method = case.build()
    seen = []
    method.head.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    with torch.no_grad():
        for part, bias in ((method.encoder.mean, 2.0), (method.encoder.logvar, math.log(0.25))):
            part[2].weight.zero_()
            part[2].bias.fill_(bias)
        method.losses({"labeled": samples(torch.rand(4, 1, 32, 32), torch.zeros(4, 32, 32).long())}, clock())
    assert seen[0].mean().item() == pytest.approx(2.0, abs=0.02)
    assert seen[0].std().item() == pytest.approx(0.5, abs=0.02)


def test_lddg_says_what_it_needs() -> None:
    task = case_of(LDDG).task
    assert LDDG.unsupported(task, LDDG.Options()) is None
    assert "method.samples=18" in str(
        LDDG.unsupported(case_of(LDDG, classes=17).task, LDDG.Options(latent=20, samples=16))
    )
    assert "method.latent=3" in str(LDDG.unsupported(task, LDDG.Options(latent=2)))
    assert "two training domains" in str(LDDG.unsupported(case_of(LDDG, domains=1).task, LDDG.Options()))
