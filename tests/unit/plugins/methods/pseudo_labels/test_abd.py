"""ABD: which patches move where, against loops; the laws of its terms."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from support.methods_support import case_of, clock, reached, samples
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import IGNORE, Clock, Samples
from semibench.blocks import soft_dice
from semibench_plugins.methods.pseudo_labels.abd import ABD, Patches, View, agreement, displaced

torch.set_num_threads(1)


def cut(maps: Tensor, patch: int, grid: int) -> Tensor:
    height, width = maps.shape[-2] // grid, maps.shape[-1] // grid
    top, left = patch // grid * height, patch % grid * width
    return maps[..., top : top + height, left : left + width]


def naive_means(logits: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    count = grid * grid
    confidence = [[cut(z.softmax(0).amax(0), j, grid).mean() for j in range(count)] for z in logits]
    mean = [torch.stack([cut(z, j, grid).mean((1, 2)) for j in range(count)]) for z in logits]
    return torch.tensor(confidence), torch.stack(mean)


def abd(**options: object) -> ABD:
    built = case_of(ABD, options=options).build().train()
    assert isinstance(built, ABD)
    return built


@pytest.mark.parametrize(("size", "grid"), [((8, 12), 4), ((9, 7), 3)])
def test_patches_and_their_nearest_against_loops(size: tuple[int, int], grid: int) -> None:
    torch.manual_seed(0)
    logits, goal = torch.randn(3, 2, *size), torch.randn(3, 2)
    patches, (confidence, mean) = Patches.of(logits, grid), naive_means(logits, grid)
    torch.testing.assert_close(patches.confidence, confidence)
    torch.testing.assert_close(patches.logits, mean)
    for row, found in enumerate(patches.nearest(goal, 3).tolist()):
        best = confidence[row].sort(descending=True, stable=True).indices[:3].tolist()
        q = goal[row].softmax(0)
        kl = {j: float((q * (q / mean[row, j].softmax(0)).log()).sum()) for j in best}
        assert found == min(kl, key=lambda j: kl[j])


def test_a_displaced_image_differs_in_one_patch() -> None:
    below, above = torch.zeros(2, 3, 9, 9), torch.arange(2 * 3 * 81.0).view(2, 3, 9, 9) + 1
    to, of = torch.tensor([4, 0]), torch.tensor([15, 6])
    found = displaced(below, above, to, of, 4)
    for row in range(2):
        torch.testing.assert_close(cut(found[row], int(to[row]), 4), cut(above[row], int(of[row]), 4))
        assert int((found[row] != 0).sum()) == 3 * 2 * 2
    stays = displaced(below, above, to, of, 4, torch.tensor([True, False]))
    assert stays[0].any() and not stays[1].any() and not below.any()
    labels = displaced(below[:, 0], above[:, 0], to, of, 4)
    torch.testing.assert_close(labels, found[:, 0])


def test_unlabeled_views_get_the_confident_patch_nearest_to_the_one_replaced() -> None:
    torch.manual_seed(1)
    model = abd(top=3)
    one, two = torch.randn(2, 2, 8, 8), torch.randn(2, 2, 8, 8)
    views = View(torch.rand(2, 1, 8, 8), torch.ones(2, 8, 8)), View(torch.rand(2, 1, 8, 8), torch.ones(2, 8, 8))
    found = model.outward(views, one, two).image
    for first, (mine, other) in enumerate(((one, two), (two, one))):
        (conf, mean), (conf_other, mean_other) = naive_means(mine, 4), naive_means(other, 4)
        for row in range(2):
            low = int(conf[row].argmin())
            q = mean[row, low].softmax(0)
            best = conf_other[row].sort(descending=True).indices[:3].tolist()
            kl = {j: float((q * (q / mean_other[row, j].softmax(0)).log()).sum()) for j in best}
            source = min(kl, key=lambda j: kl[j])
            expected = views[first].image[row].clone()
            cut(expected, low, 4).copy_(cut(views[1 - first].image[row], source, 4))
            torch.testing.assert_close(found[2 * first + row], expected)


def test_labels_move_with_labeled_patches() -> None:
    torch.manual_seed(2)
    model = abd(inward=1.0)
    one, two = torch.randn(1, 2, 8, 8), torch.randn(1, 2, 8, 8)
    images = torch.arange(64.0).view(1, 1, 8, 8), torch.arange(64.0, 128.0).view(1, 1, 8, 8)
    found = model.inward((View(images[0], images[0][:, 0]), View(images[1], images[1][:, 0])), one, two)
    torch.testing.assert_close(found.image[:, 0], found.target)
    most, least = int(naive_means(one, 4)[0].argmax()), int(naive_means(two, 4)[0].argmin())
    torch.testing.assert_close(cut(found.image[0], most, 4), cut(images[1][0], least, 4))
    assert int((found.image[0] >= 64).sum()) == 4, "one patch of the other view"


def test_equal_views_and_networks_displace_within_the_image() -> None:
    model, z = abd(), torch.zeros(1, 2, 8, 8)
    view = View(torch.rand(1, 1, 8, 8), torch.ones(1, 8, 8))
    found = model.outward((view, view), z, z)
    torch.testing.assert_close(found.image[0], found.image[1])
    assert set(found.image.flatten().tolist()) <= set(view.image.flatten().tolist())
    changed = (found.image[0] != view.image[0])[0]
    cut(changed, 0, 4).fill_(False)
    assert not changed.any(), "of equally confident patches the first one is replaced"


def test_agreement_is_0_for_the_same_certain_labels_and_has_no_gradient_through_targets() -> None:
    sign = torch.where(torch.rand(2, 1, 4, 4) > 0.5, 30.0, -30.0)
    z = torch.cat([sign, -sign], 1)
    valid = torch.ones(2, 4, 4, dtype=torch.bool)
    assert agreement(z, z, valid).item() == pytest.approx(0.0, abs=1e-6)
    one, two = torch.randn(2, 2, 4, 4), torch.randn(2, 2, 4, 4, requires_grad=True)
    (found,) = torch.autograd.grad(agreement(one, two, valid), two)
    (expected,) = torch.autograd.grad(soft_dice(two, one.argmax(1)), two)
    torch.testing.assert_close(found, expected)


def test_the_second_network_of_the_published_code() -> None:
    model = case_of(ABD, options={"second": "swin-unet", "second_width": 0.125}).build()
    assert (type(model.first).__name__, type(model.second).__name__) == ("UNet", "SwinUNet")
    assert ABD.presets["acdc"]["options"] == {"second": "swin-unet"}


def test_terms() -> None:
    case = case_of(ABD)
    model, batch = case.build().train(), case.data().batch(0)
    losses = model.losses(batch, clock())
    trained = ("sup", "displaced", "cross")
    assert all(reached(losses[name], net) for name in trained for net in (model.first, model.second))  # type: ignore[arg-type]
    assert losses["pseudo"].item() == 0.0, "on BCP only"
    late = Clock("train", 70, 100, {})
    assert model.losses(batch, late)["displaced"].item() == 0.0 and model.weight("displaced", clock(step=66)) == 2.0


def test_a_box_of_noise_is_background_and_inside_the_strong_view_only() -> None:
    case = case_of(ABD, options={"cutout": 1.0})
    model, labeled = case.build().train(), case.data().batch(0)["labeled"]
    weak, strong = model._views(labeled, labeled.target)  # type: ignore[operator]
    assert weak.image is labeled.image and weak.target is labeled.target
    changed = (strong.image != labeled.strong[0]).any(1)
    assert not strong.target[changed].any() and changed.flatten(1).any(1).all()
    torch.testing.assert_close(strong.target[~changed], labeled.target[~changed])


# On BCP


class Pixelwise(nn.Module):
    """Logits that depend on the pixel alone; remembers the images that it saw."""

    def __init__(self, slope: float, shift: float) -> None:
        super().__init__()
        self.slope, self.shift = nn.Parameter(torch.tensor(slope)), nn.Parameter(torch.tensor(shift))
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach())
        z = self.slope * images[:, :1] + self.shift
        return torch.cat([z, -z], 1)


def on_bcp(monkeypatch: pytest.MonkeyPatch, mask: Tensor) -> tuple[ABD, Pixelwise, Pixelwise, Pixelwise]:
    monkeypatch.setattr("semibench_plugins.methods.pseudo_labels.abd.box_mask", lambda *_args, **_keywords: mask)
    model = abd(base="bcp", cutout=0.0, top=3)
    first, second, teacher = Pixelwise(1.0, 0.2), Pixelwise(-0.7, 0.1), Pixelwise(1.5, -0.3)
    model.first, model.second = first, second  # type: ignore[assignment]
    assert model.teacher is not None
    model.teacher.net = teacher.requires_grad_(False)
    return model, first, second, teacher


def naive_region(z: Tensor, label: Tensor, mask: Tensor) -> float:
    """(CE + Dice) / 2 over a region, as in the code for ACDC: squares, sums over the batch, the background counts."""
    p, counted = z.softmax(1), (mask.expand(label.shape) > 0) & (label != IGNORE)
    entropies = F.cross_entropy(z, label, reduction="none", ignore_index=IGNORE)
    dice = []
    for kind in range(z.shape[1]):
        q, y = p[:, kind][counted], (label == kind)[counted].float()
        dice.append(1 - (2 * (q * y).sum() + 1e-10) / ((q * q).sum() + y.sum() + 1e-10))
    return ((entropies * counted).sum() / counted.sum() + sum(dice) / len(dice)).item() / 2


def two_views(count: int, label: Tensor | None = None) -> Samples:
    weak, strong = torch.randn(2, count, 1, 12, 12).unbind()
    return replace(samples(weak, label), strong=(strong,))


def box() -> Tensor:
    mask = torch.ones(12, 12)
    mask[1:9, 3:11] = 0
    return mask


@pytest.mark.parametrize("padding", [0, 2])
def test_losses_on_bcp_are_those_of_its_script(monkeypatch: pytest.MonkeyPatch, padding: int) -> None:
    """Halves a, b of the labeled and u, v of the unlabeled images: u M + a (1 - M) and b M + v (1 - M), view by view."""
    torch.manual_seed(4)
    mask = box()
    model, first, second, teacher = on_bcp(monkeypatch, mask)
    monkeypatch.setattr("semibench_plugins.methods.pseudo_labels.abd.largest_component", lambda label: 1 - label)
    labeled, unlabeled = two_views(4, torch.randint(0, 2, (4, 12, 12))), two_views(4)
    unlabeled.valid[:, :padding] = False
    y = labeled.target
    losses = model.losses({"labeled": labeled, "unlabeled": unlabeled}, clock())
    sup, pseudo, mixes, logits = 0.0, 0.0, [], []
    for net, x, u in ((first, labeled.image, unlabeled.image), (second, labeled.strong[0], unlabeled.strong[0])):
        with torch.no_grad():
            guess = (1 - teacher(u).argmax(1)).masked_fill(~unlabeled.valid, IGNORE)
            inward, outward = u[:2] * mask + x[:2] * (1 - mask), x[2:] * mask + u[2:] * (1 - mask)
            z = net(inward), net(outward)
        sup += naive_region(z[0], y[:2], 1 - mask) + naive_region(z[1], y[2:], mask)
        pseudo += naive_region(z[0], guess[:2], mask) + naive_region(z[1], guess[2:], 1 - mask)
        mixes.append(torch.cat([inward, outward]))
        logits.append(torch.cat(z))
    assert (losses["sup"].item(), losses["pseudo"].item()) == pytest.approx((sup, pseudo), rel=1e-4)
    for net, mixed in zip((first, second), mixes, strict=True):
        torch.testing.assert_close(torch.cat(net.seen[:2]), mixed)

    moved = first.seen[2]
    torch.testing.assert_close(second.seen[2], moved)
    assert all(int((new != old).sum()) <= 9 for new, old in zip(moved, torch.cat(mixes), strict=True)), (
        "one patch of 3 x 3"
    )
    if not padding:
        with torch.no_grad():
            pairs = [logits, [first(moved), second(moved)]]
            cross = [soft_dice(z, other.argmax(1)) for one, two in pairs for z, other in ((one, two), (two, one))]
        assert losses["cross"].item() == pytest.approx(sum(value.item() for value in cross), rel=1e-5)
    assert losses["displaced"].item() == 0.0


def test_each_network_on_bcp_sees_its_own_views_and_nothing_reaches_the_teacher() -> None:
    case = case_of(ABD, options={"base": "bcp"})
    model, batch = case.build().train(), case.data().batch(0)
    losses = model.losses(batch, clock())
    assert all(reached(losses[name], net) for name in ("sup", "cross", "pseudo") for net in (model.first, model.second))  # type: ignore[arg-type]
    assert not any(parameter.requires_grad for parameter in model.teacher.parameters())  # type: ignore[union-attr]
    moves = [(name, stage.share, stage.start) for stage in model.stages() for name in [stage.name]]
    assert moves == [("pretrain", 0.25, "last"), ("train", 0.75, "best")]


def test_pre_training_pastes_a_box_of_one_labeled_image_into_another(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    mask = box()
    model, first, second, _ = on_bcp(monkeypatch, mask)
    labeled = two_views(4, torch.randint(0, 2, (4, 12, 12)))
    losses = model.losses({"labeled": labeled, "unlabeled": two_views(4)}, clock("pretrain"))
    x, y = labeled.image, labeled.target
    with torch.no_grad():
        z = first(x[:2] * mask + x[2:] * (1 - mask))
    assert set(losses) == {"sup"} and not second.seen
    torch.testing.assert_close(first.seen[0], first.seen[1])
    assert losses["sup"].item() == pytest.approx(
        naive_region(z, y[:2], mask) + naive_region(z, y[2:], 1 - mask), rel=1e-4
    )


def test_both_networks_and_the_teacher_start_from_the_pre_trained_weights() -> None:
    case = case_of(ABD, options={"base": "bcp", "decay": 0.75})
    model, pools = case.build().train(), case.data().pools
    model.begin("train", pools)
    for other in (model.second, model.teacher.net):  # type: ignore[union-attr]
        for mine, theirs in zip(model.first.state_dict().values(), other.state_dict().values(), strict=True):  # type: ignore[union-attr]
            assert torch.equal(mine, theirs)
    before = next(model.teacher.parameters()).clone()  # type: ignore[union-attr]
    with torch.no_grad():
        next(model.first.parameters()).add_(1.0)  # type: ignore[union-attr]
    model.after_step(clock())
    torch.testing.assert_close(next(model.teacher.parameters()), before + 0.25)  # type: ignore[union-attr]


@pytest.mark.parametrize("drawn", [0.4, 0.6])
def test_on_bcp_half_of_the_patches_are_the_most_confident_ones(monkeypatch: pytest.MonkeyPatch, drawn: float) -> None:
    torch.manual_seed(6)
    model = abd(base="bcp", top=8)
    one, two = torch.randn(2, 2, 8, 8), torch.randn(2, 2, 8, 8)
    images = torch.arange(128.0).view(2, 1, 8, 8), torch.arange(128.0, 256.0).view(2, 1, 8, 8)
    monkeypatch.setattr(torch, "rand", lambda *size, **_keywords: torch.full(size, drawn))
    found = model.outward((View(images[0], images[0][:, 0]), View(images[1], images[1][:, 0])), one, two)
    means, others = naive_means(one, 4), naive_means(two, 4)
    differ = False
    for row in range(2):
        low = int(means[0][row].argmin())
        q = means[1][row, low].softmax(0)
        best = others[0][row].sort(descending=True).indices[:8].tolist()
        nearest = min(best, key=lambda j: float((q * (q / others[1][row, j].softmax(0)).log()).sum()))
        differ = differ or nearest != best[0]
        expected = nearest if drawn < 0.5 else best[0]
        torch.testing.assert_close(cut(found.image[row], low, 4), cut(images[1][row], expected, 4))
    assert differ, "the two rules choose different patches here"


@pytest.mark.parametrize(("labeled", "unlabeled"), [(1, 3), (4, 1)])
def test_on_bcp_a_smaller_batch_is_repeated(monkeypatch: pytest.MonkeyPatch, labeled: int, unlabeled: int) -> None:
    model, *_ = on_bcp(monkeypatch, box())
    batch = {
        "labeled": two_views(labeled, torch.ones(labeled, 12, 12, dtype=torch.int64)),
        "unlabeled": two_views(unlabeled),
    }
    for stage in ("pretrain", "train"):
        assert all(bool(value.isfinite()) for value in model.losses(batch, clock(stage)).values())


def test_presets_on_bcp_have_the_weights_of_its_script() -> None:
    for name in ("bcp", "acdc-bcp"):
        preset = ABD.presets[name]
        assert preset["options"] == {"base": "bcp"}
        assert preset["terms"] == {
            "displaced": 0.0,
            "cross": {"weight": 1.0, "ramp": {"kind": "constant"}},
            "pseudo": 0.5,
        }
    recipe = ABD.presets["acdc-bcp"]["recipe"]
    chosen = [recipe[field] for field in ("iterations", "labeled_batch", "unlabeled_batch", "patch", "schedule")]
    assert chosen == [40000, 12, 12, (256, 256), "constant"]
    with pytest.raises(ValidationError, match="starts both networks from the same weights"):
        ABD.Options(base="bcp", second="swin-unet")
