"""Reads folders and zip files from others without unpacking or trusting them: no pickles, no paths that lead outside, limits on
sizes."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import stat
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from semibench.contracts.errors import SemibenchError, UsageError, one_line

LARGEST_FILE = 2 * 2**30
LARGEST_TOTAL = 64 * 2**30
MOST_FILES = 200_000
"""Limits of a container: unpacked bytes of one file and of all files, and the number of files."""

MOST_VOXELS = 2**30
"""Limit of one label map."""

SUSPICIOUS, SQUEEZED = 256 * 2**20, 200
"""An entry of more bytes that unpacks to so many times its size is made to fill the memory; whole predictions are smaller."""

MOST_NAMES = 2**20
"""Limit of the bytes of an array of names."""

ENDINGS = (".npz", ".npy", ".png", ".nii.gz", ".nii")
"""Endings of label map files."""


MENTIONED = 4
"""Most problems or names that a message lists."""


def first_few(items: Sequence[str], separator: str = "; ") -> str:
    """The first items in one line, and how many more there are."""
    more = f" and {len(items) - MENTIONED} more" if len(items) > MENTIONED else ""
    return separator.join(items[:MENTIONED]) + more


class ContainerError(SemibenchError):
    """A bundle or a file of predictions can't be read safely; the message names the file."""


class Container(ABC):
    """Files by name ("predictions/last/main/a.npz")."""

    path: Path

    @abstractmethod
    def names(self) -> list[str]:
        """Names of all files, sorted."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises ContainerError where the file is missing or too large."""

    def digest(self, name: str) -> str:
        """The sha256 of a file, which is read in pieces. Raises ContainerError as `read` does."""
        with self._stream(name) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    @abstractmethod
    def _stream(self, name: str) -> Any:
        """Opens a file for reading."""

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._known

    @property
    def _known(self) -> set[str]:
        if not hasattr(self, "_names"):
            self._names = set(self.names())
        return self._names

    def close(self) -> None:  # noqa: B027  (nothing is open by default)
        """Closes what is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Folder(Container):
    """A folder. Links that lead outside and hidden files are ignored."""

    def __init__(self, path: Path) -> None:
        self.path = path
        root = path.resolve()
        self._files = {
            file.relative_to(path).as_posix(): file
            for file in sorted(path.rglob("*"))
            if file.is_file()
            and file.resolve().is_relative_to(root)
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        }
        if len(self._files) > MOST_FILES:
            raise ContainerError(f"{path} holds {len(self._files)} files, more than {MOST_FILES}")

    def names(self) -> list[str]:
        return list(self._files)

    def read(self, name: str) -> bytes:
        with self._stream(name) as stream:
            return bytes(stream.read())

    def _stream(self, name: str) -> BinaryIO:
        file = self._files.get(name)
        if file is None:
            raise ContainerError(f"{self.path} has no file {name}")
        try:
            if file.stat().st_size > LARGEST_FILE:
                raise ContainerError(f"{file} is larger than {LARGEST_FILE // 2**30} GiB")
            return file.open("rb")
        except OSError as error:
            raise ContainerError(f"{file} can't be read ({error.strerror})") from error


class Zip(Container):
    """A zip file.

    Before anything is read, it raises ContainerError for names that lead outside, links, encrypted or repeated entries, and sizes
    over the limits.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise ContainerError(f"{path} is not a readable zip file: {error}") from error
        self._infos: dict[str, zipfile.ZipInfo] = {}
        try:
            self._check()
        except BaseException:
            self._zip.close()
            raise

    def _check(self) -> None:
        every = self._zip.infolist()
        if len(every) > MOST_FILES:
            raise ContainerError(f"{self.path} holds {len(every)} files, more than {MOST_FILES}")
        if sum(info.file_size for info in every) > LARGEST_TOTAL:
            raise ContainerError(f"{self.path} would unpack to more than {LARGEST_TOTAL // 2**30} GiB")
        for info in every:
            name = info.filename
            pure = PurePosixPath(name)
            if pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or "\0" in info.orig_filename:
                raise ContainerError(f"{self.path}: the entry {name!r} leads outside; don't trust this file")
            if info.is_dir():
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                raise ContainerError(f"{self.path}: the entry {name!r} is a link; bundles hold files only")
            if info.flag_bits & 1:
                raise ContainerError(f"{self.path}: the entry {name!r} is encrypted")
            if name in self._infos:
                raise ContainerError(f"{self.path} holds {name!r} twice")
            if info.file_size > LARGEST_FILE:
                raise ContainerError(f"{self.path}: {name!r} is larger than {LARGEST_FILE // 2**30} GiB")
            self._infos[name] = info

    def names(self) -> list[str]:
        return sorted(self._infos)

    def read(self, name: str) -> bytes:
        info = self._infos.get(name)
        if info is None:
            raise ContainerError(f"{self.path} has no file {name}")
        return _member(self._zip, info, f"{self.path}: {name}")

    @contextmanager
    def _stream(self, name: str) -> Iterator[Any]:
        info = self._infos.get(name)
        if info is None:
            raise ContainerError(f"{self.path} has no file {name}")
        _refuse_bomb(info, f"{self.path}: {name}")
        try:
            with self._zip.open(info) as stream:
                yield stream
        except UNPACKING as error:
            raise ContainerError(f"{self.path}: {name} can't be unpacked: {error}") from error

    def close(self) -> None:
        self._zip.close()


