"""FixMatch in both variants against the numbers of its sheet and the laws of its terms; Dice with ignored pixels, colour."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import case_of, clock, samples
from torch import Tensor, nn

from semibench import IGNORE
from semibench.blocks import colour_jitter, dice_between, dice_ce, evaluating, soft_dice
from semibench.run.settings import term_records
from semibench.tuning.space import build_space
from semibench_plugins.methods.pseudo_labels.fixmatch import FixMatch, concentration, surviving_labels

torch.set_num_threads(1)


class Echo(nn.Module):
    """Two logits at each position: (scale x, -scale x) of the first channel."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * torch.cat([images[:, :1], -images[:, :1]], 1)


def method(net: nn.Module | None = None, **options: Any) -> FixMatch:
    built = case_of(FixMatch, options=options).build().train()
    assert isinstance(built, FixMatch)
    if net is not None:
        built.net = net  # type: ignore[assignment]
    return built


def batch(weak: Tensor, strong: Tensor) -> dict[str, Any]:
    labeled = samples(torch.zeros(1, 1, *weak.shape[2:]), torch.zeros((1, *weak.shape[2:]), dtype=torch.int64))
    unlabeled = samples(weak)
    unlabeled.strong = (strong,)
    return {"labeled": labeled, "unlabeled": unlabeled}


def logit(p: float) -> float:
    """x for which Echo(1) gives the first class the probability p."""
    return 0.5 * math.log(p / (1 - p))


# Dice that leaves pixels out


def test_dice_between_is_dice_a_for_one_hot_targets() -> None:
    p = torch.tensor([[0.8, 0.6], [0.3, 0.1]])
    z, y = torch.stack([(1 - p).log(), p.log()])[None], torch.tensor([[[1, 1], [0, 0]]])
    hot, every = torch.stack([1 - y, y], 1).float(), torch.ones(1, 2, 2, dtype=torch.bool)
    assert dice_between(z, hot, every).item() == pytest.approx(0.091244, abs=2e-6)
    left = every.clone()
    left[0, 1] = False
    ignored = y.masked_fill(~left, IGNORE)
    assert dice_between(z, hot, left).item() == pytest.approx(soft_dice(z, ignored).item())


def test_dice_between_of_a_softmax_with_itself_is_zero_and_of_nothing_too() -> None:
    torch.manual_seed(0)
    z = torch.randn(2, 3, 4, 4, requires_grad=True)
    mask = torch.rand(2, 4, 4) > 0.5
    assert dice_between(z, z.detach().softmax(1), mask).item() == pytest.approx(0.0, abs=1e-6)
    nothing = dice_between(z, z.detach().softmax(1), torch.zeros_like(mask))
    assert nothing.item() == 0.0
    (gradient,) = torch.autograd.grad(nothing, z)
    assert not gradient.any()


# Variant S


def test_unreachable_threshold_gives_no_loss_and_no_gradient() -> None:
    case = case_of(FixMatch, options={"threshold": 1.01})
    model = case.build().train()
    loss = model.losses(case.data().batch(0), clock())["pixel"]
    assert loss.item() == 0.0
    assert all(g is None or not g.any() for g in torch.autograd.grad(loss, list(model.parameters()), allow_unused=True))


def test_sure_network_agrees_with_itself() -> None:
    x = torch.where(torch.rand(3, 1, 8, 8) > 0.5, 1.0, -1.0)
    losses = method(Echo(20.0), cutmix=1.0).losses(batch(x, x), clock())
    assert losses["pixel"].item() == pytest.approx(0.0, abs=1e-6) and losses["complementary"].item() == 0.0


def test_only_confident_positions_count_and_labels_are_hard() -> None:
    weak = torch.tensor([[logit(0.97), logit(0.03)], [logit(0.9), logit(0.2)]])[None, None]
    strong = torch.tensor([[logit(0.6), logit(0.3)], [logit(0.5), logit(0.5)]])[None, None]
    model = method(Echo(), cutmix=0.0)
    found = model.losses(batch(weak, strong), clock())["pixel"].item()
    first = 1 - (2 * 0.6 + 1e-5) / (0.6**2 + 0.3**2 + 1 + 1e-5)
    second = 1 - (2 * 0.7 + 1e-5) / (0.4**2 + 0.7**2 + 1 + 1e-5)
    assert found == pytest.approx((first + second) / 2, abs=1e-6)
    assert model.notes["kept"].item() == 0.5
    soft = method(Echo(), cutmix=0.0, targets="soft").losses(batch(weak, strong), clock())["pixel"].item()
    size = 0.97**2 + 0.03**2
    first = 1 - (2 * (0.6 * 0.97 + 0.3 * 0.03) + 1e-5) / (0.6**2 + 0.3**2 + size + 1e-5)
    second = 1 - (2 * (0.4 * 0.03 + 0.7 * 0.97) + 1e-5) / (0.4**2 + 0.7**2 + size + 1e-5)
    assert soft == pytest.approx((first + second) / 2, abs=1e-6)


