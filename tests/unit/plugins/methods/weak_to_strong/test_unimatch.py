"""UniMatch against worked numbers and the laws of its streams; cross-entropy of confident positions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import case_of, clock, quiet, samples
from torch import Tensor

from semibench.blocks import confident_cross_entropy, cross_entropy, dice_between
from semibench_plugins.methods.weak_to_strong.unimatch import UniMatch


class Echo(torch.nn.Module):
    """A network without encoder: two logits (s x, -s x) from the first channel."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))
        self.seen: list[Tensor] = []

    def encode(self, images: Tensor) -> list[Tensor]:
        return [images, images]

    def decode(self, features: list[Tensor], size: Any) -> Tensor:
        return self.scale * torch.cat([features[0][:, :1], -features[0][:, :1]], 1)

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return self.decode(self.encode(images), None)


def method(scale: float = 1.0, **options: Any) -> UniMatch:
    built = case_of(UniMatch, options={"loss": "cross_entropy", **options}).build().train()
    assert isinstance(built, UniMatch)
    built.net = Echo(scale)  # type: ignore[assignment]
    return built


def batch(weak: Tensor, *strong: Tensor) -> dict[str, Any]:
    unlabeled = samples(weak)
    unlabeled.strong = strong
    label = torch.zeros((1, *weak.shape[2:]), dtype=torch.int64)
    return {"labeled": samples(torch.zeros(1, 1, *weak.shape[2:]), label), "unlabeled": unlabeled}


def logit(p: float) -> float:
    return 0.5 * math.log(p / (1 - p))


def test_confident_cross_entropy_divides_by_all_valid_positions() -> None:
    p = torch.tensor([0.2, 0.4, 0.6, 0.9])
    logits, label = torch.stack([1 - p, p])[None].log(), torch.tensor([[1, 1, 0, 1]])
    confident = torch.tensor([[True, False, True, True]])
    each = [-math.log(0.2), -math.log(0.4), -math.log(0.4), -math.log(0.9)]
    assert confident_cross_entropy(logits, label, confident).item() == pytest.approx((each[0] + each[2] + each[3]) / 4)
    valid = torch.tensor([[True, True, True, False]])
    assert confident_cross_entropy(logits, label, confident, valid=valid).item() == pytest.approx(
        (each[0] + each[2]) / 3
    )
    every = torch.ones_like(confident)
    torch.testing.assert_close(confident_cross_entropy(logits, label, every), cross_entropy(logits, label))
    assert confident_cross_entropy(logits, label, ~every, valid=~every).item() == 0.0


def test_only_confident_positions_count_in_all_streams() -> None:
    weak = torch.tensor([[logit(0.97), logit(0.03)], [logit(0.9), logit(0.2)]])[None, None]
    first, second = torch.full_like(weak, logit(0.6)), torch.full_like(weak, logit(0.3))
    model = method(cutmix=0.0)
    model.drop.p = 0.0
    losses = model.losses(batch(weak, first, second), clock())
    one = -(math.log(0.6) + math.log(0.4)) / 4
    two = -(math.log(0.3) + math.log(0.7)) / 4
    assert losses["strong"].item() == pytest.approx((one + two) / 2, abs=1e-6)
    assert losses["feature"].item() == pytest.approx(-2 * math.log(0.97) / 4, abs=1e-6)
    assert losses["sup"].item() == pytest.approx(math.log(2))
    weights = {name: model.weight(name, clock()) for name in losses}
    assert weights == {"sup": 0.5, "strong": 0.25, "feature": 0.25}


def test_nothing_is_confident_above_one() -> None:
    case = case_of(UniMatch, options={"threshold": 1.01})
    losses = case.build().train().losses(case.data().batch(0), clock())
    assert losses["strong"].item() == losses["feature"].item() == 0.0 < losses["sup"].item()


def test_image_and_label_are_cut_with_one_box_and_views_with_different_ones() -> None:
    x = torch.cat([torch.full((1, 1, 16, 16), 1.0), torch.full((1, 1, 16, 16), -1.0)])
    model = method(20.0, cutmix=1.0)
    torch.manual_seed(0)
    assert model.losses(batch(x, x, x), clock())["strong"].item() == pytest.approx(0.0, abs=1e-6)
    first, second = model.net.seen[-1].chunk(2)  # type: ignore[union-attr]
    assert not torch.equal(first, x) and not torch.equal(second, x) and not torch.equal(first, second)
    assert model.losses(batch(x, -x, -x), clock())["strong"].item() > 5.0


