"""SAML against the numbers of its sheet."""

from __future__ import annotations

import math

import pytest
import torch
from support.methods_support import Collected, case_of, clock, samples
from torch import Tensor

from semibench import IGNORE
from semibench.blocks import soft_dice
from semibench_plugins.methods.generalisation.saml import (
    SAML,
    compactness,
    contour_embeddings,
    rings,
    triplet_semi_hard,
)


def disc(radius: float, side: int = 96, dims: int = 2) -> Tensor:
    axes = torch.meshgrid(*[torch.arange(side) - (side - 1) / 2] * dims, indexing="ij")
    return ((radius - sum(axis**2 for axis in axes).sqrt()) / 2).sigmoid()[None]  # type: ignore[union-attr]


def test_compactness_of_disc_ball_and_square() -> None:
    assert compactness(disc(32.0)).item() == pytest.approx(1.0, abs=0.02)
    variance, r = math.pi**2 / 3 * 4, 18.0  # of the logistic edge; the mean of r^2 and r^3 over it
    expected = (r**2 + variance) ** 3 / (r**3 + 3 * r * variance) ** 2
    assert compactness(disc(r, 56, 3)).item() == pytest.approx(expected, rel=0.03)
    square = torch.zeros(1, 200, 200)
    square[:, 20:180, 20:180] = 1
    assert compactness(square).item() == pytest.approx(16 / (4 * math.pi), abs=0.02)
    bar = torch.zeros(1, 200, 200)
    bar[:, 90:100, 20:180] = 1
    assert compactness(bar).item() > 4.0
    both = torch.cat([disc(32.0), disc(20.0)])
    torch.testing.assert_close(compactness(both), (compactness(both[:1]) + compactness(both[1:])) / 2)


def test_compactness_of_nothing_is_zero_and_smooth() -> None:
    p = torch.zeros(1, 16, 16, requires_grad=True)
    value = compactness(p)
    (gradient,) = torch.autograd.grad(value, p)
    assert value.item() == pytest.approx(0.0, abs=1e-12) and gradient.isfinite().all()
    flat = torch.full((2, 16, 16), 0.5)
    assert compactness(flat).item() == pytest.approx(0.0, abs=1e-9)


def test_rings() -> None:
    label = torch.zeros(1, 9, 9, dtype=torch.int64)
    label[0, 3:6, 3:6] = 2
    contour, around = rings(label)
    assert contour.sum() == 8 and contour[0, 4, 4] == 0
    assert around.sum() == 49 - 9 and around[0, 1, 1] == 1 and around[0, 0, 4] == 0
    label[0, :, 5:] = IGNORE
    contour, around = rings(label)
    assert contour[..., 5:].sum() == 0 and around[..., 5:].sum() == 0
    cube = torch.zeros(1, 8, 8, 8, dtype=torch.int64)
    cube[0, 3:6, 3:6, 3:6] = 1
    assert rings(cube)[0].sum() == 26


def test_contour_embeddings_are_means() -> None:
    label = torch.zeros(3, 9, 9, dtype=torch.int64)
    label[0, 3:6, 3:6], label[1, 2:5, 2:5] = 1, 1
    features = torch.randn(3, 4, 9, 9)
    embeddings, kinds = contour_embeddings(features, label)
    assert embeddings.shape == (4, 4) and kinds.tolist() == [1, 1, 0, 0], "the sample without object is left out"
    contour, around = rings(label)
    torch.testing.assert_close(embeddings[0], features[0][:, contour[0].bool()].mean(1))
    torch.testing.assert_close(embeddings[3], features[1][:, around[1].bool()].mean(1))
    coarse, _ = contour_embeddings(torch.ones(3, 4, 4, 4), label)
    torch.testing.assert_close(coarse, torch.ones(4, 4))
    assert contour_embeddings(features[2:], label[2:])[0].shape == (0, 4)


def naive_triplet(e: list[list[float]], kinds: list[int], margin: float) -> float:
    def d(i: int, j: int) -> float:
        return sum((a - b) ** 2 for a, b in zip(e[i], e[j], strict=True))

    losses = []
    for a in range(len(e)):
        for p in range(len(e)):
            if a == p or kinds[a] != kinds[p]:
                continue
            others = [d(a, n) for n in range(len(e)) if kinds[n] != kinds[a]]
            beyond = [x for x in others if x > d(a, p)]
            losses.append(max(0.0, margin + d(a, p) - (min(beyond) if beyond else max(others))))
    return sum(losses) / len(losses)


