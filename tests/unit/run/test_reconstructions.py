"""The sheet of pictures that a method makes of test images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from semibench import Case, CaseRef, Frame, PluginError
from semibench.evaluation.network import Network
from semibench.run import reconstructions
from semibench.run.reconstructions import Illustrated, Shown, draw_pictures, network_input


def case_of(image: Tensor, label: Tensor) -> Case:
    return Case(CaseRef("d", "1", "1", "a", True), image, label, None, Frame(tuple(label.shape)))


class Negative:
    """Shows the negative of an image, in two channels."""

    def pictures(self, images: Tensor) -> Mapping[str, Tensor]:
        return {"negative": -images.expand(-1, 2, *images.shape[2:])}


class Wrong:
    def pictures(self, images: Tensor) -> Mapping[str, Tensor]:
        return {"small": images[..., ::2]}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """The panels of each sheet, in place of files."""
    found: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(reconstructions, "sheet", lambda panels, path, **more: found.append((panels, more)) or path)
    return found


def test_a_row_shows_the_image_and_what_the_method_makes_of_it(drawn: list[Any]) -> None:
    images = [torch.rand(1, 8, 8) for _ in range(6)]
    shown = [Shown(f"best: {n}, Dice .9", case_of(image, torch.zeros(8, 8))) for n, image in enumerate(images)]
    path = draw_pictures(Negative(), shown, Network(2, (8, 8)), Path("method.png"), title="T")
    ((panels, more),) = drawn
    assert path == Path("method.png") and more["columns"] == 2 and more["title"] == "T"
    assert len(panels) == 8, "four cases"
    assert more["captions"][:4] == ["best: 0", "negative", "best: 1", "negative"]
    assert np.array_equal(panels[2], images[1]) and np.array_equal(panels[3], -images[1].expand(2, 8, 8))


def test_a_volume_shows_the_slice_with_most_foreground_as_the_network_gets_it(drawn: list[Any]) -> None:
    image, label = torch.rand(1, 5, 4, 6), torch.zeros(5, 4, 6, dtype=torch.uint8)
    label[3, :2], label[1, 0], label[2] = 1, 1, 255
    network = Network(2, (4, 6), slice_axis=0)
    assert torch.equal(network_input(case_of(image, label), network), image[:, 3])
    assert torch.equal(network_input(case_of(image, torch.zeros(5, 4, 6)), network), image[:, 2]), "the middle one"
    assert network_input(case_of(image, label), Network(2, (8, 8), slice_axis=0)).shape == (1, 8, 8)
    slab = network_input(case_of(image, label), Network(2, (4, 6), slice_axis=0, slab=3))
    assert torch.equal(slab, image[0, 2:5])
    whole = case_of(torch.rand(1, 8, 8, 8), torch.zeros(8, 8, 8))
    draw_pictures(Negative(), [Shown("v", whole)], Network(3, (8, 8, 8)), Path("method.png"))
    assert np.array_equal(drawn[-1][0][0], whole.image[:, 4]), "the middle of a volume"


def test_a_large_volume_shows_one_of_its_windows() -> None:
    whole = case_of(torch.rand(1, 16, 16, 16), torch.zeros(16, 16, 16))
    found = network_input(whole, Network(3, (8, 8, 8)))
    assert torch.equal(found, whole.image[:, 8:, :8, :8]), "number 4 of eight, which lie side by side"


def test_other_shapes_are_refused_and_methods_without_pictures_are_known(drawn: list[Any]) -> None:
    shown = [Shown("a", case_of(torch.rand(1, 8, 8), torch.zeros(8, 8)))]
    with pytest.raises(PluginError, match=r"Wrong.pictures: expected 'small' .* found \(1, 1, 8, 4\)"):
        draw_pictures(Wrong(), shown, Network(2, (8, 8)), Path("method.png"))
    assert isinstance(Negative(), Illustrated) and not isinstance(object(), Illustrated)
