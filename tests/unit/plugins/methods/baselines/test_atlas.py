"""The atlas against a vote counted voxel by voxel."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import torch
from support.methods_support import case_of
from torch import Tensor

from semibench.contracts.metric import Inference
from semibench.evaluation.inference import predict_many
from semibench.evaluation.network import Network
from semibench_plugins.methods.baselines.atlas import Atlas, majority, nearest


class Maps:
    """Pools that have label maps only: asking for an image is an error."""

    def __init__(self, *labels: Tensor) -> None:
        self.labels = labels

    def label_maps(self) -> Any:
        yield from self.labels


def random_maps(count: int, shape: tuple[int, ...], classes: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(classes, shape, generator=generator, dtype=torch.uint8) for _ in range(count)]


def counted(labels: list[Tensor], classes: int) -> Tensor:
    """The vote by a loop over voxels; ties go to the lower class, 255 doesn't vote."""
    vote = torch.zeros_like(labels[0])
    for place in product(*map(range, labels[0].shape)):
        ballots = Counter(int(label[place]) for label in labels if label[place] != 255)
        vote[place] = max(range(classes), key=lambda number: (ballots[number], -number))
    return vote


def test_the_vote_is_the_majority_of_every_voxel() -> None:
    labels = random_maps(4, (6, 5), 3)
    labels[0][:2] = 255
    assert torch.equal(majority(labels, 3, 99), counted(labels, 3))
    volumes = random_maps(5, (4, 3, 6), 4, seed=1)
    assert torch.equal(majority(volumes, 4, 99), counted(volumes, 4))


def test_maps_of_other_sizes_vote_on_the_median_grid() -> None:
    labels = [*random_maps(2, (8, 4), 2), torch.ones((4, 4), dtype=torch.uint8)]
    grown = torch.ones((8, 4), dtype=torch.uint8)
    assert torch.equal(majority(labels, 2, 99), counted([*labels[:2], grown], 2))
    assert majority(labels, 2, 6).shape == (6, 4)
    assert nearest(torch.tensor([[0, 1]], dtype=torch.uint8), (2, 4)).tolist() == [[0, 0, 1, 1]] * 2


def test_it_predicts_the_vote_whatever_the_image() -> None:
    method = case_of(Atlas, classes=3).build()
    labels = random_maps(3, (32, 32), 3)
    method.begin("train", Maps(*labels))  # type: ignore[arg-type]
    one, other = (method(torch.randn(2, 1, 32, 32)) for _ in range(2))
    assert torch.equal(one, other) and torch.equal(one[0].argmax(0).to(torch.uint8), counted(labels, 3))
    assert not list(method.parameters()) and not method.optimisers()


def test_a_volume_is_predicted_whole_where_the_network_is_2d() -> None:
    """A slice has no place in the volume; the atlas gets the volume, in every mode of inference."""
    method = case_of(Atlas).build()
    labels = random_maps(3, (5, 7, 6), 2)
    method.begin("train", Maps(*labels))  # type: ignore[arg-type]
    network = Network(2, (4, 4), slice_axis=0, batch=2, whole_cases=method.whole_cases)
    for inference in (Inference(), Inference(flips=True, resize="nearest")):
        probabilities = predict_many(method, torch.randn(1, 1, 5, 7, 6), inference, network)
        assert torch.equal(probabilities[0].argmax(0).to(torch.uint8), counted(labels, 2))
    larger = predict_many(method, torch.zeros(1, 1, 10, 14, 12), Inference(), network)
    assert torch.equal(larger[0].argmax(0).to(torch.uint8), nearest(counted(labels, 2), (10, 14, 12)))
