"""Readers of volumes: whatever a file holds, it is read rightly or refused in one line that names it. Nothing outside of the file
is followed, and no memory is taken for voxels that the file can't hold."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from support.official_layouts import same_locale, save_dicom

from semibench import CaseError
from semibench.blocks import (
    metaimage_data_file,
    read_dicom_series,
    read_h5,
    read_h5_volume,
    read_metaimage,
    read_nifti,
    read_nifti_lps,
    read_nrrd,
)

VALUES = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
"""Along x, y, z."""
AFFINE = np.diag([0.5, 1.0, 3.0, 1.0])
MEMORY = 64 << 20
"""Bytes that a reader may take for a file that declares far more than it holds."""


@contextmanager
def little_memory() -> Iterator[None]:
    """Fails if the block takes more than MEMORY."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def nifti(path: Path, array: np.ndarray = VALUES, affine: np.ndarray = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def patched(path: Path, at: int, content: bytes) -> Path:
    """Overwrites bytes of a compressed file's content."""
    stored = bytearray(gzip.decompress(path.read_bytes()))
    stored[at : at + len(content)] = content
    path.write_bytes(gzip.compress(bytes(stored)))
    return path


# ---- NIfTI ------------------------------------------------------------------------------------------------------------


def test_a_nifti_file_is_read_along_x_y_z_with_its_place(tmp_path: Path) -> None:
    volume = read_nifti(nifti(tmp_path / "a.nii.gz"))
    assert np.array_equal(volume.array, VALUES) and volume.spacing == (0.5, 1.0, 3.0) and not volume.remarks
    assert volume.affine is not None and np.array_equal(volume.affine, AFFINE)


@pytest.mark.parametrize("name", ["A.NII.GZ", "A.Nii", "a.Nii.gz"])
def test_capitals_in_an_ending_do_not_matter(name: str, tmp_path: Path) -> None:
    plain = nifti(tmp_path / ("b.nii.gz" if name.lower().endswith("gz") else "b.nii"))
    plain.rename(tmp_path / name)
    assert np.array_equal(read_nifti(tmp_path / name).array, VALUES)


def test_axes_of_length_one_behind_the_third_are_left_out(tmp_path: Path) -> None:
    assert np.array_equal(read_nifti(nifti(tmp_path / "a.nii.gz", VALUES[..., None])).array, VALUES)
    assert np.array_equal(
        read_nifti_lps(nifti(tmp_path / "b.nii.gz", VALUES[..., None, None])).array,
        VALUES[::-1, ::-1].transpose(2, 1, 0),
    )
    one = np.stack([VALUES, VALUES + 100], axis=-1)
    assert np.array_equal(read_nifti(nifti(tmp_path / "c.nii.gz", one), frame=1).array, VALUES + 100)
    for frame in (None, 2):
        with pytest.raises(CaseError, match=r"c\.nii\.gz: expected .* found the shape \(2, 3, 4, 2\); \w+"):
            read_nifti(tmp_path / "c.nii.gz", frame=frame)


def test_pixdim_that_contradicts_the_affine_is_told(tmp_path: Path) -> None:
    path = patched(nifti(tmp_path / "a.nii.gz"), 80, struct.pack("<3f", 1, 1, 1))
    volume = read_nifti(path)
    (remark,) = volume.remarks
    assert (
        volume.spacing == (1, 1, 1) and "1 x 1 x 1 mm in pixdim and 0.5 x 1 x 3 mm" in remark and "a.nii.gz" in remark
    )


def test_a_pixdim_of_nothing_is_no_spacing_of_one_mm(tmp_path: Path) -> None:
    path = patched(nifti(tmp_path / "a.nii.gz"), 88, struct.pack("<f", 0))
    volume = read_nifti(path)
    assert volume.spacing == (0.5, 1.0, 3.0) and "0.5 x 1 x 0 mm" in volume.remarks[0]
    without = patched(path, 252, struct.pack("<2h", 0, 0))  # no code: the affine is a guess
    with pytest.raises(CaseError, match=r"expected mm per voxel above 0, found 0\.5 x 1 x 0; correct"):
        read_nifti(without)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_contradicted_spacing_is_the_same_in_both_readers(sign: int, tmp_path: Path) -> None:
    turned = AFFINE @ np.diag([sign, 1, 1, 1])
    path = patched(nifti(tmp_path / "a.nii.gz", affine=turned), 80, struct.pack("<3f", 1, 2, 4))
    assert read_nifti(path).spacing == (1, 2, 4) and read_nifti_lps(path).spacing == (4, 2, 1)
    assert read_nifti(path).remarks == read_nifti_lps(path).remarks != ()


