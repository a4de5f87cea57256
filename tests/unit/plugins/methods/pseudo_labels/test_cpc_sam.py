"""CPC-SAM: points lie where they should, rounds and weights follow the paper, the frozen encoder stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from support.methods_support import reached

from semibench import IGNORE, Clock, Samples, Task, Term, UsageError
from semibench.run.settings import term_records
from semibench_plugins.backbones.sam.network import SAM, SAMOptions
from semibench_plugins.backbones.unet import UNet
from semibench_plugins.methods.pseudo_labels.cpc_sam import CPCSAM, points_of

TASK = Task(
    2, 1, ("background", "a", "b"), (32, 32), ("default",), {"labeled": 2, "unlabeled": 2, "all": 4}, budget=100
)


def small(rank: int = 4) -> CPCSAM:
    torch.manual_seed(0)

    def backbones(**options: Any) -> SAM:
        return SAM(dims=2, channels=1, outputs=3, patch=(32, 32), options=SAMOptions(width=1 / 16, depth=4, **options))

    method = CPCSAM(TASK, backbones, CPCSAM.Options(rank=rank))
    method.terms = dict(CPCSAM.terms)
    return method


def samples(labeled: bool) -> Samples:
    image = torch.rand(2, 1, 32, 32)
    label = torch.randint(3, (2, 32, 32)) if labeled else None
    valid = torch.ones(2, 32, 32, dtype=torch.bool)
    valid[:, :2] = labeled
    return Samples(image, (), label, valid, torch.zeros(2, dtype=torch.long), torch.arange(2))


class Recording:
    """An `optimise` that keeps what it is given and takes a step of plain gradient descent."""

    def __init__(self, method: CPCSAM) -> None:
        self.method, self.rounds = method, []

    def __call__(self, losses: Any, **given: Any) -> bool:
        self.rounds.append({name: loss.detach() for name, loss in losses.items()})
        total = sum(self.method.terms[name].weight * loss for name, loss in losses.items())
        self.method.zero_grad()
        total.backward()
        with torch.no_grad():
            for parameter in self.method.parameters():
                if parameter.grad is not None:
                    parameter -= 0.01 * parameter.grad
        return True


def test_points_lie_in_the_largest_component_and_a_is_its_innermost() -> None:
    labels = torch.zeros(1, 12, 12, dtype=torch.long)
    labels[0, 1:3, 1:3] = 1  # the smaller component of class 1
    labels[0, 5:10, 4:9] = 1
    for seed in range(8):
        torch.manual_seed(seed)
        kinds, central, anywhere = points_of(labels, classes=3)
        assert kinds.tolist() == [[0, 1, 0]]
        assert central[0, 1].tolist() == [7, 6]
        y, x = anywhere[0, 1].tolist()
        assert 5 <= y < 10 and 4 <= x < 9
        assert central[0, 2].tolist() == anywhere[0, 2].tolist() == central[0, 0].tolist(), "an absent class"
        distance = ndimage.distance_transform_edt(np.pad(labels[0].numpy() == 0, 1))[1:-1, 1:-1]
        assert distance[tuple(central[0, 0].tolist())] == distance.max()


def test_diagonal_neighbours_are_one_component() -> None:
    labels = torch.zeros(1, 6, 6, dtype=torch.long)
    labels[0, [0, 1, 2], [0, 1, 2]] = 1
    labels[0, 5, 4:6] = 1
    seen = {tuple(points_of(labels, classes=2)[2][0, 1].tolist()) for _ in range(40)}
    assert seen == {(0, 0), (1, 1), (2, 2)}


def test_points_follow_the_seed() -> None:
    labels = torch.randint(3, (2, 16, 16), generator=torch.Generator().manual_seed(1))
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        drawn.append(points_of(labels, classes=3)[2])
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_prompting_begins_at_a_tenth_of_the_run_with_three_steps() -> None:
    method, batch = small(), {"labeled": samples(True), "unlabeled": samples(False)}
    early, late = Recording(method), Recording(method)
    method.step(batch, Clock("train", 9, 100, {}), early)
    method.step(batch, Clock("train", 10, 100, {}), late)
    assert [sorted(one) for one in early.rounds] == [["sup"]]
    assert [sorted(one) for one in late.rounds] == [["sup"], *[["agreement", "cross", "prompted"]] * 2]
    assert [CPCSAM.terms[name].weight for name in ("sup", "prompted", "cross", "agreement")] == [1.0, 1.0, 0.4, 0.05]


@pytest.mark.parametrize(("preset", "iterations"), [("acdc-3", 110000), ("acdc-7", 220000)])
def test_with_more_patients_prompting_begins_after_as_many_iterations(preset: str, iterations: int) -> None:
    method, batch = small(), {"labeled": samples(True), "unlabeled": samples(False)}
    chosen = CPCSAM.presets[preset]
    assert chosen["recipe"]["iterations"] == iterations and chosen["recipe"]["warm_up"] * iterations == 250
    method.terms = {name: Term.restore(record) for name, record in term_records(CPCSAM.terms, chosen["terms"]).items()}
    rounds = []
    for step in (4999, 5000):
        recording = Recording(method)
        method.step(batch, Clock("train", step, iterations, {}), recording)
        rounds.append(len(recording.rounds))
    assert rounds == [1, 3]


def test_losses_of_the_second_round_equal_a_naive_version() -> None:
    """CE and Dice written out in numpy, from the logits that the networks give."""
    method = small()
    batch = {"labeled": samples(True), "unlabeled": samples(False)}
    seen: list[np.ndarray] = []
    decoded = method._decoded

    def watched(*args: Any) -> torch.Tensor:
        logits = decoded(*args)
        seen.append(logits.detach().numpy())
        return logits

    method._decoded = watched  # type: ignore[method-assign]
    record = Recording(method)
    method.step(batch, Clock("train", 50, 100, {}), record)
    alone, first, second = seen[2:5]

    def softmax(logits: np.ndarray) -> np.ndarray:
        raised = np.exp(logits - logits.max(1, keepdims=True))
        return raised / raised.sum(1, keepdims=True)

    def loss(logits: np.ndarray, target: np.ndarray, share: float) -> float:
        counted, p = target != IGNORE, softmax(logits)
        entropies = [-np.log(p[b, target[b, y, x], y, x]) for b, y, x in np.argwhere(counted)]
        dice = []
        for kind in range(3):
            q, t = p[:, kind][counted], (target == kind)[counted]
            dice.append(1 - (2 * (q * t).sum() + 1e-5) / ((q**2).sum() + t.sum() + 1e-5))
        return share * float(np.mean(entropies)) + (1 - share) * float(np.mean(dice))

    target = batch["labeled"].target.numpy()
    label = (softmax(first[2:]) + softmax(second[2:])).argmax(1)
    label[:, :2] = IGNORE
    expected = {
        "prompted": loss(first[:2], target, 0.2) + loss(second[:2], target, 0.2),
        "cross": loss(alone[2:], label, 0.5),
        "agreement": loss(second[2:], label, 0.5),
    }
    assert {name: float(value) for name, value in record.rounds[1].items()} == pytest.approx(expected, rel=1e-4)


def test_no_gradient_passes_through_points_and_labels() -> None:
    """What a decoder gives the other one, points or labels, doesn't train it."""
    method = small()
    ends: list[dict[str, tuple[bool, bool]]] = []

    def look(losses: Any, **given: Any) -> bool:
        ends.append(
            {
                name: (reached(value, method.net.decoder), reached(value, method.second))
                for name, value in losses.items()
            }
        )
        return True

    method.step({"labeled": samples(True), "unlabeled": samples(False)}, Clock("train", 50, 100, {}), look)
    first, second = (True, False), (False, True)
    assert ends[1:] == [
        {"prompted": first, "cross": second, "agreement": first},
        {"prompted": second, "cross": first, "agreement": second},
    ]


def test_the_frozen_encoder_stays_and_lora_learns() -> None:
    method, batch = small(), {"labeled": samples(True), "unlabeled": samples(False)}
    encoder = method.net.image_encoder
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    for step in range(10, 12):
        method.step(batch, Clock("train", step, 100, {}), Recording(method))
    moved = {name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and all(".lora." in name for name in moved)
    assert all(parameter.requires_grad for parameter in small(rank=0).net.image_encoder.parameters())


def test_another_backbone_is_refused() -> None:
    def unet(**options: Any) -> UNet:
        return UNet(dims=2, channels=1, outputs=3, patch=(32, 32), options=UNet.Options(width=0.25))

    with pytest.raises(UsageError, match="provides 'prompts', such as sam, got UNet"):
        CPCSAM(TASK, unet, CPCSAM.Options())
