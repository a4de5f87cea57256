"""What the phantoms of organs and skin claim about their anatomy."""

from __future__ import annotations

import numpy as np
import pytest

from semibench import DatasetOptions, PhantomOptions
from semibench.blocks import Drawing
from semibench.discovery.registry import registry
from semibench_plugins.datasets.cards import CARDS

CARD = {card.name: card for card in CARDS}


def draw(name: str, seed: int, group: int) -> Drawing:
    phantom_class = registry().get("datasets", name).resolve().phantom_class
    return phantom_class(CARD[name], DatasetOptions(), PhantomOptions(seed=seed)).draw(group, 0)


@pytest.mark.parametrize("name", ["synapse", "amos22"])
def test_abdominal_organs_lie_where_they_should(name: str) -> None:
    classes, drawing = CARD[name].classes, draw(name, 0, 0)
    parts = ("liver", "spleen", "right kidney", "left kidney", "aorta", "stomach")
    at = {part: np.argwhere(drawing.label == classes.index(part)).mean(axis=0) for part in parts}
    y, x = 1, 2
    assert at["liver"][x] < at["aorta"][x] < at["spleen"][x] and at["right kidney"][x] < at["left kidney"][x]
    assert at["stomach"][y] < at["aorta"][y] and at["right kidney"][0] < at["liver"][0]
    if name == "amos22":
        bladder = np.argwhere(drawing.label == classes.index("bladder")).mean(axis=0)
        assert bladder[0] < at["right kidney"][0] - 5


def test_brain_is_stripped_and_its_tumour_inside() -> None:
    for group in range(3):
        drawing = draw("brats19", 0, group)
        assert (drawing.image[drawing.label > 0] > 0).all() and (drawing.image == 0).mean() > 0.2
        assert (drawing.image[0] == 0).mean() > 0.5


def test_colour_images_have_three_channels() -> None:
    drawing = draw("isic2018", 0, 3)
    assert drawing.image.shape == (3, *drawing.label.shape)
    skin = drawing.image[:, drawing.label == 0].mean(axis=1)
    assert skin[0] > skin[2] and drawing.image[:, drawing.label == 1].mean() < skin.mean()


def test_anterior_lies_in_front_of_posterior() -> None:
    for group in range(6):
        label = draw("msd-hippocampus", 0, group).label
        anterior, posterior = (np.argwhere(label == k)[:, 1] for k in (1, 2))
        assert anterior.mean() > posterior.mean() + 8
        assert (anterior > posterior.max()).mean() > 0.5 and (posterior < anterior.min()).mean() > 0.5


@pytest.mark.slow
def test_left_and_right_follow_the_liver_and_organs_may_be_missing() -> None:
    classes, x = CARD["synapse"].classes, 2
    present: dict[str, list[bool]] = {"gallbladder": [], "spleen": [], "left kidney": [], "liver": []}
    for group in range(24):
        label = draw("synapse", 0, group).label
        at = {name: np.argwhere(label == k)[:, x].mean() for k, name in enumerate(classes) if k and (label == k).any()}
        for name, seen in present.items():
            seen.append(name in at)
        left = [at[name] for name in ("spleen", "left kidney", "left adrenal gland") if name in at]
        right = [at[name] for name in ("right kidney", "right adrenal gland") if name in at]
        assert min(left) > max(right)
        assert at["liver"] < min(left)
    assert all(present["liver"])
    assert all(0 < sum(present[name]) < 24 for name in ("gallbladder", "spleen", "left kidney"))


def test_whole_heart_is_nested() -> None:
    label = draw("mmwhs", 0, 1).label
    assert all((label == k).sum() > 300 for k in range(1, 5))
    middle = [np.argwhere(label == k).mean(axis=0) for k in range(5)]
    assert middle[4][2] > middle[3][2]  # the aorta above the ventricle
    assert middle[2][1] > middle[3][1]  # the atrium behind it
