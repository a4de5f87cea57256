"""Verify and audit: planted faults and planted duplicates are found, and nothing else."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, zoom
from support.data_toys import Filed, Procedural, card, write_cases

from semibench import Case, CaseRef, Dataset, DatasetOptions, Frame, Split, Truth
from semibench.data.audit import Audit, SimilarPair, audit, find_crossings, group_rows, group_table, write_group_table
from semibench.data.likeness import fingerprint, perceptual_hashes
from semibench.data.verify import verify


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- audit ---


def speckle(seed: int, size: int = 128) -> np.ndarray:
    """A speckle image in [0, 1] as machines of one kind make it: same layers and attenuation, another lesion and speckle."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))
    envelope = np.abs(gaussian_filter(waves.real, (1.0, 2.5)) + 1j * gaussian_filter(waves.imag, (1.0, 2.5)))
    y, x = np.mgrid[:size, :size] / size
    centre, radius = rng.uniform(0.35, 0.65, 2), rng.uniform(0.1, 0.2)
    lesion = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
    brightness = np.exp(-1.5 * y) * (1 + 0.5 * (np.abs(y - 0.15) < 0.04)) * np.where(lesion, 0.25, 1.0)
    image = np.log1p(40 * envelope * brightness)
    return (image / image.max()).astype(np.float32)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray((image * 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer), dtype=np.float32) / 255


class Shown(Dataset):
    """Images from memory; group = id unless another is given."""

    def __init__(
        self, images: Mapping[str, np.ndarray], groups: Mapping[str, str] | None = None, dims: int = 2
    ) -> None:
        super().__init__(None, DatasetOptions())
        self.images, self.groups, self.fingerprint = images, groups or {}, "shown"
        self.card = card(dims)  # type: ignore[misc]

    def index(self) -> list[CaseRef]:
        return [CaseRef("toy", name, self.groups.get(name, name), "a", False) for name in sorted(self.images)]

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        return ()

    def read(self, ref: CaseRef) -> Case:
        image = torch.from_numpy(np.ascontiguousarray(self.images[ref.id], dtype=np.float32))[None]
        return Case(ref, image, None, None, Frame(tuple(image.shape[1:])))

    def truth(self, ref: CaseRef) -> Truth | None:
        return None


def planted() -> dict[str, np.ndarray]:
    images = {f"s{n:02}": speckle(n) for n in range(40)}
    images["d-exact"] = images["s03"].copy()
    images["d-jpeg"] = jpeg(images["s05"], 60)
    images["d-small"] = zoom(images["s07"], 0.75, order=1)
    images["d-large"] = np.clip(jpeg(zoom(images["s09"], 1.6, order=1), 80) * 0.9 + 0.05, 0, 1)
    images["d-left"] = images["s11"][:, ::-1]
    images["d-upside"] = jpeg(images["s13"][::-1].copy(), 75)
    images["d-both"] = zoom(images["s15"][::-1, ::-1], 1.3, order=1)
    return images


PLANTED = {
    ("d-exact", "s03"): "identical", ("d-jpeg", "s05"): "near", ("d-small", "s07"): "near", ("d-large", "s09"): "near",
    ("d-left", "s11"): "flipped", ("d-upside", "s13"): "flipped", ("d-both", "s15"): "flipped",
}  # fmt: skip


def test_planted_duplicates_are_found_and_nothing_else() -> None:
    found = audit(Shown(planted()))
    assert {(pair.a, pair.b): pair.kind for pair in found.pairs} == PLANTED
    assert found.cases == 47
    table = {row.case: row.group for row in found.rows}
    assert table == {name: min(pair) for pair in PLANTED for name in pair}
    assert all(
        other in row.reason
        for row in found.rows
        for pair in PLANTED
        for other in pair
        if row.case in pair and other != row.case
    )
    assert "1 identical, 3 near, 3 flipped" in found.summary()


def test_speckle_images_of_different_cases_make_no_pair() -> None:
    assert audit(Shown({f"s{n:03}": speckle(1000 + n, 64) for n in range(150)})).pairs == ()


