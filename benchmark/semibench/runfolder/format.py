"""The format of a run folder's JSON files: its version, and the base classes of the records.

Every file carries `format`, the version of its layout (`FORMAT`; a file without it is of format 1). An older file is lifted
on reading, a newer one is refused. The exception is spec.json: it is a `RunSpec` and nothing else, since its digest is the
run key. A field that an older file lacks has a default; a value of the wrong type, NaN or an infinity is an error. Fields
that this version doesn't know are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from semibench.contracts.errors import IdentityError
from semibench.contracts.identity import RunSpec
from semibench.files import DamagedFileError, json_object, jsonable, write_json

FORMAT = 2
"""Version of the format of a run folder's files. 1: files without this number (before 2026-12). 2: adds the number; the
digest of the drawn split in split.json and result.json; start time and host (a digest) of the process in
status.json."""


class RunFolderError(IdentityError):
    """A file of a run folder is missing, truncated or contradicts another one; the message names the folder and the file."""


class NewerFormatError(RunFolderError):
    """A file of a run folder was written by a newer Semibench."""


class Record(BaseModel):
    """Base of records and their parts: immutable, strict about types, lenient about unknown fields."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", allow_inf_nan=False)

    def filled(self) -> dict[str, Any]:
        """Returns the fields that aren't None, as plain values."""
        return self.model_dump(mode="json", exclude_none=True)


class FolderRecord(Record):
    """A record stored as one JSON file of a run folder. FILE: the file's name."""

    FILE: ClassVar[str]

    format: int = Field(default=FORMAT, ge=1)

    @classmethod
    def make(cls, **values: Any) -> Self:
        """Returns a new record from the harness's values: NaN becomes None, arrays and tuples become lists."""
        return cls.model_validate_json(to_json(jsonable(values)))

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Self:
        """Reads the record from the bytes of its file.

        Args:
            data: the whole file.
            where: the file's path, for messages.

        Raises:
            NewerFormatError: if a newer Semibench wrote it.
            RunFolderError: if it isn't such a record.
        """
        try:  # a file of this version is parsed once
            record = cls.model_validate_json(data)
            if "format" in record.model_fields_set and record.format == FORMAT:
                return record
        except ValidationError:
            pass
        try:
            loaded = json_object(data, where)
        except DamagedFileError as error:
            raise RunFolderError(str(error)) from error
        version = loaded.get("format", 1)
        if isinstance(version, int) and version > FORMAT:
            raise NewerFormatError(
                f"{where} has format {version}, and this Semibench reads formats up to {FORMAT}: update Semibench "
                "(pip install --upgrade semibench), or use another folder of runs"
            )
        if version != FORMAT:
            data = to_json(cls.lifted(loaded))
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise RunFolderError(f"{where}: {first_complaint(error)}") from error

    @classmethod
    def from_disk(cls, folder: Path) -> Self | None:
        """Reads the record of a run folder; returns None if there is no file. Raises the errors of `from_bytes`."""
        data = file_bytes(folder / cls.FILE)
        return None if data is None else cls.from_bytes(data, str(folder / cls.FILE))

    def to_disk(self, folder: Path) -> None:
        """Writes the file, atomically."""
        write_json(folder / self.FILE, self)

    @classmethod
    def lifted(cls, record: dict[str, Any]) -> dict[str, Any]:
        """Converts an older record to the current format."""
        return {**record, "format": FORMAT} if record.get("format", 1) == 1 else record


def file_bytes(file: Path) -> bytes | None:
    """Returns the bytes of a file of a run folder, or None if there is none. Raises RunFolderError if it can't be read."""
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunFolderError(f"{file} can't be read ({error.strerror})") from error


def first_complaint(error: ValidationError) -> str:
    """Returns the first validation error in one line: "scores.0.mean: input should be a finite number"."""
    first = error.errors(include_url=False, include_context=False)[0]
    text = str(first["msg"]).removeprefix("Value error, ")
    path = ".".join(str(part) for part in first["loc"])
    return f"{path}: {text[:1].lower()}{text[1:]}" if path else f"{text[:1].lower()}{text[1:]}"


# ---- files without such a record -----------------------------------------------------------------------------------

SPEC_FILE = "spec.json"
SYNTHETIC_FILE = "synthetic.json"
"""How the synthetic cases of the draw were generated."""
LOG_FILE = "log.txt"
PREDICTIONS = "predictions"
"""Folder of the predicted label maps: CHECKPOINT/PREDICTOR/CASE.npz."""


def is_run_folder(folder: Path) -> bool:
    """Returns whether a folder holds a run, that is, a spec. `RunFolder.check` tells whether its files are sound."""
    return (folder / SPEC_FILE).is_file()


def parse_spec(data: bytes, where: str) -> RunSpec:
    """Reads the spec from the bytes of spec.json. Raises RunFolderError if they hold none."""
    try:
        return RunSpec.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise RunFolderError(f"{where} is not a run spec: {first_complaint(error)}") from error


def write_spec(folder: Path, spec: RunSpec) -> None:
    """Writes spec.json, atomically."""
    write_json(folder / SPEC_FILE, spec)
