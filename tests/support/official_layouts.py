"""Writes small data sets in their official layouts: three cases each, with every class in at least one."""

from __future__ import annotations

import contextlib
import locale
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel
import numpy as np
import SimpleITK as sitk
from PIL import Image

from semibench.blocks import read_id_list
from semibench_plugins.datasets.brain import published_splits as brain_splits
from semibench_plugins.datasets.heart import published_splits as heart_splits

IMAGE_SIDES, VOLUME_SIDES = (24, 32), (14, 16, 12)


@dataclass(frozen=True)
class Layout:
    """One layout of a data set. write: writes it to a folder. image, label: paths of one case, relative to the folder
    (equal if one file holds both). clash: another name that would also be accepted for the image (or label), or "".
    options: of the data set. image_is_float: the image file can hold NaN."""

    dataset: str
    write: Callable[[Path], None]
    image: str
    label: str
    clash: str
    options: tuple[str, ...] = ()
    image_is_float: bool = True

    @property
    def name(self) -> str:
        """The name in test ids."""
        return "-".join([self.dataset, *(option.partition("=")[2] for option in self.options)])


def picture(seed: int, colour: bool = False) -> np.ndarray:
    shape = (*IMAGE_SIDES, 3) if colour else IMAGE_SIDES
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def disc() -> np.ndarray:
    mask = np.zeros(IMAGE_SIDES, np.uint8)
    mask[6:16, 8:20] = 255
    return mask


def save_picture(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def volume(seed: int, low: float = 20.0, high: float = 180.0) -> np.ndarray:
    """Returns random values, float32 (x, y, z)."""
    return np.random.default_rng(seed).uniform(low, high, VOLUME_SIDES).astype(np.float32)


def blocks(values: list[int]) -> np.ndarray:
    """Returns a label map, int16 (x, y, z), with a small block for each value."""
    label = np.zeros(VOLUME_SIDES, np.int16)
    for k, value in enumerate(values):
        x, rest = divmod(k, 4)
        y, z = divmod(rest, 2)
        label[3 + 2 * x : 5 + 2 * x, 5 + 3 * y : 8 + 3 * y, 3 + 3 * z : 6 + 3 * z] = value
    return label


def save_nifti(path: Path, array: np.ndarray, zooms: tuple[float, ...] = (1.5, 1.25, 3.0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, np.diag([*zooms[:3], 1.0]))
    nibabel.save(image, path)


def save_h5(path: Path, image: np.ndarray, label: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = image, label.astype(np.uint8)


def save_itk(path: Path, array_xyz: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array_xyz.transpose(2, 1, 0)))
    image.SetSpacing((0.625, 0.625, 2.2))
    sitk.WriteImage(image, str(path))


@contextlib.contextmanager
def same_locale() -> Iterator[None]:
    """Puts the process's locale back: SimpleITK's DICOM writer sets it to "C", after which text is read as ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


@same_locale()
def save_dicom(folder: Path, array_xyz: np.ndarray) -> None:
    """Writes a series with slope 1 and intercept -1024; file names are in reverse order of the instance numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()  # otherwise every slice becomes a series of its own
    depth = array_xyz.shape[2]
    for z in range(depth):
        plane = sitk.GetImageFromArray(np.rint(array_xyz[:, :, z].T).astype(np.int16)[None])
        plane.SetSpacing((0.8, 0.8, 2.5))
        for tag, value in (
            ("0008|0060", "CT"), ("0020|000e", "1.2.3"), ("0020|0013", str(z + 1)), ("0028|1052", "-1024"), ("0028|1053", "1"),
            ("0020|0032", f"0\\0\\{2.5 * z}"), ("0020|0037", "1\\0\\0\\0\\1\\0"), ("0008|0018", f"1.2.3.{z + 1}"),
        ):  # fmt: skip
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"slice{depth - z:03d}.dcm"))
        writer.Execute(plane)


# ---- images -----------------------------------------------------------------------------------------------------------


def busi(root: Path) -> None:
    base = root / "Dataset_BUSI_with_GT"
    for n, kind in enumerate(("benign", "malignant", "normal")):
        save_picture(base / kind / f"{kind} (1).png", picture(n))
        save_picture(base / kind / f"{kind} (1)_mask.png", disc() * (kind != "normal"))
    save_picture(base / "benign" / "benign (1)_mask_1.png", np.roll(disc(), 4, 1))


