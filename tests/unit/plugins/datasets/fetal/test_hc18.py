"""HC18: filling of outlines, groups, pixel sizes; on drawn ellipses and on real files where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from support.places import real_data

from semibench import CaseError, LayoutError
from semibench_plugins.datasets.fetal.hc18 import HC18, fill_outline


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def ellipse(height: int, width: int, box: tuple[int, int, int, int], filled: bool) -> np.ndarray:
    image = Image.new("L", (width, height), 0)
    ImageDraw.Draw(image).ellipse(box, outline=255, fill=255 if filled else None, width=2)
    return np.asarray(image)


def test_outline_is_filled() -> None:
    box = (10, 8, 70, 50)
    filled = fill_outline(ellipse(60, 80, box, False) > 0, Path("x.png"))
    assert np.array_equal(filled, ellipse(60, 80, box, True) > 0)


def test_outline_that_leaves_the_picture_is_closed_by_its_border() -> None:
    box = (10, 20, 70, 72)  # 12 rows below the last one
    filled = fill_outline(ellipse(60, 80, box, False) > 0, Path("x.png"))
    assert np.array_equal(filled, ellipse(60, 80, box, True) > 0)


def test_outline_with_a_small_gap_is_bridged_and_with_a_large_one_refused() -> None:
    outline = ellipse(60, 80, (10, 8, 70, 50), False) > 0
    whole = ellipse(60, 80, (10, 8, 70, 50), True) > 0
    outline[:20, 39:42] = False
    filled = fill_outline(outline, Path("x.png"))
    assert 2 * (filled & whole).sum() / (filled.sum() + whole.sum()) > 0.99
    outline[:20, 25:55] = False
    with pytest.raises(CaseError, match=r"007_HC_Annotation.png: the outline doesn't close"):
        fill_outline(outline, Path("007_HC_Annotation.png"))
    with pytest.raises(CaseError, match="contains no outline"):
        fill_outline(np.zeros((9, 9), bool), Path("x.png"))


def test_hc18_layout(tmp_path: Path) -> None:
    base = tmp_path / "HC18" / "training_set"
    for name in ("010_HC", "010_2HC", "011_HC"):
        save(base / f"{name}.png", np.full((60, 80), 90, np.uint8))
        save(base / f"{name}_Annotation.png", ellipse(60, 80, (10, 8, 70, 50), False))
    table = tmp_path / "HC18" / "training_set_pixel_size_and_HC.csv"
    head = "filename,pixel size(mm),head circumference (mm)\n"
    table.write_text(head + "010_HC.png,0.1,44\n010_2HC.png,0.2,45\n011_HC.png,0.3,46\n")
    data = HC18(tmp_path, HC18.Options(size=(30, 20)))
    assert [(r.id, r.group) for r in data.index()] == [("010_2HC", "010"), ("010_HC", "010"), ("011_HC", "011")]
    case, truth = data.read(data.index()[0]), data.truth(data.index()[0])
    assert case.frame.spacing == (0.2, 0.2) and case.spacing == pytest.approx((0.4, 0.8))
    assert truth is not None and truth.spacing == (0.2, 0.2)
    table.write_text(head + "010_HC.png,0.1,44\n010_2HC.png,0.2,45\n")
    with pytest.raises(LayoutError, match=r"011_HC.png has no row in training_set_pixel_size"):
        HC18(tmp_path, HC18.Options()).index()


def test_hc18_real_files() -> None:
    folder = real_data("HC18")
    data = HC18(folder.parent, HC18.Options(size=(96, 128)))
    refs = data.index()
    assert len(refs) == 123 and len({ref.group for ref in refs}) == 101
    circumference = {
        line.split(",")[0][:-4]: float(line.split(",")[2])
        for line in (folder / "training_set_pixel_size_and_HC.csv").read_text(encoding="utf-8").splitlines()[1:]
    }
    for ref in refs[::12]:
        truth = data.truth(ref)
        assert truth is not None and truth.spacing is not None
        rows, columns = np.nonzero(truth.label.numpy())
        spread = np.linalg.eigvalsh(np.cov(np.stack([rows, columns])))  # of a full ellipse: (half axis / 2) squared
        a, b = 2 * np.sqrt(spread) * truth.spacing[0]
        h = ((a - b) / (a + b)) ** 2
        ramanujan = np.pi * (a + b) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))
        assert ramanujan == pytest.approx(circumference[ref.id], rel=0.03)  # the table's own measurement
