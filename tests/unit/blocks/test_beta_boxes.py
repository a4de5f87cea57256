"""Boxes of CutMix with a size from a beta distribution."""

from __future__ import annotations

import pytest
import torch

from semibench.blocks import beta_box_mask


def test_boxes_have_one_size_and_are_cut_off_at_the_border() -> None:
    torch.manual_seed(0)
    expected = int(
        64
        * (1 - float(torch.distributions.Beta(torch.tensor(4.0).double(), torch.tensor(4.0).double()).sample())) ** 0.5
    )
    torch.manual_seed(0)
    masks = beta_box_mask((64, 64), batch=200)
    sides = torch.stack([masks.any(2).sum(1), masks.any(1).sum(1)])
    assert masks.dtype == torch.bool and int(sides.max()) == 2 * (expected // 2) and len(sides.unique()) > 1
    assert (masks.flatten(1).sum(1) == sides.prod(0)).all(), "rectangles"


def test_mean_share_and_lowest_centre() -> None:
    torch.manual_seed(1)
    shares = [
        float(beta_box_mask((512, 512), batch=1, shape=(8.0, 2.0), start=0.49)[0].float().mean()) for _ in range(200)
    ]
    assert 0.1 < sum(shares) / len(shares) < 0.2, "at most b / (a + b) = .2; centres in the last half lose a part"
    masks = beta_box_mask((64, 64), batch=500, shape=(1e3, 10.0))
    ends = masks.any(2).float().argmax(1)
    assert int(ends.min()) >= 8 - 8 and not masks[:, :4, :4].any()
    assert beta_box_mask((8, 8, 4), batch=2, start=0.0).shape == (2, 8, 8, 4)
    with pytest.raises(ValueError, match="start"):
        beta_box_mask((8, 8), batch=1, start=1.0)