def folders(images: str, masks: str, names: tuple[str, ...], ending: str = ".png") -> Callable[[Path], None]:
    def write(root: Path) -> None:
        for n, name in enumerate(names):
            save_picture(root / images / f"{name}{ending}", picture(n))
            save_picture(root / masks / f"{name}{ending}", disc())

    return write


def tus(root: Path) -> None:
    folders("images", "masks", ("a", "b", "c"))(root)
    (root / "tus.csv").write_text("id,patient,machine\na,1,1\nb,1,2\nc,2,3\n")


def bus_bra(root: Path) -> None:
    rows = ["ID,Case,Pathology,Device"]
    for n in range(3):
        save_picture(root / "BUSBRA" / "Images" / f"bus_000{n}-l.png", picture(n))
        save_picture(root / "BUSBRA" / "Masks" / f"mask_000{n}-l.png", disc())
        rows.append(f"bus_000{n}-l,{n},benign,GE Logiq 7 @10MHz")
    (root / "BUSBRA" / "bus_data.csv").write_text("\n".join(rows))


def hc18(root: Path) -> None:
    rows = ["filename,pixel size(mm),head circumference (mm)"]
    outline = np.zeros(IMAGE_SIDES, np.uint8)
    outline[[5, 17], 8:25], outline[5:18, [8, 24]] = 255, 255
    for n in range(3):
        save_picture(root / "HC18" / "training_set" / f"00{n}_HC.png", picture(n))
        save_picture(root / "HC18" / "training_set" / f"00{n}_HC_Annotation.png", outline)
        rows.append(f"00{n}_HC.png,0.2,100")
    (root / "HC18" / "training_set_pixel_size_and_HC.csv").write_text("\n".join(rows))


def isic2018(root: Path) -> None:
    for n in range(3):
        save_picture(root / "ISIC2018_Task1-2_Training_Input" / f"ISIC_000000{n}.jpg", picture(n, colour=True))
        save_picture(root / "ISIC2018_Task1_Training_GroundTruth" / f"ISIC_000000{n}_segmentation.png", disc())
    (root / "ISIC2018_Task1-2_Training_Input" / "ATTRIBUTION.txt").write_text("who made them")


# ---- volumes ----------------------------------------------------------------------------------------------------------


def pairs(image: str, label: str, cases: tuple[str, ...], values: list[int]) -> Callable[[Path], None]:
    """Returns a writer of NIfTI files; the paths contain {case}."""

    def write(root: Path) -> None:
        for n, case in enumerate(cases):
            save_nifti(root / image.format(case=case), volume(n))
            save_nifti(root / label.format(case=case), blocks(values))

    return write


def h5(path: str, cases: tuple[str, ...], values: list[int]) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        for n, case in enumerate(cases):
            save_h5(root / path.format(case=case), volume(n), blocks(values))

    return write


def la_raw(root: Path) -> None:
    for n, case in enumerate(read_id_list(heart_splits.LISTS, "lists/la/train.list")[:3]):
        folder = root / "raw" / "2018LA_Seg_Training Set" / case
        save_itk(folder / "lgemri.nrrd", volume(n))
        save_itk(folder / "laendo.nrrd", (blocks([1]) * 255).astype(np.uint8))
        save_itk(folder / "lawall.nrrd", blocks([1]).astype(np.uint8))


def mnms(root: Path) -> None:
    for n, code in enumerate(("A0S9V9", "A1D0Q7", "A1E9Q1")):
        ed, es = heart_splits.mnms_frames()[code][1]
        image = np.stack([volume(n + t) for t in range(max(ed, es) + 1)], axis=-1)
        label = np.zeros(image.shape, np.int16)
        label[..., ed] = label[..., es] = blocks([1, 2, 3])
        folder = root / "OpenDataset" / "Training" / "Labeled" / code
        save_nifti(folder / f"{code}_sa.nii.gz", image)
        save_nifti(folder / f"{code}_sa_gt.nii.gz", label)