def test_volumes_stored_along_other_axes_are_told(tmp_path: Path) -> None:
    swapped = np.eye(4)
    swapped[:3, :3] = AFFINE[:3, :3][:, [2, 1, 0]]
    (remark,) = read_nifti(nifti(tmp_path / "a.nii.gz", VALUES.transpose(2, 1, 0), swapped)).remarks
    assert "stored along z, y, x" in remark
    turn = np.deg2rad(40)  # an oblique scan has no axes of a name, whichever is the closest
    oblique = np.eye(4)
    oblique[:3, :3] = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    assert not read_nifti(nifti(tmp_path / "b.nii.gz", VALUES, oblique)).remarks


@pytest.mark.parametrize("side", [900, 4000, 32767])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_nifti_header_that_declares_giants_takes_no_memory(side: int, ending: str, tmp_path: Path) -> None:
    path = nifti(tmp_path / f"a{ending}")
    dims = struct.pack("<4h", 3, side, side, side)
    if ending == ".nii":
        stored = bytearray(path.read_bytes())
        stored[40:48] = dims
        path.write_bytes(bytes(stored))
    else:
        patched(path, 40, dims)
    with little_memory(), pytest.raises(CaseError, match=rf"a{ending}: .*(declares|can't be read).*{side}.*;"):
        read_nifti(path)


def test_a_large_compressed_file_that_ends_early_takes_no_memory(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii.gz")
    patched(path, 40, struct.pack("<4h", 3, 900, 900, 900))
    noise = np.random.default_rng(0).integers(0, 256, 4 << 20, dtype=np.uint8).tobytes()
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + noise, 1))  # 1000 times 4 MB would be enough
    with little_memory(), pytest.raises(CaseError, match=r"the header declares 1458000000 bytes, the file holds \d+"):
        read_nifti(path)


NIFTI_DAMAGE: dict[str, Callable[[Path], object]] = {
    "complex numbers": lambda path: nifti(path, (VALUES + 1j).astype(np.complex64)),
    "colours": lambda path: nibabel.save(
        nibabel.Nifti1Image(np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), AFFINE), path
    ),
    "two axes": lambda path: nifti(path, VALUES[..., 0]),
    "a side of nothing": lambda path: patched(nifti(path), 40, struct.pack("<4h", 3, 2, 0, 4)),
    "a negative side": lambda path: patched(nifti(path), 40, struct.pack("<4h", 3, 2, -3, 4)),
    "eight axes": lambda path: patched(nifti(path), 40, struct.pack("<h", 9)),
    "an unknown type": lambda path: patched(nifti(path), 70, struct.pack("<h", 4097)),
    "voxels far behind the end": lambda path: patched(nifti(path), 108, struct.pack("<f", 1e30)),
    "no mark": lambda path: patched(nifti(path), 344, b"\0\0\0\0"),
    "text": lambda path: path.write_text("no volume"),
    "nothing": lambda path: path.write_bytes(b""),
    "a folder": lambda path: path.mkdir(),
    "a damaged stream": lambda path: nifti(path).write_bytes(path.read_bytes()[:40] + b"\xff" * 30),
}


