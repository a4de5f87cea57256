"""Label maps of phantoms are drawn once on a machine, and never differ from those that are drawn again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.data_toys import card

from semibench import CaseRef, DatasetOptions, PhantomOptions
from semibench.blocks import Drawing, PhantomDataset
from semibench.data.drawn_truths import DrawnTruths


class Stripes(PhantomDataset):
    """Case i has i + 1 rows of foreground; every third case has no physical size."""

    frames = 1

    def __init__(self, seed: int = 0) -> None:
        super().__init__(card(), DatasetOptions(), PhantomOptions(cases=5, seed=seed))
        self.drawn: list[int] = []

    def draw(self, group: int, frame: int, *, image: bool = True) -> Drawing:
        self.drawn.append(group)
        label = np.zeros((9, 7), np.uint8)
        label[: group + 1 + self.seed] = 1
        return Drawing(200.0 * label, label, None if group == 2 else (0.1, 1 / 3))


def truths(phantom: Stripes, folder: Path, refs: list[CaseRef]) -> list[tuple[int, tuple[float, ...] | None]]:
    """(rows of foreground, spacing) of each case, read as a run does."""
    kept = DrawnTruths(phantom, folder)
    found = [kept.truth(ref) for ref in refs]
    kept.write()
    assert all(truth.label.dtype == torch.uint8 and truth.label.shape == (9, 7) for truth in found)
    return [(int(truth.label.any(1).sum()), truth.spacing) for truth in found]


def test_only_what_is_new_is_drawn_and_everything_is_as_drawn(tmp_path: Path) -> None:
    first = Stripes()
    refs = first.index()
    assert truths(first, tmp_path, refs[:2]) == [(1, (0.1, 1 / 3)), (2, (0.1, 1 / 3))] and first.drawn == [0, 1]
    again = Stripes()
    assert truths(again, tmp_path, refs[::-1])[::-1] == truths(Stripes(), tmp_path / "elsewhere", refs)
    assert again.drawn == [4, 3, 2], "the others were kept"
    last = Stripes()
    assert truths(last, tmp_path, refs)[2] == (3, None) and last.drawn == []
    for ref in refs:
        kept, drawn = DrawnTruths(last, tmp_path).truth(ref), first.truth(ref)
        assert torch.equal(kept.label, drawn.label) and kept.spacing == drawn.spacing


def test_another_phantom_has_others(tmp_path: Path) -> None:
    refs = Stripes().index()
    truths(Stripes(), tmp_path, refs)
    other = Stripes(seed=1)
    assert truths(other, tmp_path, refs)[0] == (2, (0.1, 1 / 3)) and len(other.drawn) == 5


@pytest.mark.parametrize("damage", ["cut", "changed", "folder"])
def test_damage_costs_time_only(damage: str, tmp_path: Path) -> None:
    refs = Stripes().index()
    right = truths(Stripes(), tmp_path, refs)
    (file,) = tmp_path.rglob("*.npz")
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        content[len(content) // 3] ^= 0xFF
        file.write_bytes(content)
    else:
        file.unlink()
        file.parent.rmdir()
        file.parent.write_text("a file stands where the folder would be")
    assert truths(Stripes(), tmp_path, refs) == right