def acdc(root: Path) -> None:
    for n in (1, 2):
        folder = root / "ACDC" / "database" / "training" / f"patient00{n}"
        for frame in (1, 12):
            save_nifti(folder / f"patient00{n}_frame{frame:02d}.nii.gz", volume(n + frame))
            save_nifti(folder / f"patient00{n}_frame{frame:02d}_gt.nii.gz", blocks([1, 2, 3]))
        save_nifti(folder / f"patient00{n}_4d.nii.gz", volume(0))
        (folder / "Info.cfg").write_text("ED: 1\nES: 12\nGroup: NOR\n")


def promise12(root: Path) -> None:
    for n in range(3):
        save_itk(root / "training_data" / f"Case0{n}.mhd", volume(n))
        save_itk(root / "training_data" / f"Case0{n}_segmentation.mhd", blocks([1]).astype(np.int8))


def pancreas(root: Path) -> None:
    for n in (1, 2, 3):
        array = volume(n, -100, 60)
        label = blocks([1])
        array[label > 0] = 90
        save_dicom(root / "Pancreas-CT" / f"PANCREAS_000{n}" / "study" / "series", array)
        save_nifti(
            root / "TCIA_pancreas_labels-02-05-2017" / f"label000{n}.nii.gz", label.astype(np.uint8), (0.8, 0.8, 2.5)
        )


def brats19(root: Path) -> None:
    for n, case in enumerate(("BraTS19_CBICA_ASA_1", "BraTS19_TCIA02_370_1")):
        folder = root / "MICCAI_BraTS_2019_Data_Training" / ("HGG", "LGG")[n] / case
        array = volume(n)
        array[:2], array[:, :2] = 0, 0
        for kind in ("flair", "t1", "t1ce", "t2"):
            save_nifti(folder / f"{case}_{kind}.nii.gz", array, (1, 1, 1))
        save_nifti(folder / f"{case}_seg.nii.gz", blocks([1, 2, 4]), (1, 1, 1))
    (root / "MICCAI_BraTS_2019_Data_Training" / "name_mapping.csv").write_text("Grade\n")


