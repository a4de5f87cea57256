"""Counts of classes and weights that balance them."""

from __future__ import annotations

import pytest
import torch

from semibench import IGNORE
from semibench.blocks import class_counts, inverse_frequency


def test_counts_leave_out_padding() -> None:
    labels = torch.tensor([[0, 0, 1, IGNORE], [3, 0, IGNORE, 1]])
    assert class_counts(labels, 5).tolist() == [3, 2, 0, 1, 0]
    assert class_counts(torch.full((2, 2), IGNORE), 2).tolist() == [0, 0]


def test_rare_classes_weigh_more() -> None:
    """Worked: CLD's cube roots of 1, 10 and 90."""
    counts = torch.tensor([900.0, 90.0, 10.0])
    assert inverse_frequency(counts, 1 / 3).tolist() == pytest.approx([1.0, 2.15443, 4.48140], abs=1e-5)
    assert inverse_frequency(counts, 0.0).tolist() == [1.0, 1.0, 1.0]


def test_a_class_that_is_nowhere_weighs_as_the_rarest() -> None:
    assert inverse_frequency(torch.tensor([0.0, 90.0, 10.0]).double()).tolist() == [9.0, 1.0, 9.0]
    with pytest.raises(ValueError, match="at least one class"):
        inverse_frequency(torch.zeros(2))
