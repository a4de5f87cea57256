"""Image data sets on tiny copies of their official layouts, written here, and on real files where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from support.places import real_data

from semibench import CaseError, Dataset, DatasetOptions, LayoutError, PhantomOptions, UsageError
from semibench.blocks import IMAGENET_MEAN, IMAGENET_STD
from semibench_plugins.datasets.breast import published_splits as breast_splits
from semibench_plugins.datasets.breast.bus_bra import BUSBRA
from semibench_plugins.datasets.breast.busi import BUSI, BUSIOptions
from semibench_plugins.datasets.breast.busis import BUSIS
from semibench_plugins.datasets.breast.udiat import UDIAT
from semibench_plugins.datasets.cards import CARDS, semibench_datasets
from semibench_plugins.datasets.fetal.hc18 import HC18
from semibench_plugins.datasets.thyroid.tnscui2020 import TNSCUI2020
from semibench_plugins.datasets.thyroid.tus import TUS


@pytest.fixture(autouse=True)
def no_group_tables(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def real(folder: str) -> Path:
    return real_data(folder).parent


def save(path: Path, array: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)


def picture(height: int = 12, width: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def square(height: int = 12, width: int = 16, at: tuple[int, int] = (2, 3), side: int = 4) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[at[0] : at[0] + side, at[1] : at[1] + side] = 255
    return mask


def busi_folder(root: Path) -> Path:
    base = root / "Dataset_BUSI_with_GT"
    save(base / "benign" / "benign (1).png", picture(), "RGB")
    save(base / "benign" / "benign (1)_mask.png", square())
    save(base / "benign" / "benign (4).png", picture(seed=1))
    save(base / "benign" / "benign (4)_mask.png", square(), "1")
    save(base / "benign" / "benign (4)_mask_1.png", square(at=(7, 10)), "RGB")
    save(base / "benign" / "benign (4)_mask_2.png", square(at=(0, 0), side=1))
    save(base / "malignant" / "malignant (1).png", picture(seed=2), "RGBA")
    save(base / "malignant" / "malignant (1)_mask.png", square() // 255)
    save(base / "normal" / "normal (1).png", picture(seed=3))
    save(base / "normal" / "normal (1)_mask.png", np.zeros((12, 16), np.uint8))
    return root


# --- cards -----------------------------------------------------------------------------------------------------------


def test_cards_name_their_classes_and_trees() -> None:
    assert tuple(semibench_datasets()) == CARDS
    assert len({card.name for card in CARDS}) == len(CARDS) == 18
    names = {card.name for card in CARDS}
    for card in CARDS:
        module, name = card.load.split(":")
        cls = getattr(__import__(module, fromlist=[name]), name)
        assert issubclass(cls, Dataset) and cls.card is card
        assert cls.Options().edition == card.editions[0]
        assert card.tree.startswith("<root>/") and card.obtain and card.terms and card.cases
        assert set(card.similar) <= names and card.classes[0] == "background"
        assert (card.slice_axis is None) == (card.dims == 2)


def test_official_counts() -> None:
    counts = {card.name: card.cases for card in CARDS}
    assert counts == {
        "busi": 780, "busis": 562, "udiat": 163, "tus": 1942, "tnscui2020": 3644, "bus-bra": 1875, "hc18": 999,
        "la": 100, "mmwhs": 40, "mnms": 640, "msd-hippocampus": 260, "isic2018": 2594, "acdc": 200, "promise12": 50,
        "pancreas": 82, "brats19": 335, "synapse": 30, "amos22": 360,
    }  # fmt: skip


@pytest.mark.parametrize("cls", [BUSI, BUSIS, UDIAT, TUS, TNSCUI2020, BUSBRA, HC18])
def test_missing_folder_shows_tree_and_what_is_there(cls: type[Dataset], tmp_path: Path) -> None:
    (tmp_path / "something_else").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    for root in (tmp_path, tmp_path / "absent", None):
        with pytest.raises(LayoutError) as caught:
            cls(root, cls.Options()).index()
        text = str(caught.value)
        assert cls.card.tree in text and cls.card.obtain in text
        assert ("something_else" in text and "notes.txt" in text) == (root == tmp_path)


@pytest.mark.parametrize("cls", [BUSI, BUSIS, UDIAT, TUS, TNSCUI2020, BUSBRA, HC18])
def test_phantom_matches_card(cls: type[Dataset]) -> None:
    for edition in cls.card.editions:
        options = cls.Options(size=(32, 40), edition=edition)
        case_set = cls.phantom(options, PhantomOptions(cases=4))
        refs = case_set.index()
        case = case_set.read(refs[0])
        assert len(refs) == 4 and {ref.domain for ref in refs} <= set(cls.card.domains)
        assert case.image.shape == (cls.card.channels, 32, 40) and case.label is not None
        assert int(case.label.max()) < len(cls.card.classes)
        assert (float(case.image.min()) < 0) == (edition == "imagenet")


def test_unknown_edition_and_size() -> None:
    with pytest.raises(UsageError, match="no edition 'best'; it has: mgcc, imagenet"):
        BUSI(None, BUSIOptions(edition="best"))
    with pytest.raises(ValidationError, match="height, width"):
        BUSIOptions(size=(4, 4, 4))
    assert BUSI(None, DatasetOptions(size=(8, 8))).options == BUSIOptions(size=(8, 8))


# --- BUSI ------------------------------------------------------------------------------------------------------------


def test_busi_merges_all_masks(tmp_path: Path) -> None:
    data = BUSI(busi_folder(tmp_path), BUSIOptions())
    refs = {ref.id: ref for ref in data.index()}
    assert list(refs) == ["benign (1)", "benign (4)", "malignant (1)", "normal (1)"]
    assert all(ref.group == ref.id and ref.has_label and ref.domain == "default" for ref in refs.values())
    merged = (square() > 0) | (square(at=(7, 10)) > 0) | (square(at=(0, 0), side=1) > 0)
    truth = data.truth(refs["benign (4)"])
    assert truth is not None and np.array_equal(truth.label.numpy(), merged) and truth.spacing is None
    assert truth.label.dtype == torch.uint8 and int(truth.label.sum()) == 16 + 16 + 1
    assert [path.name for path in data.files(refs["benign (4)"])] == [
        "benign (4).png", "benign (4)_mask.png", "benign (4)_mask_1.png", "benign (4)_mask_2.png",
    ]  # fmt: skip
    malignant, normal = data.truth(refs["malignant (1)"]), data.truth(refs["normal (1)"])
    assert malignant is not None and int(malignant.label.sum()) == 16  # stored as 0 and 1
    assert normal is not None and int(normal.label.sum()) == 0
    first = BUSI(tmp_path, BUSIOptions(first_mask_only=True)).truth(refs["benign (4)"])
    assert first is not None and np.array_equal(first.label.numpy(), square() > 0)


def test_busi_reads_to_unit_range_once(tmp_path: Path) -> None:
    root = busi_folder(tmp_path)
    native = BUSI(root, BUSIOptions())
    ref = native.index()[1]
    case = native.read(ref)
    assert case.image.dtype == torch.float32 and case.image.shape == (3, 12, 16)
    assert np.allclose(case.image.numpy(), picture(seed=1)[None] / 255, atol=1e-7)
    coloured = BUSI(root, BUSIOptions(edition="imagenet")).read(ref)
    expected = (picture(seed=1) / 255 - np.array(IMAGENET_MEAN)[:, None, None]) / np.array(IMAGENET_STD)[:, None, None]
    assert np.allclose(coloured.image.numpy(), expected, atol=1e-5)


def test_busi_resize_and_way_back(tmp_path: Path) -> None:
    data = BUSI(busi_folder(tmp_path), BUSIOptions(size=(24, 48)))
    ref = data.index()[0]
    case, truth = data.read(ref), data.truth(ref)
    assert case.image.shape == (3, 24, 48) and case.label is not None and case.label.shape == (24, 48)
    assert case.frame.shape == (12, 16) and case.frame.extent == ((0, 12), (0, 16)) and truth is not None
    back = case.label.reshape(12, 2, 16, 3)[:, 0, :, 1]  # an integer factor: nearest is exact both ways
    assert torch.equal(back, truth.label)
    small = BUSI(tmp_path, BUSIOptions(size=(6, 8))).read(ref)
    mean = torch.nn.functional.avg_pool2d(case.image[:, ::2, ::3][None], 2)[0]
    assert float((small.image - mean).abs().mean()) < 0.1  # antialiased: close to the mean of what it covers


def test_busi_options_have_one_form() -> None:
    both = (BUSIOptions(lesions_only=True), BUSIOptions(include="benign, malignant"))  # type: ignore[arg-type]
    assert both[0] == both[1] and both[0].include == ("benign", "malignant") and both[0].lesions_only
    assert BUSIOptions.model_validate(both[0].model_dump()) == both[0]
    assert not BUSIOptions().lesions_only
    with pytest.raises(ValidationError, match="include takes some of"):
        BUSIOptions(include=("bening",))


def test_busi_include(tmp_path: Path) -> None:
    root = busi_folder(tmp_path)
    assert [r.id for r in BUSI(root, BUSIOptions(lesions_only=True)).index()] == [
        "benign (1)", "benign (4)", "malignant (1)",
    ]  # fmt: skip


def test_busi_group_table(tmp_path: Path) -> None:
    root = busi_folder(tmp_path)
    (root / "semibench_groups.csv").write_text("case,group,reason\nbenign (4),benign (1),same pixels\n")
    groups = {ref.id: ref.group for ref in BUSI(root, BUSIOptions()).index()}
    assert groups["benign (4)"] == "benign (1)" == groups["benign (1)"] and groups["normal (1)"] == "normal (1)"


def test_busi_errors_name_the_file(tmp_path: Path) -> None:
    base = busi_folder(tmp_path) / "Dataset_BUSI_with_GT"
    save(base / "benign" / "benign (4)_mask_1.png", square(13, 16))
    (base / "normal" / "normal (1).png").write_bytes(b"no picture")
    save(base / "malignant" / "malignant (1).png", np.zeros((12, 16), np.uint16))
    data = BUSI(tmp_path, BUSIOptions())
    refs = {ref.id: ref for ref in data.index()}
    with pytest.raises(CaseError, match=r"benign \(4\)_mask_1.png: the mask has 16 x 13 pixels, its image 16 x 12"):
        data.read(refs["benign (4)"])
    with pytest.raises(CaseError, match=r"normal \(1\).png: can't be read as an image"):
        data.read(refs["normal (1)"])
    with pytest.raises(CaseError, match=r"malignant \(1\).png: expected an 8-bit image"):
        data.read(refs["malignant (1)"])
    (base / "benign" / "benign (1)_mask.png").unlink()
    save(base / "benign" / "benign (9)_mask.png", square())
    with pytest.raises(
        LayoutError, match=r"benign \(1\).png: expected the mask of benign/benign \(1\).*1 other problems"
    ):
        BUSI(tmp_path, BUSIOptions()).index()


def test_busi_offers_splits_that_fit_its_options(tmp_path: Path) -> None:
    root = busi_folder(tmp_path)
    every = BUSI(root, BUSIOptions()).splits()
    assert not list(every) and "mgcc-41" in every and "benchmark647-1" not in every  # 4 of 780 images are there
    with pytest.raises(LayoutError, match=r"'mgcc-64' of data set 'busi' names 780 cases, 776 of which are not among"):
        every["mgcc-64"]
    lesions = BUSI(root, BUSIOptions(lesions_only=True)).splits()
    assert "csc-pa-fold5-64" in lesions and "benchmark647-2" in lesions and "mgcc-41" not in lesions
    with pytest.raises(LayoutError, match=r"'benchmark647-1' of data set 'busi' names 647 cases, 644 of which"):
        lesions["benchmark647-1"]
    assert not BUSI(root, BUSIOptions(include=("benign",))).splits()


def test_busi_complete_has_its_published_splits(tmp_path: Path) -> None:
    for name in breast_splits.busi_ids(("benign", "malignant", "normal")):
        folder = tmp_path / name.split(" ")[0]
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.png").touch()
        (folder / f"{name}_mask.png").touch()
    data = BUSI(tmp_path, BUSIOptions())
    assert len(data.index()) == data.card.cases == 780
    splits = data.splits()
    assert list(splits) == [f"mgcc-{s}" for s in (41, 64, 1337)] + [f"mgcc-code-{s}" for s in (41, 64, 1337)]
    assert [len(pool) for pool in splits["mgcc-41"].roles().values()] == [263, 263, 0, 254]
    lesions = BUSI(tmp_path, BUSIOptions(lesions_only=True)).splits()
    assert len(lesions) == 3 + 15 and len(lesions["csc-pa-fold1-64"].labeled) == 64


# --- flat folders: BUSIS, UDIAT, TN-SCUI, TUS ------------------------------------------------------------------------


def test_busis_takes_any_flat_folder(tmp_path: Path) -> None:
    save(tmp_path / "a" / "busis" / "case001.bmp", picture())
    save(tmp_path / "a" / "busis" / "case002.jpg", picture(seed=1))
    bare = BUSIS(tmp_path / "a", BUSIS.Options())
    assert [(r.id, r.has_label) for r in bare.index()] == [("case001", False), ("case002", False)]
    case = bare.read(bare.index()[0])
    assert case.label is None and bare.truth(bare.index()[0]) is None and len(bare.files(bare.index()[0])) == 1
    save(tmp_path / "b" / "images" / "x.png", picture())
    save(tmp_path / "b" / "images" / "y.png", picture())
    save(tmp_path / "b" / "GT" / "x_GT.png", square())
    some = BUSIS(tmp_path / "b", BUSIS.Options())
    assert [(r.id, r.has_label) for r in some.index()] == [("x", True), ("y", False)]
    save(tmp_path / "c" / "x.png", picture())
    save(tmp_path / "c" / "x_mask.png", square())
    assert [(r.id, r.has_label) for r in BUSIS(tmp_path / "c", BUSIS.Options()).index()] == [("x", True)]


@pytest.mark.parametrize(("images", "masks"), [("original", "GT"), ("img", "label")])
def test_udiat_pairs_by_name(tmp_path: Path, images: str, masks: str) -> None:
    for n in (1, 2):
        save(tmp_path / "BUS" / images / f"00000{n}.png", picture(seed=n))
        save(tmp_path / "BUS" / masks / f"00000{n}.png", square())
    data = UDIAT(tmp_path, UDIAT.Options())
    assert [r.id for r in data.index()] == ["000001", "000002"] and not data.splits()
    (tmp_path / "BUS" / masks / "000002.png").unlink()
    with pytest.raises(LayoutError, match=r"000002.png: expected the mask of 000002 beside it, found none"):
        UDIAT(tmp_path, UDIAT.Options()).index()


def test_udiat_folds(tmp_path: Path) -> None:
    pixel = np.zeros((2, 2), np.uint8)
    for n in range(1, 164):
        save(tmp_path / "original" / f"{n:06d}.png", pixel)
        save(tmp_path / "GT" / f"{n:06d}.png", pixel)
    split = UDIAT(tmp_path, UDIAT.Options()).splits()["csc-pa-fold1-33"]
    assert len(split.labeled) == 33 and len(split.labeled) + len(split.unlabeled) == 130 and len(split.test) == 33


def test_tnscui_upper_case_and_borders(tmp_path: Path) -> None:
    base = tmp_path / "TNSCUI2020_train"
    framed = np.zeros((20, 24), np.uint8)
    framed[4:16, 5:21] = 100
    mask = square(20, 24, at=(6, 7))
    for name, image in (("1", framed), ("10", framed), ("2", np.zeros((20, 24), np.uint8))):
        save(base / "image" / f"{name}.PNG", image)
        save(base / "mask" / f"{name}.PNG", mask)
    plain = TNSCUI2020(tmp_path, TNSCUI2020.Options())
    assert [r.id for r in plain.index()] == ["1", "10", "2"]
    ref = plain.index()[0]
    assert plain.read(ref).image.shape == (3, 20, 24)
    cropped = TNSCUI2020(tmp_path, TNSCUI2020.Options(drop_borders=True))
    case, truth = cropped.read(ref), cropped.truth(ref)
    assert case.frame.shape == (20, 24) and case.frame.box == ((4, 16), (5, 21)) and case.image.shape == (3, 12, 16)
    assert float(case.image.min()) == pytest.approx(100 / 255) and case.label is not None and truth is not None
    back = torch.zeros(20, 24, dtype=torch.uint8)
    back[4:16, 5:21] = case.label
    assert torch.equal(back, truth.label)
    assert cropped.read(cropped.index()[2]).frame.box is None  # all dark: kept whole


def test_tus_patients_and_machines(tmp_path: Path) -> None:
    for name in ("p1_a", "p1_b", "p2_a"):
        save(tmp_path / "images" / f"{name}.png", picture())
        save(tmp_path / "masks" / f"{name}.png", square())
    table = tmp_path / "tus.csv"
    table.write_text("ID,Patient,Machine\np1_a,1,1\np1_b.png,1,machine-3\np2_a,2,2\n")
    refs = TUS(tmp_path, TUS.Options()).index()
    assert [(r.id, r.group, r.domain) for r in refs] == [
        ("p1_a", "1", "machine-1"), ("p1_b", "1", "machine-3"), ("p2_a", "2", "machine-2"),
    ]  # fmt: skip
    table.write_text("id,patient,machine\np1_a,1,9\np1_b,1,1\np2_a,2,2\n")
    with pytest.raises(LayoutError, match="machine '9' of p1_a; expected 1, 2 or 3"):
        TUS(tmp_path, TUS.Options()).index()
    table.write_text("id,patient\np1_a,1\n")
    with pytest.raises(LayoutError, match=r"tus.csv lacks the columns machine; it has: id, patient"):
        TUS(tmp_path, TUS.Options()).index()


# --- BUS-BRA ---------------------------------------------------------------------------------------------------------


def busbra_folder(root: Path) -> Path:
    base = root / "BUSBRA"
    devices = ("GE Logiq 7 @10-14MHz", "GE Logiq 5 @10-12MHz", "Toshiba Aplio 300 @12-14 MHz", "U-Systems @10-14MHz")
    rows, folds = ["ID,Case,Pathology,Device"], ["ID,Pathology,kFold,valid_1,valid_2"]
    for case in range(8):
        for side in "lr":
            name = f"{case:04d}-{side}"
            save(base / "Images" / f"bus_{name}.png", picture())
            save(base / "Masks" / f"mask_{name}.png", square(), "1")
            rows.append(f"bus_{name},{case},benign,{devices[case % 4]}")
            folds.append(f"bus_{name},benign,{case % 2 + 1}," + ("NaN,1" if case % 2 == 0 else f"{int(case > 1)},NaN"))
    (base / "bus_data.csv").write_text("\n".join(rows))
    (base / "5-fold-cv.csv").write_text("\n".join(folds))
    return root


def test_bus_bra_groups_devices_and_folds(tmp_path: Path) -> None:
    data = BUSBRA(busbra_folder(tmp_path), BUSBRA.Options())
    refs = data.index()
    assert len(refs) == 16 and len({r.group for r in refs}) == 8 and {r.domain for r in refs} == set(data.card.domains)
    case = data.read(refs[0])
    assert case.label is not None and int(case.label.sum()) == 16
    split = data.splits()["fold5-1"]
    assert {r.group for r in split.test} == {"0", "2", "4", "6"} and {r.group for r in split.validation} == {"1"}
    labeled, unlabeled = {r.group for r in split.labeled}, {r.group for r in split.unlabeled}
    assert len(labeled) == 2 and len(unlabeled) == 1 and not labeled & unlabeled
    assert split.validation_from == "official"
    (tmp_path / "BUSBRA" / "Masks" / "mask_0003-r.png").unlink()
    with pytest.raises(LayoutError, match=r"bus_0003-r.png: expected the mask of 0003-r beside it, found none"):
        BUSBRA(tmp_path, BUSBRA.Options()).index()


def test_bus_bra_real_files() -> None:
    data = BUSBRA(real("BUSBRA"), BUSBRA.Options(size=(96, 80)))
    refs = data.index()
    assert len(refs) == 238 and len({ref.group for ref in refs}) == 133
    domains = [ref.domain for ref in refs]
    assert [domains.count(name) for name in data.card.domains] == [113, 103, 18, 4]
    for ref in refs[::40]:
        case, truth = data.read(ref), data.truth(ref)
        assert case.image.shape == (3, 96, 80) and 0 <= float(case.image.min()) < float(case.image.max()) <= 1
        assert truth is not None and tuple(truth.label.shape) == case.frame.shape
        native, working = float(truth.label.float().mean()), float(case.label.float().mean())  # type: ignore[union-attr]
        assert working == pytest.approx(native, rel=0.06)
    for name, split in data.splits().items():
        groups = {role: {r.group for r in pool} for role, pool in split.roles().items()}
        assert not groups["test"] & (groups["labeled"] | groups["unlabeled"] | groups["validation"]), name
        assert sum(len(pool) for pool in split.roles().values()) == 238
    tested = [r.id for k in range(1, 6) for r in data.splits()[f"fold5-{k}"].test]
    assert sorted(tested) == [ref.id for ref in refs]