_LA = read_id_list(heart_splits.LISTS, "lists/la/train.list")[:3]
_HEART = [205, 420, 500, 820, 600]
_BRATS = brain_splits.brats19(25).labeled[:3]
LAYOUTS = (
    Layout("busi", busi, "Dataset_BUSI_with_GT/benign/benign (1).png", "Dataset_BUSI_with_GT/benign/benign (1)_mask.png",
           "Dataset_BUSI_with_GT/benign/benign (1).bmp"),
    Layout("busis", folders("images", "masks", ("p", "q", "r")), "images/p.png", "masks/p.png", "images/p.bmp"),
    Layout("udiat", folders("BUS/original", "BUS/GT", ("000001", "000002", "000003")), "BUS/original/000002.png",
           "BUS/GT/000002.png", "BUS/original/000002.bmp"),
    Layout("tus", tus, "images/b.png", "masks/b.png", "images/b.bmp"),
    Layout("tnscui2020", folders("TNSCUI2020_train/image", "TNSCUI2020_train/mask", ("1", "2", "3"), ".PNG"),
           "TNSCUI2020_train/image/2.PNG", "TNSCUI2020_train/mask/2.PNG", "TNSCUI2020_train/image/2.bmp"),
    Layout("bus-bra", bus_bra, "BUSBRA/Images/bus_0001-l.png", "BUSBRA/Masks/mask_0001-l.png", ""),
    Layout("hc18", hc18, "HC18/training_set/001_HC.png", "HC18/training_set/001_HC_Annotation.png", ""),
    Layout("isic2018", isic2018, "ISIC2018_Task1-2_Training_Input/ISIC_0000001.jpg",
           "ISIC2018_Task1_Training_GroundTruth/ISIC_0000001_segmentation.png",
           "ISIC2018_Task1-2_Training_Input/ISIC_0000001.png"),
    Layout("la", h5("h5/{case}.h5", _LA, [1]), f"h5/{_LA[1]}.h5", f"h5/{_LA[1]}.h5", f"h5/{_LA[1]}/mri_norm2.h5"),
    Layout("la", la_raw, f"raw/2018LA_Seg_Training Set/{_LA[1]}/lgemri.nrrd",
           f"raw/2018LA_Seg_Training Set/{_LA[1]}/laendo.nrrd", "", ("dataset.edition=label-free",)),
    Layout("mmwhs", pairs("mr_train/{case}_image.nii.gz", "mr_train/{case}_label.nii.gz",
                          ("mr_train_1001", "mr_train_1003"), _HEART),
           "mr_train/mr_train_1003_image.nii.gz", "mr_train/mr_train_1003_label.nii.gz", "mr_train/mr_train_1003_image.nii"),
    Layout("mnms", mnms, "OpenDataset/Training/Labeled/A1D0Q7/A1D0Q7_sa.nii.gz",
           "OpenDataset/Training/Labeled/A1D0Q7/A1D0Q7_sa_gt.nii.gz",
           "OpenDataset/Validation/A1D0Q7/A1D0Q7_sa.nii.gz"),
    Layout("msd-hippocampus", pairs("Task04_Hippocampus/imagesTr/{case}.nii.gz", "Task04_Hippocampus/labelsTr/{case}.nii.gz",
                                    ("hippocampus_001", "hippocampus_003"), [1, 2]),
           "Task04_Hippocampus/imagesTr/hippocampus_003.nii.gz", "Task04_Hippocampus/labelsTr/hippocampus_003.nii.gz", ""),
    Layout("acdc", acdc, "ACDC/database/training/patient002/patient002_frame12.nii.gz",
           "ACDC/database/training/patient002/patient002_frame12_gt.nii.gz",
           "ACDC/database/training/patient002/patient002_frame12.nii"),
    Layout("acdc", h5("ACDC/data/{case}.h5", ("patient001_frame01", "patient001_frame02"), [1, 2, 3]),
           "ACDC/data/patient001_frame02.h5", "ACDC/data/patient001_frame02.h5", "", ("dataset.edition=ssl4mis",)),
    Layout("promise12", promise12, "training_data/Case01.mhd", "training_data/Case01_segmentation.mhd",
           "TrainingData_Part1/Case01.mhd"),
    Layout("pancreas", h5("h5/{case}_norm.h5", ("image0001", "image0002"), [1]), "h5/image0002_norm.h5",
           "h5/image0002_norm.h5", "h5/image0002.h5"),
    Layout("pancreas", pancreas, "Pancreas-CT/PANCREAS_0002/study/series/slice003.dcm",
           "TCIA_pancreas_labels-02-05-2017/label0002.nii.gz", "TCIA_pancreas_labels-02-05-2017/label0002.nii",
           ("dataset.edition=mcnet",), image_is_float=False),
    Layout("brats19", brats19, "MICCAI_BraTS_2019_Data_Training/LGG/BraTS19_TCIA02_370_1/BraTS19_TCIA02_370_1_flair.nii.gz",
           "MICCAI_BraTS_2019_Data_Training/LGG/BraTS19_TCIA02_370_1/BraTS19_TCIA02_370_1_seg.nii.gz",
           "MICCAI_BraTS_2019_Data_Training/LGG/BraTS19_TCIA02_370_1/BraTS19_TCIA02_370_1_flair.nii"),
    Layout("brats19", h5("h5/{case}.h5", tuple(_BRATS), [1]), f"h5/{_BRATS[1]}.h5", f"h5/{_BRATS[1]}.h5",
           f"data/{_BRATS[1]}.h5", ("dataset.edition=ssl4mis",)),
    Layout("synapse", pairs("imagesTr/img{case}.nii.gz", "labelsTr/label{case}.nii.gz", ("0001", "0002", "0021"),
                            list(range(1, 14))),
           "imagesTr/img0002.nii.gz", "labelsTr/label0002.nii.gz", "imagesTr/img0002.nii"),
    Layout("amos22", pairs("amos22/imagesTr/{case}.nii.gz", "amos22/labelsTr/{case}.nii.gz",
                           ("amos_0001", "amos_0507"), list(range(1, 16))),
           "amos22/imagesTr/amos_0507.nii.gz", "amos22/labelsTr/amos_0507.nii.gz", "amos22/imagesVa/amos_0507.nii.gz"),
)  # fmt: skip
"""All 18 data sets, four of them in both of their layouts. A clash of "" means that the layout accepts only one name."""
