"""How much darker lesions are than the rest: worked numbers, and what real ones show."""

from __future__ import annotations

import numpy as np
import pytest

from semibench import DatasetOptions, PhantomOptions
from semibench.discovery.registry import registry
from semibench_plugins.datasets.cards import CARDS
from semibench_plugins.phantoms.darkness import darkness

CARD = {card.name: card for card in CARDS}


def test_darkness_counts_pairs_and_half_of_the_ties() -> None:
    image = np.array([[1.0, 2.0, 2.0, 5.0]])
    # labeled 1 and 2 against 2 and 5: three pairs are darker, one is a tie
    assert darkness(image, np.array([[True, True, False, False]])) == pytest.approx(3.5 / 4)
    assert darkness(image, np.array([[False, False, False, True]])) == 0.0
    assert darkness(np.stack([image, image + 4, image]), np.array([[True, False, False, False]])) == 1.0


def test_darkness_needs_both_sorts_of_pixels() -> None:
    for mask in (np.zeros((2, 2), bool), np.ones((2, 2), bool)):
        with pytest.raises(ValueError, match="of 4 pixels are labeled"):
            darkness(np.zeros((2, 2)), mask)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["busi", "bus-bra", "tus", "tnscui2020"])
def test_lesions_are_darker_by_what_real_ones_are(name: str) -> None:
    """Real BUS-BRA: median .66, a quarter below .53, a quarter above .77."""
    phantom_class = registry().get("datasets", name).resolve().phantom_class
    data = phantom_class(CARD[name], DatasetOptions(), PhantomOptions())
    found = []
    for group in range(40):
        drawing = data.draw(group, 0)
        if drawing.label.any():
            found.append(darkness(drawing.image, drawing.label > 0))
    low, middle, high = np.quantile(found, [0.25, 0.5, 0.75])
    assert 0.35 < low < 0.65 and 0.52 < middle < 0.78 and 0.68 < high < 0.88
