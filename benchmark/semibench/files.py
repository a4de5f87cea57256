"""Atomic writing of files, and JSON: the one conversion to it, the one writer and the one reader."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_jsonable_python

from semibench.contracts.errors import SemibenchError, one_line


class DamagedFileError(SemibenchError):
    """A file is not the JSON object it should be; the message names the file and says what is wrong with it."""


LITTLE = 1 << 20
"""Bytes of free space below which a failed write has this reason."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def explain(error: OSError) -> str:
    """Returns an error of the operating system as one line for readers: which file, what is wrong, what to do."""
    name = error.filename if error.filename is not None else "a file"
    what = f"{os.fsdecode(name) if isinstance(name, bytes) else name}: {error.strerror or one_line(error)}"
    if error.errno in NO_ROOM:
        return f"{what}; free some space (or raise the quota), then run the same command again"
    if error.errno in NOT_ALLOWED:
        return f"{what}; give yourself the permission, or name another folder (--runs, SEMIBENCH_CACHE)"
    return what


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file that is either complete or absent, even if the machine dies.

    The content goes to a temporary file in the same folder, which is flushed to disk and then renamed. An existing file is
    replaced. A failed write removes the temporary file and leaves an existing file as it was.

    Args:
        path: where the file will be; missing folders are created.
        write: called with the path of the temporary file, which it must write.

    Raises:
        OSError: if the file can't be written; it names the file.

    Examples:
        >>> write_atomically(folder / "note.txt", lambda temporary: temporary.write_text("done"))
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        synchronise(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # writing to an open file names none
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_with_torch(path: Path, content: Any) -> None:
    """Writes what torch.save writes, to a file that isn't replaced atomically; see `write_atomically`.

    Raises:
        OSError: if the file can't be written. torch says RuntimeError, whatever the reason.
    """
    import torch

    try:
        torch.save(content, path)
    except RuntimeError as error:
        if shutil.disk_usage(path.parent).free > LITTLE and not _is_limited(path):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def _is_limited(path: Path) -> bool:
    """Returns whether a file can't grow any more, for a quota or a limit on the size of files."""
    try:
        with path.open("ab") as handle:
            handle.write(bytes(LITTLE))
    except OSError:
        return True
    return False


def synchronise(path: Path) -> None:
    """Returns once the bytes of a file are on the disk."""
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def jsonable(value: Any, digits: int | None = None) -> Any:
    """A value as JSON can hold it: NaN and infinities become None, paths text, arrays and tensors numbers or lists.

    Models, data classes, mappings and sequences are converted with everything in them; sort a set first, since its order
    is that of the process. digits: round floats to so many significant digits.
    """
    converted = to_jsonable_python(value, inf_nan_mode="null", fallback=_foreign)
    return converted if digits is None else _rounded(converted, digits)


def _foreign(value: Any) -> Any:
    """numpy and torch know their own plain form; anything else is its text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: _rounded(inner, digits) for key, inner in value.items()}
    return [_rounded(inner, digits) for inner in value] if isinstance(value, list) else value


def write_json(path: Path, record: Any) -> None:
    """Writes a record as readable JSON, atomically."""
    text = json.dumps(jsonable(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda draft: draft.write_text(text, encoding="utf-8"))


def json_object(data: bytes, where: str) -> dict[str, Any]:
    """The JSON object in some bytes. where: what the bytes are, for the message.

    Raises:
        DamagedFileError: for anything else than one JSON object in UTF-8.
    """
    try:
        loaded = from_json(data)
    except ValueError as error:
        raise DamagedFileError(f"{where} is not JSON ({error}); it was cut off or changed by hand") from error
    if not isinstance(loaded, dict):
        raise DamagedFileError(f"{where}: expected a JSON object, found {type(loaded).__name__}")
    return loaded


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or {} where there is no file.

    Raises:
        DamagedFileError: where the file is there and can't be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DamagedFileError(f"{path} can't be read ({error.strerror})") from error
    return json_object(data, str(path))


def read_cached_json(path: Path) -> dict[str, Any]:
    """A JSON object of a cache, or of a note that is written anew: {} where it is missing or damaged."""
    try:
        return read_json(path)
    except DamagedFileError:
        return {}


def write_cached_json(path: Path, record: Any) -> None:
    """Writes a JSON object of a cache, and its folder; does nothing where it can't be written, which costs time only."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, record)