def test_hashes_of_flips_are_the_hashes_of_flipped_images() -> None:
    image = speckle(1, 32).astype(np.float64)
    hashes = perceptual_hashes(image)
    for number, flipped in enumerate((image, image[::-1], image[:, ::-1], image[::-1, ::-1])):
        assert np.bitwise_count(perceptual_hashes(flipped)[0] ^ hashes[number]) <= 1  # rounding at the median
    assert len(set(hashes.tolist())) == 4


def test_a_chain_of_pairs_and_official_groups_become_one_group() -> None:
    refs = [CaseRef("toy", name, group, "a", True) for name, group in zip("abcdef", "PPQRSS", strict=True)]
    rows = group_rows(refs, [SimilarPair("b", "c", "near", 3, 0.95), SimilarPair("c", "d", "identical", 0, 1.0)])
    assert [(row.case, row.group) for row in rows] == [("a", "P"), ("b", "P"), ("c", "P"), ("d", "P")]
    assert rows[0].reason == "same group: P" and rows[1].reason == "near (3 bits, r 0.950): c"
    merged = {row.case: row.group for row in rows}
    again = [replace(ref, group=merged.get(ref.id, ref.group)) for ref in refs]
    assert {row.case: row.group for row in group_rows(again, [SimilarPair("b", "c", "near", 3, 0.95)])} == merged


def test_groups_that_cross_a_split_are_named() -> None:
    refs = {name: CaseRef("toy", name, name, "a", True) for name in "abcde"}
    split = Split((refs["a"],), (refs["b"],), (refs["c"],), (refs["d"], refs["e"]))
    assert find_crossings("random", split) == []
    (crossing,) = find_crossings("random", split, {"b": "x", "d": "x"})
    assert (crossing.split, crossing.group) == ("random", "x")
    assert crossing.roles == {"unlabeled": ("b",), "test": ("d",)}
    assert find_crossings("random", split, {"a": "x", "b": "x", "d": "y", "e": "y"}) == []
    images = {name: speckle(ord(name)) for name in "abce"} | {"d": speckle(ord("b"))}
    found = audit(Shown(images), {"random": split})
    assert [c.roles for c in found.crossings] == [{"unlabeled": ("b",), "test": ("d",)}]


def test_volumes_are_near_only_at_one_shape() -> None:
    rng = np.random.default_rng(0)
    stack = np.stack([speckle(n, 48) for n in range(6)], axis=2)
    noisy = (stack + rng.normal(0, 0.01, stack.shape)).astype(np.float32)
    images = {"a": stack, "b": noisy, "c": noisy[:, :, :5], "d": stack[:, ::-1], "e": np.roll(stack, 1, 2)}
    found = audit(Shown(images, dims=3))
    assert {(p.a, p.b, p.kind) for p in found.pairs} == {
        ("a", "b", "near"),
        ("a", "d", "flipped"),
        ("b", "d", "flipped"),
    }


def test_flat_images_are_compared_by_content_only() -> None:
    found = audit(Shown({"a": np.zeros((40, 40)), "b": np.zeros((40, 40)), "c": np.ones((40, 40))}))
    assert [(pair.a, pair.b, pair.kind) for pair in found.pairs] == [("a", "b", "identical")]
    assert fingerprint(torch.zeros(1, 8, 8)).content != fingerprint(torch.zeros(1, 4, 16)).content