UNPACKING = (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, EOFError, ValueError, RuntimeError)
"""What zipfile raises for damaged entries; RuntimeError: encrypted ones."""


def _refuse_bomb(info: zipfile.ZipInfo, what: str) -> None:
    if info.file_size > SUSPICIOUS and info.file_size > SQUEEZED * info.compress_size:
        raise ContainerError(
            f"{what}: {info.compress_size} bytes would unpack to {info.file_size}; don't trust this file"
        )


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, what: str) -> bytes:
    """The bytes of an entry, at most as many as its header says."""
    _refuse_bomb(info, what)
    try:
        with archive.open(info) as stream:
            data = stream.read(info.file_size + 1)
    except UNPACKING as error:
        raise ContainerError(f"{what} can't be unpacked: {error}") from error
    if len(data) != info.file_size:
        raise ContainerError(f"{what}: expected {info.file_size} bytes, found more or fewer")
    return data


def open_container(path: Path) -> Container:
    """Opens a folder or a zip file. Raises UsageError where there is neither."""
    if path.is_dir():
        return Folder(path)
    if not path.is_file():
        raise UsageError(f"expected a folder or a zip file, found nothing at {path}")
    return Zip(path)


# ---- label maps ----------------------------------------------------------------------------------------------------


WORKING = "working"
"""Array with the label map on the working grid, in files that the harness wrote."""


def read_labels(data: bytes, name: str) -> NDArray[Any]:
    """Reads a label map from the bytes of an .npz (the array `label`, or the only one), .npy, .png (one channel) or NIfTI file.

    Returns integers as stored, with spatial axes only. Raises ContainerError for anything else: objects, fractions, colours, too
    many voxels.
    """
    lower = name.lower()
    try:
        if lower.endswith(".npz"):
            array = _from_npz(data, name)
        elif lower.endswith(".npy"):
            array = _from_npy(data, name)
        elif lower.endswith(".png"):
            array = _from_png(data, name)
        elif lower.endswith((".nii.gz", ".nii")):
            array = _from_nifti(data, name)
        else:
            raise ContainerError(f"{name}: label maps are {', '.join(ENDINGS)} files")
    except UNREADABLE as error:
        raise ContainerError(f"{name} is not a readable label map: {one_line(error)}") from error
    return _whole_numbers(array, name)


UNREADABLE = (*UNPACKING, KeyError, TypeError, IndexError, SyntaxError, OverflowError, MemoryError)
"""What numpy, Pillow and nibabel raise for malformed files, besides errors of their own."""


def _whole_numbers(array: NDArray[Any], name: str) -> NDArray[Any]:
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind in "ui":
        return array
    if array.dtype.kind == "f":
        whole = array.astype(np.int64, copy=True) if (np.abs(array) < 2**31).all() else None  # NaN isn't smaller either
        if whole is not None and (whole == array).all():
            return whole
        raise ContainerError(
            f"{name}: expected a label map of whole numbers, found fractions (are they probabilities?)"
        )
    raise ContainerError(f"{name}: expected whole numbers, found the type {array.dtype}")


