"""EPL against the numbers of its description and a naive version."""

from __future__ import annotations

import math

import pytest
import torch
from support.methods_support import Constant, case_of, clock, quiet, samples
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from semibench import IGNORE
from semibench_plugins.methods.generalisation.epl import EPL, boxes_mask, unit_range


class Linear(nn.Module):
    """Logits (0, a x + b) of a one-channel image."""

    def __init__(self, slope: float, shift: float) -> None:
        super().__init__()
        self.slope, self.shift = nn.Parameter(torch.tensor(slope)), nn.Parameter(torch.tensor(shift))

    def forward(self, images: Tensor) -> Tensor:
        z = self.slope * images + self.shift
        return torch.cat([torch.zeros_like(z), z], 1)


def test_weight_of_a_worked_divergence() -> None:
    """KL((.6, .4) || (.8, .2)) = .104650 and exp(-.) = .900640; the cross-entropy of class 0 is -ln .8 = .223144."""
    method = case_of(EPL).build()
    logits = torch.tensor([0.8, 0.2]).log().view(1, 2, 1).expand(1, 2, 5)
    divergence = torch.full((1, 5), 0.6 * math.log(0.75) + 0.4 * math.log(2.0))
    assert divergence[0, 0].item() == pytest.approx(0.104650, abs=1e-6)
    label, valid = torch.zeros(1, 5, dtype=torch.int64), torch.ones(1, 5, dtype=torch.bool)
    assert method.cross(logits, label, divergence, valid).item() == pytest.approx(0.900640 * 0.223144, abs=1e-6)


@pytest.mark.parametrize("confidence", ["voxel", "mean"])
def test_losses_against_loops(confidence: str) -> None:
    """Two images, networks that are linear in the intensity; padding in the last column."""
    torch.manual_seed(0)
    method = case_of(EPL, options={"confidence": confidence}).build()
    method.first, method.second = Linear(3.0, -1.0), Linear(-1.0, 0.7)
    image, label = torch.rand(2, 1, 6, 6), torch.randint(0, 2, (2, 6, 6))
    labeled, unlabeled = samples(image, label), samples(torch.rand(2, 1, 6, 6))
    unlabeled.valid[1, :, 5] = False
    torch.manual_seed(5)
    view = method.styled(unlabeled.image, torch.cat([unlabeled.image, image]), unlabeled.valid)
    box = boxes_mask((6, 6), 2, 3, (0.25, 0.5))
    torch.manual_seed(5)
    losses = method.losses({"labeled": labeled, "unlabeled": unlabeled}, clock())

    def p(net: Linear, value: float) -> list[float]:
        one = 1 / (1 + math.exp(-(net.slope.item() * value + net.shift.item())))
        return [1 - one, one]

    nets, cross, variance, ce, certain = (method.first, method.second), 0.0, [[], []], [[], []], [[], []]
    for i in range(2):
        for y in range(6):
            for x in range(6):
                source = 1 - i if box[i, y, x] else i
                if not unlabeled.valid[source, y, x]:
                    continue
                plain, styled = float(unlabeled.image[source, 0, y, x]), float(view[source, 0, y, x])
                labels = [int(net.slope.item() * (plain + styled) / 2 + net.shift.item() > 0) for net in nets]
                for b, net in enumerate(nets):
                    variance[b].append(
                        sum(q * math.log(q / r) for q, r in zip(p(net, styled), p(net, plain), strict=True))
                    )
                    certain[b].append(math.exp(-variance[b][-1]))
                    ce[b].append(-math.log(p(net, plain)[labels[1 - b]]))
    count = len(ce[0])
    for b in range(2):
        if confidence == "voxel":
            cross += sum(w * c for w, c in zip(certain[1 - b], ce[b], strict=True)) / count
        else:
            cross += sum(certain[1 - b]) / count * sum(ce[b]) / count
    assert losses["cross"].item() == pytest.approx(cross, rel=1e-4)
    assert losses["variance"].item() == pytest.approx(sum(map(sum, variance)) / count, rel=1e-3, abs=1e-7)
    dice = 0.0
    for net in nets:
        probability = net(image).detach().softmax(1)
        for kind in range(2):
            truth = (label == kind).float()
            common = (probability[:, kind] * truth).sum()
            dice += float(1 - (2 * common + 0.1) / (probability[:, kind].sum() + truth.sum() + 0.1))
    assert losses["sup"].item() == pytest.approx(dice, rel=1e-5)