def test_the_table_goes_to_the_data_or_to_the_cache(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    found = audit(Shown(planted()))
    path = write_group_table(found, "toy", root)
    assert path == root / "semibench_groups.csv" and list(root.iterdir()) == [path]
    assert group_table("toy", root) == {row.case: row.group for row in found.rows}
    with path.open(newline="") as stream:
        assert next(csv.reader(stream)) == ["case", "group", "reason"]
    assert write_group_table(Audit("toy", 0, (), (), ()), "toy", root) == path and group_table("toy", root) == {}
    assert write_group_table(found, "toy", None) == own_cache / "groups" / "toy.csv"

    real = os.replace
    monkeypatch.setattr(
        Path, "replace", lambda self, target: real(self, target) if "groups" in str(target.parent) else refuse()
    )
    other = tmp_path / "other"
    other.mkdir()
    assert write_group_table(found, "toy", other) == own_cache / "groups" / "toy.csv"
    assert list(other.iterdir()) == [] and len(group_table("toy", other)) == 14


def refuse() -> None:
    raise PermissionError("read-only")


# --- verify ---


def checks(dataset: Dataset, **options: bool) -> set[tuple[str, str, str | None]]:
    return {(found.level, found.check, found.case) for found in verify(dataset, **options)}


class Sized(Filed):
    """`Filed` with honest frames."""

    def read(self, ref: CaseRef) -> Case:
        case = super().read(ref)
        return replace(case, frame=Frame(tuple(case.image.shape[1:])))


def test_good_files_give_no_finding(tmp_path: Path) -> None:
    write_cases(tmp_path)
    assert verify(Sized(tmp_path)) == []
    assert verify(Procedural([(8, 8)] * 3)) == []


def test_a_missing_layout_shows_the_expected_tree(tmp_path: Path) -> None:
    (finding,) = verify(Filed(tmp_path))
    assert (finding.level, finding.check) == ("error", "layout") and "image/*.npy" in finding.message


def test_each_planted_fault_is_found_at_its_case(tmp_path: Path) -> None:
    write_cases(tmp_path, count=7)
    label = tmp_path / "label"
    (label / "c0.npy").unlink()
    (label / "c1.npy").write_bytes(b"")
    np.save(label / "c2.npy", np.zeros((8, 5), np.uint8))
    np.save(label / "c3.npy", np.full((8, 6), 9, np.uint8))
    (tmp_path / "image" / "c4.npy").write_bytes(b"no array")
    np.save(tmp_path / "image" / "c5.npy", np.full((8, 6), 3, np.float32))
    found = checks(Sized(tmp_path))
    assert found == {
        ("warning", "count", None), ("error", "files", "c0"), ("error", "files", "c1"), ("error", "case", "c2"),
        ("error", "case", "c3"), ("error", "case", "c4"), ("warning", "case", "c5"),
    }  # fmt: skip
    assert ("error", "case", "c2") not in checks(Sized(tmp_path), decode=False)


def test_bytes_that_changed_unseen_are_found(tmp_path: Path) -> None:
    write_cases(tmp_path)
    then = time.time() - 60
    for path in tmp_path.rglob("*.npy"):
        os.utime(path, (then, then))
    assert verify(Sized(tmp_path)) == []
    file = tmp_path / "image" / "c1.npy"
    state, data = file.stat(), bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(bytes(data))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert checks(Sized(tmp_path), reread=False) == set()
    assert checks(Sized(tmp_path)) == {("error", "hash", "c1")}
    assert checks(Sized(tmp_path)) == set(), "from now on the new bytes are what is known"


def test_labels_truths_and_splits_are_looked_at(tmp_path: Path) -> None:
    class Odd(Procedural):
        def label(self, ref: CaseRef) -> torch.Tensor:
            return torch.zeros((8, 8), dtype=torch.uint8)

        def read(self, ref: CaseRef) -> Case:
            case = super().read(ref)
            case.image[0, 0, 0] = 1
            return case

        def truth(self, ref: CaseRef) -> Truth:
            return Truth(torch.zeros((9, 8), dtype=torch.uint8), None)

        def splits(self) -> Mapping[str, Split]:
            a, b = self.index()
            return {
                "leaky": Split((a,), (), (), (replace(b, group=a.group),)),
                "bad": Split((), (), (), (replace(a, id="x"),)),
            }

    found = verify(Odd([(8, 8)] * 2))
    said = {(finding.level, finding.check, finding.case) for finding in found}
    assert said == {
        ("error", "truth", "000"), ("error", "truth", "001"), ("warning", "labels", None), ("note", "labels", None),
        ("error", "splits", None), ("warning", "splits", None),
    }  # fmt: skip
    assert any("one, two" in finding.message for finding in found)