def test_labels_have_no_gradient_and_dropout_perturbs_the_maps_of_the_option() -> None:
    weak = torch.tensor([2.0, -2.0]).view(1, 1, 1, 2)
    model = method(cutmix=0.0)
    model.drop.p = 0.0
    strong = model.losses(batch(weak, 0 * weak, 0 * weak), clock())["strong"]
    assert torch.autograd.grad(strong, model.net.scale)[0].item() == 0.0
    features = [torch.ones(1, 64, 2, 2) for _ in range(4)]
    for perturb, changed in (("last", [False] * 3 + [True]), ("ends", [True, False, False, True]), ("all", [True] * 4)):
        found = method(perturb=perturb)._perturbed(features)
        assert [not torch.equal(one, maps) for one, maps in zip(found, features, strict=True)] == changed


def test_statistics_follow_weak_views_alone_unless_told_otherwise() -> None:
    means = {}
    for statistics in ("whole", "every-pass"):
        case = case_of(UniMatch, options={"statistics": statistics})
        model, given = quiet(case.build().train()), case.data().batch(0)
        expected = quiet(case.build().train())
        expected(torch.cat([given["labeled"].image, given["unlabeled"].image]))  # type: ignore[arg-type]
        model.losses(given, clock())
        pairs = zip(model.buffers(), expected.buffers(), strict=True)
        means[statistics] = all(torch.allclose(one.float(), other.float()) for one, other in pairs)
    assert means == {"whole": True, "every-pass": False}


@pytest.mark.parametrize(("statistics", "joint"), [("every-pass", True), ("whole", False)])
def test_the_code_normalises_clean_and_perturbed_features_together(statistics: str, joint: bool) -> None:
    """The decoder is a batch norm without statistics of its own, so that a pass depends on all that is in it."""
    features = [torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)]

    class Normed(Echo):
        def encode(self, images: Tensor) -> list[Tensor]:
            return features if len(images) == 3 else [torch.zeros(len(images), 2, 4, 4)] * 2

        def decode(self, features: list[Tensor], size: Any) -> Tensor:
            return torch.nn.functional.batch_norm(features[0] + features[1], None, None, training=True)

    model = method(statistics=statistics, cutmix=0.0, threshold=0.0, perturb="last")
    model.net = Normed(1.0)  # type: ignore[assignment]
    model.drop = torch.nn.Identity()  # type: ignore[assignment]
    model._perturbed = lambda maps: [2.0 * one for one in maps]  # type: ignore[method-assign]
    x = torch.zeros(2, 1, 4, 4)
    losses = model.losses(batch(x, x, x), clock())
    total = features[0] + features[1]
    both = torch.cat([total, 2.0 * total])
    if joint:
        mean, deviation = both.mean((0, 2, 3), keepdim=True), both.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5
        clean, changed = ((both - mean) / deviation.sqrt()).chunk(2)
        changed = changed[1:]
    else:
        clean, changed = (
            torch.nn.functional.batch_norm(one, None, None, training=True) for one in (total, 2.0 * total[1:])
        )
    label = batch(x)["labeled"].target
    torch.testing.assert_close(losses["sup"], cross_entropy(clean[:1], label))
    torch.testing.assert_close(losses["feature"], cross_entropy(changed, clean[1:].argmax(1)))


def test_medical_preset_has_the_dice_without_unconfident_positions() -> None:
    weak = torch.tensor([[logit(0.97), logit(0.03)], [logit(0.9), logit(0.2)]])[None, None]
    view = torch.full_like(weak, logit(0.6))
    model = method(cutmix=0.0, pseudo_loss="dice")
    hot = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]])[None]
    mask = torch.tensor([[[True, True], [False, False]]])
    expected = dice_between(torch.cat([view, -view], 1), hot, mask)
    torch.testing.assert_close(model.losses(batch(weak, view, view), clock())["strong"], expected)
