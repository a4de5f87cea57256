"""The atlas that reads no image: worked numbers, and the law that it must fail on the phantoms."""

from __future__ import annotations

import numpy as np
import pytest
from atlas_scores import atlas_scores, mean_dice

from semibench import DatasetOptions, PhantomOptions
from semibench.discovery.registry import registry
from semibench_plugins.datasets.cards import CARDS
from semibench_plugins.phantoms.volume_parts import Label

CARD = {card.name: card for card in CARDS}
ONE_STRUCTURE, MANY = 0.35, 0.25


def maps(*rows: list[int]) -> list[Label]:
    return [np.array([row], np.uint8) for row in rows]


def test_dice_is_the_mean_over_classes_of_the_cases_that_have_them() -> None:
    predictions, truths = maps([1, 1, 0, 2], [1, 0, 0, 0]), maps([1, 0, 0, 2], [1, 1, 1, 0])
    first = (2 * 1 / 3 + 2 * 1 / 4) / 2
    assert mean_dice(predictions, truths, 3) == pytest.approx((first + 1.0) / 2)
    assert mean_dice(predictions, maps([0, 0, 0, 0], [0, 0, 0, 0]), 3) == 0.0


def test_equal_patients_are_solved_by_an_atlas_and_disjoint_ones_are_not() -> None:
    ball = np.zeros((8, 8), np.uint8)
    ball[2:6, 2:6] = 1
    scores = atlas_scores([ball, ball], [ball], 2)
    assert (scores.copied, scores.voted) == (1.0, 1.0)
    apart = atlas_scores([np.roll(ball, 2, axis=0)], [np.roll(ball, -2, axis=0)], 2)
    assert (apart.copied, apart.voted) == (0.0, 0.0)


def test_maps_of_another_shape_are_placed_about_the_same_centre_if_that_fits_better() -> None:
    small, large = np.zeros((8, 8), np.uint8), np.zeros((16, 16), np.uint8)
    small[2:6, 2:6] = large[6:10, 6:10] = 1
    assert atlas_scores([large], [small], 2).copied == 1.0
    stretched = np.zeros((16, 16), np.uint8)
    stretched[4:12, 4:12] = 1
    assert atlas_scores([stretched], [small], 2).copied == 1.0


def test_the_vote_of_all_can_differ_from_every_copy() -> None:
    scores = atlas_scores(maps([1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 0]), maps([1, 1, 1, 0]), 2)
    assert scores.copied == pytest.approx(2 * 2 / 5)
    assert scores.voted == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CARD))
def test_no_atlas_solves_a_phantom(name: str) -> None:
    phantom_class = registry().get("datasets", name).resolve().phantom_class
    groups = 12 if CARD[name].dims == 3 else 36
    count = groups * phantom_class.specs[name].frames
    data = phantom_class(CARD[name], DatasetOptions(), PhantomOptions(cases=count))
    labels = [data.truth(ref).label.numpy() for ref in data.index()]
    classes, cut = len(CARD[name].classes), 2 * count // 3
    scores = atlas_scores(labels[:cut], labels[cut:], classes)
    assert max(scores.copied, scores.voted) < (ONE_STRUCTURE if classes == 2 else MANY)