def test_equal_views_have_no_variance() -> None:
    case = case_of(EPL, options={"style": "mix", "share": 0.0}, backbone_options={"width": 0.125, "norm": "instance"})
    method = quiet(case.build())
    assert method.losses(case.data().batch(0), clock())["variance"].item() == pytest.approx(0.0, abs=1e-6)
    method.first = method.second = Constant(torch.tensor([0.3, -0.2]))
    assert method.losses(case.data().batch(0), clock())["variance"].item() == pytest.approx(0.0, abs=1e-7)


def test_views_take_the_mean_of_another_image_and_leave_padding() -> None:
    """At 32 pixels L = .01 exchanges frequency 0 alone: the mean of the image, on its own scale."""
    torch.manual_seed(0)
    images, others = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32) ** 3
    valid = torch.ones(2, 32, 32, dtype=torch.bool)
    valid[0, :4] = False
    method = case_of(EPL).build()
    torch.manual_seed(1)
    step = torch.randint(1, 4, (2,))
    torch.manual_seed(1)
    views, pool = method.styled(images, torch.cat([images, others]), valid), torch.cat([images, others])
    for i in range(2):
        style = unit_range(pool[(i + int(step[i])) % 4][None])[0].mean()
        content, low, span = unit_range(images[i : i + 1])
        expected = (content - content.mean() + style) * span + low
        torch.testing.assert_close(views[i][:, 4:], expected[0][:, 4:], atol=1e-5, rtol=0)
    assert torch.equal(views[0][:, :4], images[0][:, :4])
    assert method.styled(images[:1], images[:1], valid[:1]).shape == (1, 1, 32, 32)


def test_boxes_have_the_area_and_an_overlap_is_outside() -> None:
    torch.manual_seed(0)
    one = boxes_mask((200, 100), 400, 1, (0.25, 0.5))
    share = one.flatten(1).float().mean(1)
    assert 0.24 < share.min() < 0.28 and 0.46 < share.max() < 0.51
    rows, columns = one.any(2).sum(1), one.any(1).sum(1)
    assert torch.equal(rows * columns, one.flatten(1).sum(1)), "boxes"
    exponent = (rows / 200).log() / share.log()
    assert abs(exponent.mean() - 0.5) < 0.05 and exponent.min() < 0.1 and exponent.max() > 0.9
    three = boxes_mask((64, 64), 400, 3, (0.3, 0.3)).flatten(1).float().mean(1)
    assert three.max() < 0.32 and three.mean() < 0.3, "boxes of .1 each, less what two of them share"
    volume = boxes_mask((30, 40, 50), 50, 3, (0.3, 0.3)).flatten(1).float().mean(1)
    assert volume.max() < 0.35 and volume.min() > 0.1


def test_running_statistics_follow_whole_images() -> None:
    case = case_of(EPL)
    method, batch = case.build().train(), case.data().batch(0)
    seen: list[Tensor] = []
    norms = [part for part in method.second.modules() if isinstance(part, _BatchNorm)]

    def record(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        if all(norm.track_running_stats for norm in norms):
            seen.append(given[0])

    next(part for part in method.second.modules() if isinstance(part, nn.Conv2d)).register_forward_pre_hook(record)
    method.losses(batch, clock())
    assert [len(part) for part in seen] == [len(batch["labeled"].image), len(batch["unlabeled"].image)]
    assert torch.equal(torch.cat(seen), torch.cat([batch["labeled"].image, batch["unlabeled"].image]))


def test_padding_counts_nowhere_and_a_wrong_area_is_refused() -> None:
    case = case_of(EPL)
    batch = dict(case.data().batch(0))
    batch["unlabeled"].valid[:] = False
    batch["labeled"].target[:] = IGNORE
    losses = case.build().losses(batch, clock())
    assert losses["cross"].item() == 0.0 and losses["variance"].item() == 0.0
    assert "area" in str(EPL.unsupported(case.task, EPL.Options(area=(0.5, 0.25))))
