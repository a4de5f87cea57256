"""DK-HRS: its contrast, its views and its noise against worked numbers and loops."""

from __future__ import annotations

import math

import pytest
import torch
from support.methods_support import Constant, case_of, clock, reached

from semibench_plugins.methods.consistency.dk_hrs import DKHRS, box_of, divergence, knowledge_views, nt_xent
from semibench_plugins.methods.contrast_and_prototypes.ss_net.smoothness import worst_direction

torch.set_num_threads(1)


@pytest.mark.parametrize("count", [2, 3])
def test_contrast_of_equal_views_that_are_orthogonal_to_the_others(count: int) -> None:
    z = 3.0 * torch.eye(count)
    expected = math.log(1 + (2 * count - 2) * math.exp(-1 / 0.5))
    assert nt_xent(z, z, 0.5).item() == pytest.approx(expected, rel=1e-5)
    assert nt_xent(z, z, 0.07).item() == pytest.approx(math.log1p((2 * count - 2) * math.exp(-1 / 0.07)), abs=1e-5)


def test_contrast_of_one_image_is_0() -> None:
    z = torch.ones(1, 3, requires_grad=True)
    loss = nt_xent(z, z, 0.07)
    assert loss.item() == 0.0 and not torch.autograd.grad(loss, z)[0].any()


def test_contrast_against_loops() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(3, 4), torch.randn(3, 4)
    every = [*first, *second]
    total = 0.0
    for i in range(6):
        cosine = [float(torch.cosine_similarity(every[i], other, dim=0)) / 0.2 for other in every]
        total += math.log(sum(math.exp(c) for j, c in enumerate(cosine) if j != i)) - cosine[(i + 3) % 6]
    assert nt_xent(first, second, 0.2).item() == pytest.approx(total / 6, rel=1e-5)


def test_boxes() -> None:
    mask = torch.zeros(2, 8, 9, dtype=torch.bool)
    mask[0, 2, 3] = mask[0, 4, 6] = True
    expected = torch.zeros_like(mask)
    expected[0, 2:5, 3:7] = True
    assert torch.equal(box_of(mask), expected)
    expected[0, 1:6, 1:9] = True
    assert torch.equal(box_of(mask, (1, 2)), expected)


def test_knowledge_views_against_their_definition() -> None:
    torch.manual_seed(0)
    images, valid = torch.rand(2, 1, 30, 30), torch.ones(2, 30, 30, dtype=torch.bool)
    mask = torch.zeros_like(valid)
    mask[0, 12:20, 10:21] = True
    close, wide, edged = knowledge_views(images, mask, valid)
    for view in (close, wide, edged):
        assert torch.equal(view[1], images[1]), "no lesion"
    mean, x = images[0].mean(), images[0, 0]
    for row in range(30):
        for column in range(30):
            near = mask[0, max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
            inside, around = bool(mask[0, row, column]), 10 <= row < 22 and 8 <= column < 23
            value = x[row, column]
            assert close[0, 0, row, column] == pytest.approx(float(value if inside else mean), abs=1e-6)
            assert wide[0, 0, row, column] == pytest.approx(float(value if around else mean), abs=1e-6)
            more = mean + 1.2 * (value - mean) if near.any() and not near.all() else value
            assert edged[0, 0, row, column] == pytest.approx(float(more if around else mean), abs=1e-6)


def test_a_knowledge_view_is_a_mean_of_the_three() -> None:
    case = case_of(DKHRS, options={"width": 4})
    model = case.build()
    images, valid = torch.rand(2, 1, 30, 30), torch.ones(2, 30, 30, dtype=torch.bool)
    mask = torch.zeros_like(valid)
    mask[:, 5:9, 5:9] = True
    three = knowledge_views(images, mask, valid)
    found = model.knowledge_view(images, mask, valid)  # type: ignore[operator]
    assert (found >= three.amin(0) - 1e-6).all() and (found <= three.amax(0) + 1e-6).all()
    torch.testing.assert_close(model.knowledge_view(images, ~valid, valid), images)  # type: ignore[operator]


def test_noise_has_its_norm_and_a_constant_network_no_loss() -> None:
    torch.manual_seed(0)
    images, valid = torch.rand(2, 1, 6, 6), torch.ones(2, 6, 6, dtype=torch.bool)
    net = torch.nn.Conv2d(1, 2, 3, padding=1)
    found = worst_direction(net, images, net(images).softmax(1).detach(), valid, divergence, 0.1)
    assert found.flatten(1).norm(dim=1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    logits = Constant(torch.tensor([1.0, -1.0]))(images)
    assert divergence(logits, logits.detach().softmax(1), valid).item() == pytest.approx(0.0, abs=1e-7)
    p, q = torch.tensor([0.8, 0.2]), torch.tensor([0.5, 0.5])
    value = divergence(p.log().view(1, 2, 1, 1), q.view(1, 2, 1, 1), valid[:1, :1, :1])
    assert value.item() == pytest.approx(0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2), abs=1e-6)


def test_terms_and_their_course() -> None:
    case = case_of(DKHRS, options={"width": 4, "threshold": 0.0})
    model, batch = case.build().train(), case.data().batch(0)
    losses = model.losses(batch, clock())
    assert all(reached(losses[name], model.student) for name in ("sup", "pixel", "adversarial"))  # type: ignore[arg-type]
    assert not any(p.requires_grad for p in model.teacher.parameters())  # type: ignore[union-attr]
    assert [model.weight("knowledge", clock(step=step)) for step in (0, 50)] == [1.0, 0.5]
    assert model.weight("adversarial", clock()) == pytest.approx(0.0067379, abs=1e-6)
    assert model.weight("adversarial", clock(step=15)) == 1.0
    never = case_of(DKHRS, options={"width": 4, "threshold": 1.01}).build().train().losses(batch, clock())
    assert never["pixel"].item() == 0.0
