"""BCP against its sheets: regions, weights, stages, teacher, pseudo-labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.methods_support import case_of, clock, samples
from torch import Tensor, nn

from semibench import IGNORE
from semibench.blocks import region_loss
from semibench_plugins.methods.pseudo_labels.bcp import BCP, _halves


class Recorder(nn.Module):
    """Logits that depend on the pixel only; remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, -1.0]))
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach())
        return images[:, :1] * self.scale.view(1, 2, *[1] * (images.ndim - 2))


def built(dims: int = 2, **options: object) -> tuple[BCP, Recorder]:
    method = case_of(BCP, dims, options=options).build()
    assert isinstance(method, BCP)
    net = Recorder()
    method.student = net  # type: ignore[assignment]
    method.teacher.net = Recorder().requires_grad_(False)
    return method, net


def test_stages_take_the_published_shares() -> None:
    flat, deep = (case_of(BCP, dims).build() for dims in (2, 3))
    assert [(s.name, s.share, s.start) for s in flat.stages()] == [("pretrain", 0.25, "last"), ("train", 0.75, "best")]
    assert [s.share for s in deep.stages()] == pytest.approx([2 / 17, 15 / 17])
    assert flat.teacher.buffers_rule == "ema" and deep.teacher.buffers_rule == "none"
    assert (flat.smooth, deep.smooth) == (1e-10, 1e-5)
    assert flat.teacher.alpha == 0.99, "no warm-up"


@pytest.mark.parametrize("dims", [2, 3])
def test_mixes_hold_every_voxel_once(dims: int) -> None:
    method, net = built(dims)
    size = (12, 9, 15)[:dims]
    values = [torch.full((1, 1, *size), float(v)) for v in (1, 2, 3, 4)]
    label = torch.zeros(2, *size, dtype=torch.int64)
    batch = {"labeled": samples(torch.cat(values[:2]), label), "unlabeled": samples(torch.cat(values[2:]))}
    method.losses(batch, clock())
    inward, outward = net.seen
    assert set(inward.unique().tolist()) == {1.0, 3.0} and set(outward.unique().tolist()) == {2.0, 4.0}
    assert torch.equal(inward == 1.0, outward == 4.0), "one mask: the box of a in u, the box of v in b"
    box = (inward == 1.0).sum().item()
    assert box == torch.tensor([int(side * 2 / 3 + 1e-9) for side in size]).prod().item()
    method.losses(batch, clock("pretrain"))
    mixed = net.seen[-1]
    assert set(mixed.unique().tolist()) == {1.0, 2.0} and (mixed == 2.0).sum().item() == box


def test_losses_are_region_losses_of_the_mixes(monkeypatch: pytest.MonkeyPatch) -> None:
    method, net = built()
    torch.manual_seed(0)
    x, u = torch.randn(4, 1, 12, 12), torch.randn(4, 1, 12, 12)
    y = torch.randint(0, 2, (4, 12, 12))
    mask = torch.ones(12, 12)
    mask[2:10, 3:11] = 0
    monkeypatch.setattr("semibench_plugins.methods.pseudo_labels.bcp.box_mask", lambda *_args, **_keywords: mask)
    method.components = "none"
    losses = method.losses({"labeled": samples(x, y), "unlabeled": samples(u)}, clock())
    pseudo = (method.teacher.net(u)).argmax(1)
    inward, outward = net(u[:2] * mask + x[:2] * (1 - mask)), net(x[2:] * mask + u[2:] * (1 - mask))
    sup = region_loss(inward, y[:2], 1 - mask) + region_loss(outward, y[2:], mask)
    unsup = region_loss(inward, pseudo[:2], mask) + region_loss(outward, pseudo[2:], 1 - mask)
    torch.testing.assert_close(losses["sup"], sup)
    torch.testing.assert_close(losses["pseudo"], unsup)
    assert method.terms["pseudo"].weight == 0.5 and method.terms["sup"].weight == 1.0


def naive_la(z: Tensor, y: Tensor, mask: Tensor) -> float:
    """(Dice + CE) / 2 of a region as in LA's code, written position by position."""
    dice = []
    for logits, label in zip(z, y, strict=True):
        for kind in range(z.shape[1]):
            common = size = 0.0
            for place in mask.nonzero().tolist():
                p = logits[(slice(None), *place)].softmax(0)[kind].item()
                truth = float(label[tuple(place)].item() == kind)
                common, size = common + p * truth, size + p + truth
            dice.append(1 - (2 * common + 1e-5) / (size + 1e-5))
    each = [
        -logits[(slice(None), *place)].log_softmax(0)[int(label[tuple(place)])].item()
        for logits, label in zip(z, y, strict=True)
        for place in mask.nonzero().tolist()
    ]
    return (sum(dice) / len(dice) + sum(each) / len(each)) / 2