def test_triplet_against_loops() -> None:
    torch.manual_seed(0)
    for scale in (0.3, 1.0, 3.0):
        e, kinds = scale * torch.randn(9, 5), torch.randint(0, 2, (9,))
        assert triplet_semi_hard(e, kinds).item() == pytest.approx(
            naive_triplet(e.tolist(), kinds.tolist(), 10.0), rel=1e-5
        )
    assert triplet_semi_hard(torch.randn(3, 5), torch.ones(3)).item() == 0.0
    assert triplet_semi_hard(torch.zeros(0, 5), torch.zeros(0)).item() == 0.0


def test_inner_rate_zero_gives_the_plain_loss() -> None:
    case = case_of(SAML, backbone_options={"width": 0.25, "dropout": (0.0,) * 5})
    batch = case.data().batch(0)
    torch.manual_seed(3)
    order = torch.randperm(3)
    results = []
    for rate in (0.0, 10.0):
        method = case.variant(options={"inner_rate": rate}).build()
        seen = Collected()
        torch.manual_seed(3)
        method.step(batch, clock(), seen)
        results.append(seen.losses["outer"].item())
    labeled = batch["labeled"]
    method = case.build().train()
    test = labeled.domain == order[-1]
    logits = method.net(labeled.image)[0]
    assert results[0] == pytest.approx(soft_dice(logits[test], labeled.target[test]).item(), abs=1e-6)
    assert abs(results[1] - results[0]) > 1e-4
    assert [on for _, on in seen.calls] == [("inner",), ("outer", "metric")]


def test_inner_loss_is_the_mean_over_two_domains() -> None:
    case = case_of(SAML, domains=4, backbone_options={"width": 0.25, "dropout": (0.0,) * 5})
    method, seen, batch = case.build(), Collected(), case.data().batch(0)
    torch.manual_seed(1)
    first, second = torch.randperm(4)[:2]
    torch.manual_seed(1)
    method.step(batch, clock(), seen)
    labeled = batch["labeled"]
    used = (labeled.domain == first) | (labeled.domain == second)
    logits = case.build().train().net(labeled.image[used])[0]
    parts = [soft_dice(logits[labeled.domain[used] == d], labeled.target[labeled.domain == d]) for d in (first, second)]
    assert seen.losses["inner"].item() == pytest.approx((sum(parts) / 2).item(), abs=1e-6)


def test_outer_gradient_reaches_the_weights_as_the_identity() -> None:
    case = case_of(SAML, backbone_options={"width": 0.25, "dropout": (0.0,) * 5})
    method, seen = case.build(), Collected()
    method.step(case.data().batch(0), clock(), seen)
    gradients = torch.autograd.grad(seen.losses["outer"], list(method.net.parameters()), retain_graph=True)
    assert all(g.isfinite().all() for g in gradients) and sum(float(g.abs().sum()) for g in gradients) > 0
    smooth = torch.autograd.grad(seen.losses["smooth"], list(method.metric.parameters()))
    assert any(g.abs().max() > 0 for g in smooth)


def test_saml_says_what_it_needs() -> None:
    few = case_of(SAML, domains=2)
    assert "three training domains" in str(SAML.unsupported(few.task, SAML.Options()))
    task = case_of(SAML).task
    assert SAML.unsupported(task, SAML.Options()) is None
    assert "shape_groups" in str(SAML.unsupported(task, SAML.Options(shape_groups=((2,),))))
    assert "shape_groups" in str(SAML.unsupported(task, SAML.Options(shape_groups=((),))))
    wide = case_of(SAML, classes=4, options={"shape_groups": ((1, 2), (3,))})
    assert wide.build().groups == ((1, 2), (3,))


def test_saml_takes_padded_samples() -> None:
    case = case_of(SAML)
    batch = case.data().batch(0)["labeled"]
    label = batch.target.clone()
    label[..., 16:] = IGNORE
    seen = Collected()
    case.build().step({"labeled": samples(batch.image, label, batch.domain)}, clock(), seen)
    assert all(value.isfinite() for value in seen.losses.values())
