"""Pictures: the right pixels in the right places, read back from the files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from semibench import pictures
from semibench.pictures import Overlay


def pixels(path: Path) -> np.ndarray:
    """(H, W, 3) in 0..255."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def near(picture: np.ndarray, name: str, tolerance: int = 40) -> np.ndarray:
    """Where a colour is, as (H, W) bool."""
    colour = np.array([round(255 * part) for part in to_rgb(name)])
    return np.abs(picture - colour).max(axis=-1) < tolerance


def square(size: int, low: int, high: int, label: int = 1) -> np.ndarray:
    labels = np.zeros((size, size), np.uint8)
    labels[low:high, low:high] = label
    return labels


def test_overlay_draws_truth_and_prediction_where_they_are(tmp_path: Path) -> None:
    image = np.zeros((1, 64, 64), np.float32)
    truth, prediction = square(64, 8, 24), square(64, 40, 56, label=2)
    path = pictures.overlays([("case", image, truth, prediction)], tmp_path / "a" / "o.png", classes=("bg", "x", "y"))
    found = pixels(path)
    dark = np.abs(found).max(axis=-1) < 30
    rows, columns = np.nonzero(dark.sum(axis=1) > 150)[0], np.nonzero(dark.sum(axis=0) > 150)[0]  # the image, no text
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    scale = (bottom - top + 1) / 64
    inside = found[top : bottom + 1, left : right + 1]
    for colour, (low, high) in ((pictures.TRUTH, (8, 24)), (pictures.colour(2), (40, 56))):
        ys, xs = np.nonzero(near(inside, colour))
        for values in (ys, xs):
            assert values.min() == pytest.approx(low * scale, abs=3)
            assert values.max() == pytest.approx(high * scale, abs=3)
    assert not near(inside, pictures.colour(1)).any()  # class 1 isn't predicted


def test_a_mask_at_the_border_has_a_closed_outline(tmp_path: Path) -> None:
    labels = square(32, 0, 32)
    path = pictures.overlays([Overlay("all", np.zeros((32, 32)), labels)], tmp_path / "o.png")
    green = near(pixels(path), pictures.TRUTH)
    rows = np.nonzero(green.any(axis=1))[0]
    assert rows.max() - rows.min() > 200  # top and bottom line, not the legend alone


def test_tensors_empty_masks_and_missing_labels_are_drawn(tmp_path: Path) -> None:
    cases = [
        Overlay("tensor", torch.rand(1, 20, 30), torch.zeros(20, 30, dtype=torch.uint8), torch.zeros(20, 30)),
        Overlay("colour", np.random.default_rng(0).random((3, 20, 30))),
        Overlay("constant", np.full((20, 30), 7.0), None, np.full((20, 30), 255)),
    ]
    assert pixels(pictures.overlays(cases, tmp_path / "o.png", title="three")).size


def test_wrong_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one case"):
        pictures.overlays([], tmp_path / "o.png")
    with pytest.raises(ValueError, match=r"odd: the truth has shape \(3, 3\), the image \(4, 4\)"):
        pictures.overlays([("odd", np.zeros((4, 4)), np.zeros((3, 3)), None)], tmp_path / "o.png")
    with pytest.raises(ValueError, match="slice_of"):
        pictures.gray(np.zeros((1, 4, 4, 4)))
    with pytest.raises(ValueError, match="at least one image"):
        pictures.sheet([], tmp_path / "s.png")
    with pytest.raises(ValueError, match=r"steps at .*steps\.parquet"):
        pictures.loss_curves(tmp_path / "steps.parquet", tmp_path / "l.png")
    with pytest.raises(ValueError, match="logged steps"):
        pictures.loss_curves({"step": [], "stage": [], "name": [], "value": []}, tmp_path / "l.png")
    assert not list(tmp_path.iterdir())  # nothing half-written stays


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_fullest_slice_is_shown(axis: int) -> None:
    volume = np.random.default_rng(0).random((1, 6, 7, 8))
    truth = np.zeros((6, 7, 8), np.uint8)
    where: list[slice | int] = [slice(1, 4)] * 3
    where[axis] = 5
    truth[tuple(where)] = 1
    shown = pictures.slice_of("v", volume, truth, None, axis)
    assert shown.title == "v, slice 5"
    assert np.array_equal(shown.image, np.take(volume, 5, axis=axis + 1))
    assert shown.truth.sum() == 9
    assert shown.prediction is None
    empty = pictures.slice_of("v", volume, np.zeros_like(truth), truth, axis)
    assert empty.title == "v, slice 5"  # then the prediction decides
    assert pictures.slice_of("v", volume, None, None, axis).title == f"v, slice {(6, 7, 8)[axis] // 2}"
    with pytest.raises(ValueError, match=r"\(C, D, H, W\)"):
        pictures.slice_of("v", volume[0], truth, None)