def test_losses_in_3d_are_those_of_the_code_for_the_left_atrium(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image for itself, no squares; the pre-training takes the mix as one image with one label."""
    method, net = built(3, components="none")
    torch.manual_seed(3)
    x, u = torch.randn(4, 1, 4, 3, 3), torch.randn(4, 1, 4, 3, 3)
    y = torch.randint(0, 2, (4, 4, 3, 3))
    mask = torch.ones(4, 3, 3)
    mask[1:3, :2, 1:] = 0
    monkeypatch.setattr("semibench_plugins.methods.pseudo_labels.bcp.box_mask", lambda *_args, **_keywords: mask)
    batch = {"labeled": samples(x, y), "unlabeled": samples(u)}
    losses = method.losses(batch, clock())
    with torch.no_grad():
        pseudo = method.teacher.net(u).argmax(1)
        inward, outward = net(u[:2] * mask + x[:2] * (1 - mask)), net(x[2:] * mask + u[2:] * (1 - mask))
        mixed = net(x[:2] * mask + x[2:] * (1 - mask))
    sup = naive_la(inward, y[:2], 1 - mask) + naive_la(outward, y[2:], mask)
    unsup = naive_la(inward, pseudo[:2], mask) + naive_la(outward, pseudo[2:], 1 - mask)
    assert (losses["sup"].item(), losses["pseudo"].item()) == pytest.approx((sup, unsup), abs=1e-5)
    label = (y[:2] * mask + y[2:] * (1 - mask)).long()
    before = method.losses(batch, clock("pretrain"))["sup"].item()
    assert before == pytest.approx(naive_la(mixed, label, torch.ones_like(mask)), abs=1e-5)


def test_presets_take_the_published_patch() -> None:
    assert BCP.presets["acdc"]["recipe"]["patch"] == (256, 256)


def test_only_labeled_regions_count_without_pseudo_weight() -> None:
    method, _ = built()
    u = torch.randn(2, 1, 12, 12)
    batch = {"labeled": samples(torch.randn(2, 1, 12, 12), torch.ones(2, 12, 12, dtype=torch.int64))}
    torch.manual_seed(1)
    first = method.losses({**batch, "unlabeled": samples(u)}, clock())["sup"]
    torch.manual_seed(1)
    second = method.losses({**batch, "unlabeled": samples(u * -3)}, clock())["sup"]
    assert first.item() == second.item(), "unlabeled voxels don't enter the supervised term"


def test_pseudo_labels_keep_one_component_and_skip_padding() -> None:
    method, _ = built()
    image = -torch.ones(1, 1, 6, 6)
    image[..., 0, 0], image[..., 3:5, 3:5] = -1, -1
    positive = torch.ones(1, 1, 6, 6)
    positive[..., 0, 0], positive[..., 3:5, 3:5] = -1.0, -1.0
    valid = torch.ones(1, 6, 6, dtype=torch.bool)
    valid[..., 5] = False
    pseudo = method._pseudo_label(positive, valid)[0]
    assert pseudo[3:5, 3:5].eq(1).all() and pseudo[0, 0] == 0 and pseudo[:, 5].eq(IGNORE).all()
    method.components = "none"
    assert method._pseudo_label(positive, valid)[0, 0, 0] == 1


def test_halves_of_unlike_batches() -> None:
    batch = samples(torch.arange(3.0).view(3, 1, 1, 1), torch.arange(3).view(3, 1, 1))
    (a, b), (_, yb) = _halves(batch, 5, batch.target)
    assert a.flatten().tolist() == [0, 1, 2] and b.flatten().tolist() == [0, 1, 2] == yb.flatten().tolist()
    (a, b), _ = _halves(batch, 4, batch.target)
    assert a.flatten().tolist() == [0, 1] and b.flatten().tolist() == [2, 0]
    one = samples(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2))
    assert _halves(one, 1, one.target)[0][1].shape == (1, 1, 2, 2)


def test_training_starts_from_the_student_of_the_pretraining() -> None:
    case = case_of(BCP)
    method, data = case.build(), case.data()
    with torch.no_grad():
        for parameter in method.student.parameters():
            parameter.add_(1.0)
    method.begin("train", data.pools)
    ours, theirs = method.student.state_dict(), method.teacher.net.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    before = next(method.student.parameters()).detach().clone()
    with torch.no_grad():
        next(method.student.parameters()).add_(1.0)
    method.after_step(clock())
    torch.testing.assert_close(next(method.teacher.net.parameters()), before + 0.01)


def test_unlabeled_padding_is_left_out() -> None:
    method, _ = built()
    u = samples(torch.randn(2, 1, 12, 12))
    u = replace(u, valid=torch.zeros_like(u.valid))
    batch = {"labeled": samples(torch.randn(2, 1, 12, 12), torch.zeros(2, 12, 12, dtype=torch.int64)), "unlabeled": u}
    assert method.losses(batch, clock())["pseudo"].item() == 0.0