@pytest.mark.parametrize("partner", ["eval", "train"])
def test_image_and_label_are_cut_with_the_same_box(partner: str) -> None:
    """Images of one sign each: wherever the box lies, a strong view equal to the weak one must agree with its label."""
    x = torch.cat([torch.full((1, 1, 16, 16), 1.0), torch.full((1, 1, 16, 16), -1.0)])
    model = method(Echo(20.0), cutmix=1.0, partner=partner)
    seen: list[Tensor] = []
    model.net.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    for seed in range(5):
        torch.manual_seed(seed)
        assert model.losses(batch(x, x), clock())["pixel"].item() == pytest.approx(0.0, abs=1e-6)
        mixed = seen[-1]
        share = (mixed[0] != 1.0).float().mean().item()
        assert 0.0 < share <= 0.4 and not torch.equal(mixed[0], mixed[1])
    model.net.scale.data.fill_(20.0)  # type: ignore[union-attr, operator]
    torch.manual_seed(0)
    assert model.losses(batch(x, -x), clock())["pixel"].item() > 0.9


def test_partners_are_labeled_in_eval_mode() -> None:
    case = case_of(FixMatch, options={"cutmix": 1.0})
    model, given = case.build().train(), case.data().batch(0)
    modes: list[bool] = []
    model.net.register_forward_pre_hook(lambda module, _given: modes.append(module.training))  # type: ignore[union-attr, arg-type]
    model.losses(given, clock())
    assert modes == [True, False, True] and all(part.training for part in model.modules())
    before = {name: value.clone() for name, value in model.named_buffers()}
    with evaluating(model):
        assert not torch.is_grad_enabled() and not any(part.training for part in model.modules())
        model(given["unlabeled"].image)
    assert torch.is_grad_enabled() and all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_supervised_part_and_weights() -> None:
    case = case_of(FixMatch, options={"cutmix": 0.0})
    model, given = case.build().eval(), case.data().batch(0)
    sup = model.losses(given, clock())["sup"].item()
    assert sup == pytest.approx(dice_ce(model(given["labeled"].image), given["labeled"].target).item(), rel=1e-5)
    assert [model.weight(name, clock()) for name in ("sup", "pixel")] == [0.5, 0.5]


# Variant A


def test_surviving_labels_of_the_sheet() -> None:
    rows = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.1, 0.6, 0.1, 0.2], [0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.1, 0.6]])
    assert surviving_labels(rows.T.reshape(1, 4, 4, 1), 0.8).flatten().tolist() == [0, 1, 0, 3]
    two = torch.tensor([0.8333, 0.8334, 0.1])
    found = surviving_labels(torch.stack([1 - two, two])[None], 0.8).flatten().tolist()
    assert found == [0, 1, 0], "two classes: the greater one needs .8334"


def test_concentration_of_even_and_pointed_maps() -> None:
    valid = torch.ones(1, 4, 4, dtype=torch.bool)
    assert concentration(torch.full((1, 2, 4, 4), 0.5), valid).item() == pytest.approx(0.0, abs=1e-6)
    point = torch.zeros(1, 2, 4, 4)
    point[0, :, 1, 2] = 1.0
    assert concentration(point, valid).item() == pytest.approx(1.0, abs=1e-6)
    half = torch.zeros(1, 1, 4, 4)
    half[..., :2] = 0.3
    assert concentration(half, valid).item() == pytest.approx(1 - math.log(8) / math.log(16), abs=1e-6)