def test_spread_takes_best_median_and_worst_once_each() -> None:
    values = dict(zip("abcdefg", [0.1, 0.9, 0.5, 0.3, 0.7, 0.2, math.nan], strict=True))
    assert pictures.spread(values, each=1) == [("b", "best"), ("d", "median"), ("a", "worst")]
    assert pictures.spread(values, each=2)[:2] == [("b", "best"), ("e", "best")]
    assert pictures.spread({"x": 0.5}, each=2) == [("x", "best")]
    assert pictures.spread({"x": math.nan}) == []
    assert pictures.spread({"b": 0.5, "a": 0.5, "c": 0.5}, each=1)[0] == ("a", "best")  # ties by name


def test_sheet_shows_every_image_in_order(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 40)
    images = [np.full((1, 40, 40), 0.0) for _ in range(4)]
    images[2][:] = np.tile(ramp, (40, 1))
    path = pictures.sheet(
        images, tmp_path / "s.png", captions=["a", "b", "c", "d"], columns=4, labels=[None] * 3 + [square(40, 10, 30)]
    )
    found = pixels(path)
    quarter = found.shape[1] // 4
    bright = (found[30:, :, :].min(axis=-1) > 100) & (found[30:].max(axis=-1) < 240)
    assert bright[:, 2 * quarter : 3 * quarter].sum() > 10 * max(1, bright[:, :quarter].sum())
    assert near(found[:, 3 * quarter :], pictures.colour(1)).any()


def test_gray_keeps_unit_range_and_stretches_others() -> None:
    unit = np.linspace(0.1, 0.9, 100).reshape(10, 10)
    assert np.allclose(pictures.gray(unit), unit)
    hounsfield = pictures.gray(np.linspace(-1000, 1000, 1000).reshape(1, 20, 50))
    assert (hounsfield.min(), hounsfield.max()) == (0.0, 1.0)
    assert np.isfinite(pictures.gray(np.array([[np.nan, 1.0], [2.0, 3.0]]))).all()


def test_loss_curves_from_a_file_of_two_stages(tmp_path: Path) -> None:
    rows = [
        (step, "one" if step < 100 else "two", name, 1 / (1 + step))
        for step in range(200)
        for name in ("loss/a", "weight/a", "lr/main")
    ]
    rows += [(step, "two", "validation/dice", 0.5) for step in (100, 150)]
    names = ("step", "stage", "name", "value")
    parquet.write_table(
        pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), tmp_path / "steps.parquet"
    )
    found = pixels(pictures.loss_curves(tmp_path / "steps.parquet", tmp_path / "l.png", title="run"))
    assert found.shape[0] > 500  # two rows of panels
    assert near(found, "#1f77b4").any()


def test_every_kind_of_curve_has_its_panel() -> None:
    names = {
        "loss/cross_dice": "loss",
        "weight/cross_dice": "weights",
        "lr/main": "learning rate",
        "note/dice": "other",
    }
    names |= {"validation/dice": "validation", "scale": "other"}
    assert {name: pictures._panel(name) for name in names} == names


def test_long_captions_take_more_lines_and_room(tmp_path: Path) -> None:
    case, words = (np.zeros((32, 32)), np.eye(32, dtype=int), None), "median: phantom-00021, Dice 0.046, slice 31"
    short, long = (
        pixels(pictures.overlays([(title, *case), (title, *case)], tmp_path / "o.png")) for title in ("a", words)
    )
    assert long.shape[1] == short.shape[1] and long.shape[0] > short.shape[0]


def test_long_curves_are_shortened_by_means() -> None:
    values = np.arange(4001, dtype=float)
    short = pictures._blocks(values, most=1000)
    assert len(short) <= 1001
    assert short[0] == pytest.approx(values[:5].mean())
    assert short[-1] == pytest.approx(values[-1 - (4000 % 5) :].mean())
    assert pictures._blocks(values[:10]).tolist() == list(range(10))


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    case = ("case", np.random.default_rng(1).random((1, 16, 16)), square(16, 2, 8), square(16, 3, 9))
    first = pictures.overlays([case], tmp_path / "1.png").read_bytes()
    assert pictures.overlays([case], tmp_path / "2.png").read_bytes() == first