def _from_npy(data: bytes, name: str) -> NDArray[Any]:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(stream)
    if kind.hasobject:
        raise ContainerError(f"{name} holds Python objects; label maps are plain numbers")
    _check_size(shape, name)
    there = len(data) - stream.tell()
    if math.prod(shape) * kind.itemsize != there:
        raise ContainerError(f"{name}: its header says {shape} of {kind}, and {there} bytes follow")
    return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))


def read_working(data: bytes, name: str) -> NDArray[Any] | None:
    """Reads the array `working` from the bytes of an .npz file that the harness wrote; None where there is none.

    Raises ContainerError as `read_labels` does.
    """
    try:
        return _whole_numbers(_from_npz(data, name, WORKING), name) if WORKING in _arrays(data) else None
    except UNREADABLE as error:
        raise ContainerError(f"{name} is not a readable label map: {one_line(error)}") from error


def _arrays(data: bytes) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename.removesuffix(".npy") for info in archive.infolist()}


def read_names(data: bytes, name: str, array_name: str) -> tuple[str, ...]:
    """Reads an array of names from the bytes of an .npz file; empty where there is none.

    Raises ContainerError where it isn't a list of texts.
    """
    try:
        if array_name not in _arrays(data):
            return ()
        array = _from_npz(data, name, array_name, largest=MOST_NAMES)
    except UNREADABLE as error:
        raise ContainerError(f"{name} can't be read: {one_line(error)}") from error
    if array.dtype.kind != "U" or array.ndim != 1:
        raise ContainerError(f"{name}: expected a list of names in {array_name!r}, found {array.dtype} {array.shape}")
    return tuple(str(item) for item in array)


def _from_npz(data: bytes, name: str, array_name: str = "label", largest: int = LARGEST_FILE) -> NDArray[Any]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if array_name not in infos and len(infos) != 1:
            raise ContainerError(
                f"{name}: expected an array called {array_name!r}, found {', '.join(sorted(infos)) or 'none'}"
            )
        info = infos.get(array_name) or next(iter(infos.values()))
        if info.file_size > largest:
            raise ContainerError(f"{name}: {info.filename} would unpack to more than {largest} bytes")
        return _from_npy(_member(archive, info, name), name)


def _from_png(data: bytes, name: str) -> NDArray[Any]:
    from PIL import Image

    from semibench.data.png_checksums import png_damage

    damage = png_damage(data)
    if damage is not None:
        raise ContainerError(f"{name}: expected a whole PNG file, but {damage}")
    try:
        opened = Image.open(io.BytesIO(data), formats=("PNG",))
    except Image.DecompressionBombError as error:
        raise ContainerError(f"{name}: {one_line(error)}") from error
    with opened as image:
        _check_size(image.size, name)
        if image.mode not in ("1", "L", "P", "I", "I;16"):
            raise ContainerError(f"{name}: expected a PNG of one channel with the labels as values, found {image.mode}")
        return np.asarray(image)


def _from_nifti(data: bytes, name: str) -> NDArray[Any]:
    import nibabel
    import nibabel.filebasedimages
    import nibabel.spatialimages
    from nibabel.wrapstruct import WrapStructError

    if name.lower().endswith(".gz"):
        most = min(LARGEST_FILE, max(SUSPICIOUS, SQUEEZED * len(data)))
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            data = stream.read(most + 1)
        if len(data) > most:
            raise ContainerError(f"{name} would unpack to more than {most // 2**20} MiB; don't trust this file")
    broken = (
        nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, WrapStructError
    )  # fmt: skip
    try:
        image = nibabel.Nifti1Image.from_bytes(data)
    except broken as error:
        raise ContainerError(f"{name} is not a NIfTI file: {error}") from error
    _check_size(image.shape, name)
    stated = math.prod(image.shape) * image.get_data_dtype().itemsize
    if min(image.shape, default=0) < 0 or stated > len(data):
        raise ContainerError(f"{name}: its header says {image.shape}, {stated} bytes; the file has {len(data)}")
    return np.asarray(image.dataobj)


def _check_size(shape: tuple[int, ...], name: str) -> None:
    if min(shape, default=0) < 0 or math.prod(shape) > MOST_VOXELS:
        raise ContainerError(f"{name}: {shape} are more than {MOST_VOXELS} voxels")