def test_variant_a_against_a_naive_version() -> None:
    case = case_of(FixMatch, classes=3, options={"variant": "a", "survival": 0.3})
    model, given = case.build().eval(), case.data().batch(0)
    labeled, unlabeled = given["labeled"], given["unlabeled"]
    torch.manual_seed(3)
    losses = model.losses(given, clock())
    seen: list[Tensor] = []
    model.net.register_forward_hook(lambda _m, _given, out: seen.append(out.detach()))  # type: ignore[union-attr]
    torch.manual_seed(3)
    model.losses(given, clock())
    weak, strong = seen
    count = len(labeled.image)
    assert losses["sup"].item() == pytest.approx(2 * dice_ce(weak[:count], labeled.target).item(), rel=1e-5)
    pseudo = surviving_labels(weak[count:].softmax(1), 0.3).masked_fill(~unlabeled.valid, IGNORE)
    assert losses["pixel"].item() == pytest.approx(2 * dice_ce(strong[count:], pseudo).item(), rel=1e-5)
    valid = torch.cat([labeled.valid, unlabeled.valid])
    p, least = strong.softmax(1), weak.softmax(1).argmin(1)
    shares = [
        (p[b, c] * valid[b] / (p[b, c] * valid[b]).sum()).flatten() for b in range(len(p)) for c in range(p.shape[1])
    ]
    entropies = [-(s[s > 0] * s[s > 0].log()).sum() / math.log(s.numel()) for s in shares]
    a = 1 - torch.stack(entropies).mean()
    each = nn.functional.cross_entropy(1 - p, least, reduction="none")[valid].mean()
    assert losses["complementary"].item() == pytest.approx((a * a * each).item(), rel=1e-3)


def test_variant_a_forwards_strong_views_of_all_images_and_has_its_weights() -> None:
    case = case_of(FixMatch, options={"variant": "a"})
    model, given = case.build().train(), case.data().batch(0)
    sizes: list[int] = []
    model.net.register_forward_pre_hook(lambda _module, seen: sizes.append(len(seen[0])))  # type: ignore[union-attr]
    model.losses(given, clock())
    count = 2 * len(given["labeled"].image)
    assert sizes == [count, count]
    records = term_records(FixMatch.terms, FixMatch.presets["ssl4mis"]["terms"])
    assert (records["sup"]["weight"], records["pixel"]["weight"], records["complementary"]["weight"]) == (1.0, 0.1, 0.1)
    assert records["pixel"]["ramp"] == records["complementary"]["ramp"] | {"kind": "sigmoid"}


def test_complementary_counts_and_is_searched_in_variant_a_alone() -> None:
    searched = {}
    for preset in ("isic2018", "ssl4mis"):
        layer = FixMatch.presets[preset]
        records = term_records(FixMatch.terms, layer.get("terms", {}))
        weights = {name: record["weight"] for name, record in records.items()}
        searched[preset] = {one.name: one.default for one in build_space(FixMatch.terms, weights, FixMatch.Options())}
    assert searched == {"isic2018": {"pixel": 0.5}, "ssl4mis": {"pixel": 0.1, "complementary": 0.1}}
    assert FixMatch.terms["complementary"].weight == 0.0


# Colour


def test_colour_jitter_leaves_grey_alone_and_keeps_the_range() -> None:
    torch.manual_seed(0)
    grey = torch.rand(4, 1, 8, 8).expand(-1, 3, -1, -1).contiguous() * 5 - 2
    torch.testing.assert_close(colour_jitter(grey, saturation=0.5, hue=0.25, probability=1.0), grey)
    image = torch.rand(16, 3, 8, 8)
    changed = colour_jitter(image, saturation=0.5, hue=0.25, probability=1.0)
    assert changed.min() >= image.min() and changed.max() <= image.max()
    assert ((changed - image).abs().flatten(1).amax(1) > 1e-3).all()
    assert colour_jitter(image, saturation=0.0, hue=0.0) is image
    never = colour_jitter(image, saturation=0.5, hue=0.5, probability=0.0)
    torch.testing.assert_close(never, image)
    with pytest.raises(ValueError, match="three channels"):
        colour_jitter(image[:, :1], saturation=0.5, hue=0.0)


def test_hue_keeps_the_mean_and_saturation_the_grey_value() -> None:
    torch.manual_seed(1)
    image = 0.4 + 0.2 * torch.rand(8, 3, 6, 6)
    image[:, :, 0, 0], image[:, :, 0, 1] = 0.0, 1.0
    hue = colour_jitter(image, saturation=0.0, hue=0.1, probability=1.0)[..., 1:, :]
    torch.testing.assert_close(hue.mean(1), image[..., 1:, :].mean(1))
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    saturated = colour_jitter(image, saturation=0.5, hue=0.0, probability=1.0)[..., 1:, :]
    torch.testing.assert_close((saturated * luma).sum(1), (image[..., 1:, :] * luma).sum(1))
