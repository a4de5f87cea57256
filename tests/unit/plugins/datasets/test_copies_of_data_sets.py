"""Data sets as people have them: linked, repacked, with other endings, tables of spreadsheets and leftovers of systems. Everything
is found, or one line says what is wrong; no case is lost without a word."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.official_layouts import (
    LAYOUTS,
    Layout,
    blocks,
    bus_bra,
    busi,
    disc,
    folders,
    hc18,
    pairs,
    pancreas,
    picture,
    save_dicom,
    save_h5,
    save_nifti,
    save_picture,
    tus,
    volume,
)

from semibench import CaseError, Dataset, LayoutError
from semibench.blocks import read_id_list
from semibench.discovery.registry import registry
from semibench_plugins.datasets.abdomen.pancreas import Pancreas
from semibench_plugins.datasets.abdomen.synapse import Synapse
from semibench_plugins.datasets.brain.msd_hippocampus import MSDHippocampus
from semibench_plugins.datasets.breast.bus_bra import BUSBRA
from semibench_plugins.datasets.breast.busi import BUSI
from semibench_plugins.datasets.breast.udiat import UDIAT
from semibench_plugins.datasets.fetal.hc18 import HC18
from semibench_plugins.datasets.heart import published_splits as heart_splits
from semibench_plugins.datasets.heart.acdc import ACDC
from semibench_plugins.datasets.heart.la import LA
from semibench_plugins.datasets.thyroid.tus import TUS

SYNAPSE_CASES = ("0001", "0002", "0021")


def synapse(root: Path) -> None:
    pairs("imagesTr/img{case}.nii.gz", "labelsTr/label{case}.nii.gz", SYNAPSE_CASES, list(range(1, 14)))(root)


def opened(cls: type[Dataset], root: Path, **options: object) -> Dataset:
    return cls(root, cls.Options(**options))


def ids(data: Dataset) -> list[str]:
    return [ref.id for ref in data.index()]


# ---- places and names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_linked_folders_are_read_like_others(layout: Layout, tmp_path: Path) -> None:
    cls = registry().get("datasets", layout.dataset).resolve()
    options = {name.removeprefix("dataset."): value for name, _, value in (o.partition("=") for o in layout.options)}
    layout.write(tmp_path / "there")
    (tmp_path / "here").mkdir()
    for entry in (tmp_path / "there").iterdir():
        (tmp_path / "here" / entry.name).symlink_to(entry)
    there, here = (cls(tmp_path / name, cls.Options(**options)) for name in ("there", "here"))
    assert here.index() == there.index() and here.inspect() == []
    first = here.index()[0]
    assert np.array_equal(here.read(first).image.numpy(), there.read(first).image.numpy())


def test_capitals_in_endings_lose_no_case(tmp_path: Path) -> None:
    folder = "Task04_Hippocampus/{part}/{{case}}.nii.gz"
    cases = ("hippocampus_001", "hippocampus_003")
    pairs(folder.format(part="imagesTr"), folder.format(part="labelsTr"), cases, [1, 2])(tmp_path)
    for part in ("imagesTr", "labelsTr"):
        path = tmp_path / "Task04_Hippocampus" / part / "hippocampus_003.nii.gz"
        path.rename(path.with_name("hippocampus_003.NII.GZ"))
    data = opened(MSDHippocampus, tmp_path)
    assert ids(data) == list(cases) and data.inspect() == []
    assert data.read(data.index()[1]).label is not None


def test_capitals_in_a_mask_lose_no_case(tmp_path: Path) -> None:
    busi(tmp_path)
    benign = tmp_path / "Dataset_BUSI_with_GT" / "benign"
    (benign / "benign (1)_mask.png").rename(benign / "benign (1)_Mask.PNG")
    data = opened(BUSI, tmp_path)
    (ref,) = (ref for ref in data.index() if ref.id == "benign (1)")
    label = data.read(ref).label
    assert label is not None and data.inspect() == []
    assert np.array_equal(label.numpy() > 0, (disc() > 0) | (np.roll(disc(), 4, 1) > 0))


@pytest.mark.parametrize("ending", ["", ".png", ".PNG"])
def test_dots_in_names_are_no_endings(ending: str, tmp_path: Path) -> None:
    names = ("a", "pt1.2.3", "pt1.2.4")
    folders("images", "masks", names)(tmp_path)
    rows = "".join(f"{name}{ending},{n},1\n" for n, name in enumerate(names))
    (tmp_path / "tus.csv").write_text("id,patient,machine\n" + rows)
    data = opened(TUS, tmp_path)
    assert ids(data) == list(names) and [ref.group for ref in data.index()] == ["0", "1", "2"] and data.inspect() == []


def test_images_that_end_like_masks_pair_with_masks_of_the_same_name(tmp_path: Path) -> None:
    folders("BUS/original", "BUS/GT", ("1_seg", "2_seg"))(tmp_path)
    data = opened(UDIAT, tmp_path)
    assert ids(data) == ["1_seg", "2_seg"] and data.inspect() == []


def test_a_case_with_two_images_is_not_decided_by_chance(tmp_path: Path) -> None:
    synapse(tmp_path)
    save_nifti(tmp_path / "imagesTr" / "img0002.nii", volume(9))
    with pytest.raises(LayoutError, match=r"img0002\.nii and .*img0002\.nii\.gz: expected one file .* found 2; remove"):
        opened(Synapse, tmp_path).index()


def test_a_label_without_its_image_is_not_left_out(tmp_path: Path) -> None:
    synapse(tmp_path)
    (tmp_path / "imagesTr" / "img0002.nii.gz").unlink()
    with pytest.raises(LayoutError, match=r"label0002\.nii\.gz: expected the image of 0002 beside it, found none"):
        opened(Synapse, tmp_path).index()


# ---- copies of single data sets ---------------------------------------------------------------------------------------


def acdc_h5(root: Path, frames: dict[int, tuple[int, ...]]) -> None:
    for patient, numbers in frames.items():
        for number in numbers:
            save_h5(
                root / "ACDC" / "data" / f"patient{patient:03d}_frame{number:02d}.h5",
                volume(number) / 255,
                blocks([1, 2, 3]),
            )


def test_acdc_with_the_frame_numbers_of_the_archive_is_the_same_data_set(tmp_path: Path) -> None:
    acdc_h5(tmp_path / "numbered", {1: (1, 2), 90: (1, 2), 91: (1, 2)})
    acdc_h5(tmp_path / "archive", {1: (1, 12), 90: (4, 11), 91: (1, 2)})
    numbered, archive = (opened(ACDC, tmp_path / name, edition="ssl4mis") for name in ("numbered", "archive"))
    assert archive.index() == numbered.index() and len(archive.index()) == 6 and archive.inspect() == []
    image = archive.read(archive.index()[3]).image[0].numpy()
    assert archive.index()[3].id == "patient090_frame02" and np.array_equal(image, volume(11) / 255)


def test_an_acdc_patient_with_one_frame_of_the_archive_is_refused(tmp_path: Path) -> None:
    acdc_h5(tmp_path, {1: (1, 12), 2: (12,)})
    with pytest.raises(LayoutError, match=r"expected 2 annotated frames of patient002, found 1 \(12\)"):
        opened(ACDC, tmp_path, edition="ssl4mis").index()


def test_busi_with_masks_in_a_folder_of_their_own(tmp_path: Path) -> None:
    for n, kind in enumerate(("benign", "malignant", "normal")):
        for number in (1, 2):
            save_picture(tmp_path / kind / "images" / f"{kind} ({number}).png", picture(n))
        save_picture(tmp_path / kind / "mask" / f"{kind} (1)_mask.png", disc())
        save_picture(tmp_path / kind / "mask" / f"{kind} (2).png", disc())
    save_picture(tmp_path / "benign" / "mask" / "benign (1)_mask_1.png", np.roll(disc(), 4, 1))
    data = opened(BUSI, tmp_path)
    assert len(ids(data)) == 6 and data.inspect() == []
    truth = data.truth(data.index()[0])
    assert truth is not None and int(truth.label.sum()) > int((disc() > 0).sum())


def test_busi_images_of_one_name_in_two_classes_are_refused(tmp_path: Path) -> None:
    for kind in ("benign", "malignant", "normal"):
        save_picture(tmp_path / kind / "1.png", picture(0))
        save_picture(tmp_path / kind / "1_mask.png", disc())
    with pytest.raises(LayoutError, match=r"two images are called 1: .*benign.* and .*malignant"):
        opened(BUSI, tmp_path).index()


def test_busi_without_one_of_its_classes_says_so(tmp_path: Path) -> None:
    busi(tmp_path)
    shutil.rmtree(tmp_path / "Dataset_BUSI_with_GT" / "normal")
    assert len(ids(opened(BUSI, tmp_path, lesions_only=True))) == 2
    with pytest.raises(LayoutError, match=r"no images in .*normal \(option include=normal\)"):
        opened(BUSI, tmp_path).index()


def test_a_checkout_of_ua_mt_is_la(tmp_path: Path) -> None:
    cases = read_id_list(heart_splits.LISTS, "lists/la/train.list")[:2]
    folder = tmp_path / "data" / "2018LA_Seg_Training Set"
    for n, case in enumerate(cases):
        save_h5(folder / case / "mri_norm2.h5", volume(n), blocks([1]))
        (folder / case / "desktop.ini").write_text("[.ShellClassInfo]\n")
    for name in ("data/train.list", "data/desktop.ini", "code/train_LA_meanteacher.py", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n")
    data = opened(LA, tmp_path)
    assert ids(data) == sorted(cases) and data.inspect() == []


def test_a_second_copy_is_told(tmp_path: Path) -> None:
    busi(tmp_path)
    shutil.copytree(tmp_path / "Dataset_BUSI_with_GT", tmp_path / "busi")
    (problem,) = opened(BUSI, tmp_path).inspect()
    assert (
        problem.level == "warning"
        and "busi: expected one copy of BUSI, found 7 more files of it; only" in problem.message
    )


# ---- tables -----------------------------------------------------------------------------------------------------------


def test_an_image_of_two_patients_is_refused(tmp_path: Path) -> None:
    tus(tmp_path)
    (tmp_path / "tus.csv").write_text("id,patient,machine\na,1,1\nb,1,2\nc,2,3\nb,2,2\n")
    words = r"tus\.csv: expected one row for b, found it twice \(lines 3 and 5, with another patient\)"
    with pytest.raises(LayoutError, match=words):
        opened(TUS, tmp_path).index()
    assert [problem.level for problem in opened(TUS, tmp_path).inspect()] == ["error"]


def test_rows_without_an_image_are_told_and_images_without_a_row_refused(tmp_path: Path) -> None:
    tus(tmp_path)
    with (tmp_path / "tus.csv").open("a") as stream:
        stream.write("z,9,1\n")
    (problem,) = opened(TUS, tmp_path).inspect()
    assert (
        problem.level == "warning" and "1 of 4 rows, e.g. z" in problem.message and len(ids(opened(TUS, tmp_path))) == 3
    )
    (tmp_path / "tus.csv").write_text("id,patient,machine\na,1,1\nc,2,3\n")
    with pytest.raises(LayoutError, match=r"the image b is not in tus\.csv"):
        opened(TUS, tmp_path).index()


@pytest.mark.parametrize("size", ["none", "0", "nan", "-0.1"])
def test_a_pixel_size_that_is_none_is_named(size: str, tmp_path: Path) -> None:
    hc18(tmp_path)
    table = tmp_path / "HC18" / "training_set_pixel_size_and_HC.csv"
    table.write_text(table.read_text().replace("001_HC.png,0.2", f"001_HC.png,{size}"))
    with pytest.raises(LayoutError, match=rf"expected the pixel size of 001_HC\.png in mm, found '{size}'"):
        opened(HC18, tmp_path).index()


def test_a_fold_that_is_none_is_named(tmp_path: Path) -> None:
    bus_bra(tmp_path)
    columns = ",".join(f"valid_{k}" for k in range(1, 6))
    rows = "".join(f"bus_000{n}-l,{','.join(['1'] * 4)},{'yes' if n else 'nan'}\n" for n in range(3))
    (tmp_path / "BUSBRA" / "5-fold-cv.csv").write_text(f"ID,{columns}\n{rows}")
    data = opened(BUSBRA, tmp_path)
    with pytest.raises(LayoutError, match=r"5-fold-cv\.csv: expected 0, 1 or nan in valid_5, found 'yes'"):
        data.splits()["fold5-5"]


def test_a_group_table_that_fits_nothing_is_refused(tmp_path: Path) -> None:
    busi(tmp_path)
    table = tmp_path / "semibench_groups.csv"
    table.write_text("case,group\nbenign_1,g\nbenign_2,g\n")
    with pytest.raises(
        LayoutError, match=r"expected names of cases like 'benign \(1\)', found 'benign_1' and no row that fits"
    ):
        opened(BUSI, tmp_path).index()
    table.write_text("case,group\nbenign (1),g\nbenign (2),g\nmalignant (1),g\n")
    data = opened(BUSI, tmp_path)
    (problem,) = data.inspect()
    assert problem.level == "warning" and "1 rows that name none, e.g. 'benign (2)'" in problem.message
    assert [ref.group for ref in data.index()] == ["g", "g", "normal (1)"]


# ---- DICOM ------------------------------------------------------------------------------------------------------------


def leftovers(root: Path) -> None:
    for path in list(root.rglob("*.dcm")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")


def upper_case(root: Path) -> None:
    for path in list(root.rglob("*.dcm")):
        path.rename(path.with_suffix(".DCM"))


@pytest.mark.parametrize("change", [leftovers, upper_case])
def test_slices_are_found_whatever_lies_beside_them(change: Callable[[Path], None], tmp_path: Path) -> None:
    pancreas(tmp_path / "plain")
    shutil.copytree(tmp_path / "plain", tmp_path / "changed")
    change(tmp_path / "changed")
    plain, changed = (opened(Pancreas, tmp_path / name, edition="mcnet") for name in ("plain", "changed"))
    ref = plain.index()[1]
    assert changed.index() == plain.index() and changed.inspect() == [] and len(changed.files(ref)) == 13
    assert np.array_equal(changed.read(ref).image.numpy(), plain.read(ref).image.numpy())


def test_a_scout_beside_the_series_is_named(tmp_path: Path) -> None:
    pancreas(tmp_path)
    patient = tmp_path / "Pancreas-CT" / "PANCREAS_0002" / "study"
    save_dicom(patient / "a_scout", np.zeros((14, 16, 1)))
    data = opened(Pancreas, tmp_path, edition="mcnet")
    (problem,) = data.inspect()
    assert (
        "a_scout (1 files) and" in problem.message and "series (12 files); move all but the CT out" in problem.message
    )
    with pytest.raises(
        CaseError, match=r"image0002: expected the slices of one series in one folder, found 2: .*a_scout"
    ):
        data.read(data.index()[1])