@pytest.mark.parametrize("kind", NIFTI_DAMAGE)
@pytest.mark.parametrize("read", [read_nifti, read_nifti_lps])
def test_any_other_nifti_file_is_refused_in_one_line(kind: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    NIFTI_DAMAGE[kind](tmp_path / "a.nii.gz")
    with pytest.raises(CaseError, match=r"a\.nii\.gz: .*; \w+") as caught:
        read(tmp_path / "a.nii.gz")
    assert "\n" not in str(caught.value)


# ---- MetaImage and NRRD -----------------------------------------------------------------------------------------------


def image_of(array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing((0.5, 1.0, 3.0))
    return image


def write(path: Path, *, compressed: bool = False) -> Path:
    sitk.WriteImage(image_of(VALUES), str(path), compressed)
    return path


@pytest.mark.parametrize("ending", [".mhd", ".mha", ".nrrd", ".nhdr"])
@pytest.mark.parametrize("compressed", [False, True])
def test_metaimage_and_nrrd_are_read_with_their_place(ending: str, compressed: bool, tmp_path: Path) -> None:
    path = write(tmp_path / f"a{ending}", compressed=compressed)
    volume = read_metaimage(path) if ending.startswith(".mh") else read_nrrd(path)
    turned, spacing = (VALUES.T, (3.0, 1.0, 0.5)) if ending.startswith(".mh") else (VALUES, (0.5, 1.0, 3.0))
    assert np.array_equal(volume.array, turned) and volume.spacing == spacing and volume.affine is not None
    place = volume.affine @ [*(side - 1 for side in volume.array.shape), 1]
    assert place[:3] == pytest.approx([-0.5, -2.0, 9.0])  # ITK counts x and y the other way


@pytest.mark.parametrize(
    "named", ["/etc/passwd", ".", "..", "../b.raw", "x/../../b.raw", "C:\\b.raw", "LIST", "b%03d.raw 1 3 1", ""]
)
def test_the_voxels_of_a_metaimage_header_lie_beside_it(named: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mhd")
    path.write_text(path.read_text().replace("a.raw", named))
    with pytest.raises(CaseError, match=r"a\.mhd: .*; unpack the archive again"):
        read_metaimage(path)
    assert metaimage_data_file(path) is None


@pytest.mark.parametrize("named", ["/etc/passwd", "../b.raw", "LIST", "b%03d.raw 1 3 1"])
def test_the_voxels_of_an_nrrd_header_lie_beside_it(named: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.nhdr")
    path.write_text(path.read_text().replace("a.raw", named))
    with pytest.raises(CaseError, match=r"a\.nhdr: expected its voxels in one file beside the header"):
        read_nrrd(path)


@pytest.mark.parametrize("ending", [".mhd", ".mha", ".nrrd"])
def test_an_itk_header_that_declares_giants_takes_no_memory(ending: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a{ending}", compressed=True)
    old = b"sizes: 2 3 4" if ending == ".nrrd" else b"DimSize = 2 3 4"
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, old[:-5] + b"4000 4000 4000"))
    with little_memory(), pytest.raises(CaseError, match=rf"a{ending}: .*4000 x 4000 x 4000"):
        (read_nrrd if ending == ".nrrd" else read_metaimage)(path)


METAIMAGE_DAMAGE = [
    ("ElementSpacing = 0.5 1 3", "ElementSpacing = 0.5 0 3"),
    ("DimSize = 2 3 4", "DimSize = 2 3"),
    ("DimSize = 2 3 4", "DimSize = 2 -3 4"),
    ("MET_SHORT", "MET_NONE"),
    ("DimSize", "Size"),
]


@pytest.mark.parametrize(("old", "new"), METAIMAGE_DAMAGE)
def test_a_metaimage_header_that_is_wrong_is_refused(old: str, new: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mhd")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(CaseError, match=r"a\.(mhd|raw): .*; \w+"):
        read_metaimage(path)


def test_colours_are_no_volume(tmp_path: Path) -> None:
    image = sitk.JoinSeries([sitk.Image([4, 4], sitk.sitkVectorUInt8, 3)] * 2)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    with pytest.raises(CaseError, match=r"a\.nrrd: .*; \w+"):
        read_nrrd(tmp_path / "a.nrrd")


# ---- HDF5 -------------------------------------------------------------------------------------------------------------


def h5(path: Path, key: str = "image") -> Path:
    with h5py.File(path, "w") as file:
        file[key] = VALUES
    return path


def test_nothing_outside_of_an_hdf5_file_is_read(tmp_path: Path) -> None:
    other = h5(tmp_path / "other.h5")
    (tmp_path / "raw.bin").write_bytes(bytes(VALUES))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["external"] = h5py.ExternalLink(other.name, "image")
        file["dangling"] = h5py.ExternalLink("/etc/passwd", "image")
        file["group/behind"] = VALUES
        file["to group"] = h5py.ExternalLink(other.name, "/")
        file["soft"] = h5py.SoftLink("/external")
        file.create_dataset("raw", VALUES.shape, VALUES.dtype, external=[("raw.bin", 0, VALUES.nbytes)])
        layout = h5py.VirtualLayout(VALUES.shape, VALUES.dtype)
        layout[:] = h5py.VirtualSource(str(other), "image", VALUES.shape)
        file.create_virtual_dataset("virtual", layout)
    for key in ("external", "dangling", "to group/image", "soft", "raw", "virtual"):
        with pytest.raises(CaseError, match=r"a\.h5: expected .* in the file"):
            read_h5(tmp_path / "a.h5", key)
    assert np.array_equal(read_h5(tmp_path / "a.h5", "group/behind"), VALUES)


def test_only_numbers_of_an_hdf5_file_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["record"] = np.zeros((2, 2, 2), [("a", "<f4"), ("b", "<i4")])
        file["text"] = np.full((2, 2, 2), "x", object).astype(h5py.string_dtype())
        file.create_dataset("reference", (2, 2, 2), h5py.ref_dtype)
        file.create_dataset("complex", data=VALUES + 1j)
        file.create_dataset("empty", data=h5py.Empty("f4"))
        file["flat"] = VALUES.ravel()
        file["none"] = np.zeros((2, 0, 2))
        file.create_group("group")["image"] = VALUES
    for key in (
        "record",
        "text",
        "reference",
        "complex",
        "empty",
        "flat",
        "none",
        "group",
        "absent",
        "flat/x",
        "group/x",
    ):
        with pytest.raises(CaseError, match=r"a\.h5: .*; copy the file again"):
            read_h5_volume(tmp_path / "a.h5", key)


def test_an_hdf5_array_that_was_never_written_takes_no_memory(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("image", (4000, 4000, 4000), "f4", chunks=(64, 64, 64), compression="gzip")
        file.create_dataset("label", (900, 900, 900), "f4")
    for key in ("image", "label"):
        with little_memory(), pytest.raises(CaseError, match=r"a\.h5: .*(4000 x 4000 x 4000|900 x 900 x 900)"):
            read_h5_volume(tmp_path / "a.h5", key)


def test_a_compressed_array_of_zeros_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("label", data=np.zeros((128, 128, 128), np.uint8), compression="gzip", compression_opts=9)
    assert read_h5_volume(tmp_path / "a.h5", "label").array.shape == (128, 128, 128)


# ---- DICOM ------------------------------------------------------------------------------------------------------------


@same_locale()
def slice_with(path: Path, **tags: str) -> Path:
    image = sitk.GetImageFromArray(np.full((1, 4, 6), 40, np.int16))
    names = {"series": "0020|000e", "number": "0020|0013", "position": "0020|0032"}
    for name, value in ({"series": "1.2", "number": "1", "position": "0\\0\\0"} | tags).items():
        if value:
            image.SetMetaData(names[name], value)
    image.SetMetaData("0008|0060", "CT")
    image.SetMetaData("0020|0037", "1\\0\\0\\0\\1\\0")
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)
    return path


def test_slices_of_two_series_are_told_apart(tmp_path: Path) -> None:
    first = [slice_with(tmp_path / f"{n}.dcm", number=str(n)) for n in (1, 2)]
    scout = slice_with(tmp_path / "scout.dcm", series="1.9", number="3")
    with pytest.raises(CaseError, match=r"found 2: 1\.dcm \(2 files of 1\.2\), scout\.dcm \(1 files of 1\.9\)"):
        read_dicom_series([*first, scout])


@pytest.mark.parametrize("position", ["0\\0", "0\\0\\x", "0\\0\\1\\2"])
def test_a_position_that_is_none_is_named(position: str, tmp_path: Path) -> None:
    path = slice_with(tmp_path / "1.dcm")
    stored = path.read_bytes()
    tag = stored.index(b"\x20\x00\x32\x00")
    length = struct.unpack("<I", stored[tag + 4 : tag + 8])[0]
    text = position.encode() + b" " * (len(position) % 2)
    path.write_bytes(stored[: tag + 4] + struct.pack("<I", len(text)) + text + stored[tag + 8 + length :])
    with pytest.raises(CaseError, match=r"1\.dcm: expected an image position of three numbers, found .*; download"):
        read_dicom_series([path])


def test_a_slice_that_declares_giants_takes_no_memory(tmp_path: Path) -> None:
    path = slice_with(tmp_path / "1.dcm")
    stored = path.read_bytes()
    for tag in (b"\x28\x00\x10\x00\x02\x00\x00\x00", b"\x28\x00\x11\x00\x02\x00\x00\x00"):
        at = stored.index(tag) + len(tag)
        stored = stored[:at] + struct.pack("<H", 65535) + stored[at + 2 :]
    path.write_bytes(stored)
    with little_memory(), pytest.raises(CaseError, match=r"1\.dcm: .*; download the series again"):
        read_dicom_series([path])


@pytest.mark.parametrize("content", [b"", b"no slice", b"\0" * 128 + b"DICM" + b"\xff" * 50])
def test_what_is_no_slice_is_named(content: bytes, tmp_path: Path) -> None:
    save_dicom(tmp_path, VALUES.astype(float))
    (tmp_path / "x.dcm").write_bytes(content)
    with pytest.raises(CaseError, match=r"x\.dcm: can't be read as a DICOM slice with an instance number .*; download"):
        read_dicom_series(sorted(tmp_path.glob("*.dcm")))
