"""StyleMatch against the numbers of its description and a naive version."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import case_of, clock
from torch import Tensor, nn
from torch.nn import functional as F

from semibench.blocks import adain, mix_amplitude
from semibench_plugins.methods.generalisation.stylematch import StochasticClassifier, StyleMatch, partners


def test_spread_at_the_start() -> None:
    """softplus(-4) = .018150 is the deviation of every weight; with spread -> -inf the draws are mu."""
    torch.manual_seed(0)
    classifier = StochasticClassifier(4000, 2, 0.05)
    assert classifier.mean.std().item() == pytest.approx(0.01, rel=0.05)
    assert F.softplus(classifier.spread - 4.0).unique().item() == pytest.approx(0.018150, abs=1e-6)
    features = torch.randn(1, 4000, 3, 3)
    with torch.no_grad():
        assert not torch.equal(classifier(features, drawn=True), classifier(features, drawn=True))
        classifier.spread.fill_(-200.0)
        assert torch.equal(classifier(features, drawn=True), classifier(features, drawn=False))


def test_logits_are_cosines_over_the_temperature() -> None:
    classifier = StochasticClassifier(3, 2, 0.05)
    with torch.no_grad():
        classifier.mean.copy_(torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, -2.0]]))
        features = torch.tensor([[5.0, 0.0, 0.0], [1.0, 0.0, 1.0]]).T.reshape(1, 3, 2, 1)
        logits = classifier(features, drawn=False)
    torch.testing.assert_close(logits[0, :, 0, 0], torch.tensor([20.0, 0.0]))
    torch.testing.assert_close(logits[0, :, 1, 0], 20 / math.sqrt(2) * torch.tensor([1.0, -1.0]))
    assert classifier(torch.randn(2, 3, 8, 8), drawn=True).abs().max() <= 20.0 + 1e-4


def test_partners_are_of_one_other_domain_in_order() -> None:
    domain = torch.tensor([0, 1, 2, 0, 1, 2])
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        chosen = partners(domain)
        assert (domain[chosen] != domain).all()
        assert torch.equal(chosen[:3] + 3, chosen[3:]), "first with first, second with second"
        seen.add(tuple(domain[chosen[:3]].tolist()))
    assert len(seen) == 8, "two others for each of three domains"
    assert (domain[:5][partners(domain[:5])] != domain[:5]).all(), "a domain with fewer samples is used again"
    assert partners(torch.zeros(4, dtype=torch.int64)).tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize("options", [{}, {"style": "amplitude", "share": 0.3}])
def test_views_in_another_style(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    images, domain = torch.rand(4, 1, 16, 16), torch.tensor([0, 1, 0, 1])
    images[1::2] = 3 * images[1::2] - 7
    valid = torch.ones(4, 16, 16, dtype=torch.bool)
    method = case_of(StyleMatch, options=options).build()
    views, swapped = method.styled(images, domain, valid), images[[1, 0, 3, 2]]
    if options:
        raised, other = (part - part.amin((1, 2, 3), keepdim=True) for part in (images, swapped))
        expected = mix_amplitude(raised, other, 0.3) + images.amin((1, 2, 3), keepdim=True)
    else:
        expected = adain(images, swapped, 0.5)
        torch.testing.assert_close(views.mean((1, 2, 3)), (images + swapped).mean((1, 2, 3)) / 2)
    torch.testing.assert_close(views, expected)
    valid[0, :8] = False
    assert torch.equal(method.styled(images, domain, valid)[0, :, :8], images[0, :, :8])


class Identity(nn.Module):
    """The image as features."""

    def forward(self, images: Tensor) -> Tensor:
        return images


def test_losses_against_loops() -> None:
    case = case_of(StyleMatch, channels=3, options={"features": 3, "threshold": 0.9, "loss": "cross_entropy"})
    method, batch = case.build(), case.data().batch(0)
    method.net = Identity()
    with torch.no_grad():
        method.classifier.mean.copy_(torch.tensor([[0.2, 1.0, 0.3], [1.0, 0.1, 0.5]]))
        method.classifier.spread.fill_(-200.0)
    labeled, unlabeled = batch["labeled"], batch["unlabeled"]
    image = torch.cat([labeled.image, unlabeled.image])
    valid = torch.cat([labeled.valid, unlabeled.valid])
    domain = torch.cat([labeled.domain, unlabeled.domain])
    styled = method.styled(image, domain, valid)
    method.styled = lambda *given: styled  # type: ignore[method-assign]
    losses = method.losses(batch, clock())

    def log_p(images: Tensor) -> Tensor:
        weight = method.classifier.mean.detach()
        cosine = torch.einsum("bchw,kc->bkhw", images, weight) / images.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return (cosine / weight.norm(dim=1).view(1, 2, 1, 1) / 0.05).log_softmax(1)

    p = log_p(image).exp()
    strong = log_p(torch.cat([labeled.strong[0], unlabeled.strong[0]]))
    for name, view in (("strong", strong), ("styled", log_p(styled))):
        total, kept = 0.0, 0
        for i, y, x in valid.nonzero().tolist():
            best = int(p[i, :, y, x].argmax())
            if p[i, best, y, x] >= 0.9:
                total, kept = total - float(view[i, best, y, x]), kept + 1
        assert 0 < kept < int(valid.sum())
        assert losses[name].item() == pytest.approx(total / int(valid.sum()), rel=1e-4)
    assert method.notes["kept"].item() == pytest.approx(kept / valid.numel())
    counted = labeled.target != 255
    ce = -log_p(labeled.image).gather(1, labeled.target.clamp(max=1).unsqueeze(1)).squeeze(1)
    assert losses["sup"].item() == pytest.approx(float(ce[counted].mean()), rel=1e-4)


def test_domains_apart_are_put_back_in_order() -> None:
    """Batch norm of each domain sees that domain alone."""
    case = case_of(StyleMatch, options={"passes": "apart"}, backbone_options={"width": 0.125, "dropout": (0.0,) * 5})
    method = case.build().train()
    images, domain = torch.rand(6, 1, 32, 32), torch.tensor([2, 0, 1, 1, 2, 0])
    with torch.no_grad():
        apart = method.features(images, domain)
        for one in range(3):
            torch.testing.assert_close(apart[domain == one], method.net(images[domain == one]))
        assert not torch.allclose(apart, method.net(images))


def test_domains_apart_pass_labeled_images_a_second_time() -> None:
    """The code learns labels from a pass of labeled images alone, and predicts labels without gradient."""
    options = {"passes": "apart", "loss": "cross_entropy"}
    case = case_of(StyleMatch, options=options, backbone_options={"width": 0.125, "dropout": (0.0,) * 5})
    method, batch = case.build().train(), case.data().batch(0)
    with torch.no_grad():
        method.classifier.spread.fill_(-200.0)
    labeled = batch["labeled"]
    found = method.losses(batch, clock())["sup"]
    rows = [(labeled.domain == one).nonzero()[:, 0] for one in labeled.domain.unique()]
    other = case.build().train()
    with torch.no_grad():
        other.classifier.spread.fill_(-200.0)
    passed = torch.cat([other.net(labeled.image[own]) for own in rows])[torch.cat(rows).argsort()]
    logits = other.classifier(passed, drawn=False)
    expected = F.cross_entropy(logits, labeled.target, ignore_index=255)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, method_of(case, "together").losses(batch, clock())["sup"])


def method_of(case: Any, passes: str) -> StyleMatch:
    """The same method with another option, and classifier weights that aren't random."""
    method = case.variant(options={"passes": passes, "loss": "cross_entropy"}).build().train()
    with torch.no_grad():
        method.classifier.spread.fill_(-200.0)
    return method


def test_a_single_domain_apart_has_two_passes() -> None:
    case = case_of(StyleMatch, options={"passes": "apart"}, backbone_options={"width": 0.125, "dropout": (0.0,) * 5})
    method, images = case.build().train(), torch.rand(4, 1, 32, 32)
    with torch.no_grad():
        halves = method.features(images, torch.zeros(4, dtype=torch.int64))
        torch.testing.assert_close(halves, torch.cat([method.net(images[:2]), method.net(images[2:])]))


def test_the_classifier_has_a_rate_of_its_own() -> None:
    case = case_of(StyleMatch)
    batch = case.data().batch(0)
    assert [len(part.image) for part in batch.values()] == [3, 3] and batch["unlabeled"].domain.tolist() == [0, 1, 2]
    optimisers = case.build().optimisers()
    assert optimisers["classifier"].lr_factor == pytest.approx(0.01 / 0.003) and optimisers["net"].lr_factor == 1.0
