"""Describes how fields of a record appear as options of the command line. Imports neither torch nor typer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, field_validator
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Option:
    """How a field appears on the command line.

    help: one sentence. names: flags such as ("--method", "-m"), or ("--track/--no-track",) for a switch; default: the name of the
    field. panel: heading in the help. switch: the values of "--on/--off" flags if the field isn't a bool. written: whether a
    command line states the value even if it is the default. axis: help of the plural option of `bench matrix`; a matrix takes
    several values of a field that has one. commas: whether one word holds several values.
    """

    help: str
    names: tuple[str, ...] = ()
    panel: str | None = None
    metavar: str | None = None
    switch: tuple[Any, Any] | None = None
    written: bool = False
    axis: str | None = None
    commas: bool = False

    @classmethod
    def of(cls, field: FieldInfo) -> Option:
        """Returns the option of a field that has one."""
        return next(item for item in field.metadata if isinstance(item, cls))

    @classmethod
    def fields(cls, record: type[BaseModel]) -> dict[str, FieldInfo]:
        """Returns the fields of a record that have an option, by name."""
        every = record.model_fields.items()
        return {name: field for name, field in every if any(isinstance(item, cls) for item in field.metadata)}

    def flags(self, field: str) -> tuple[str, ...]:
        """Returns all flags of the option."""
        return self.names or (f"--{field.replace('_', '-')}",)

    def words(self, field: str, value: Any) -> list[str]:
        """Returns the words that give the field this value on a command line, with the shortest flag."""
        flag = self.flags(field)[-1]
        if isinstance(value, bool) or self.switch is not None:
            on, _, off = flag.partition("/")
            word = on if value in (True, self.switch and self.switch[0]) else off
            return [word] if word else []
        values = value if isinstance(value, tuple) else (value,)
        return [word for item in values for word in (flag, str(item))]


class WithoutNul(BaseModel, frozen=True, extra="forbid"):
    """A record whose texts and paths don't hold the character NUL, which no name or path may."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        texts = value if isinstance(value, (list, tuple)) else (value,)
        if any(isinstance(text, (str, Path)) and "\0" in str(text) for text in texts):
            raise ValueError("expected a text without the character NUL")
        return value


class Asked(WithoutNul, frozen=True, extra="forbid"):
    """Base of the parts of a request. Their fields are options of the command line."""

    def words(self, *, leave_out: Iterable[str] = ()) -> list[str]:
        """Returns the equivalent options: fields that differ from their default, and those that are always written."""
        skipped, words = set(leave_out), []
        for name, field in Option.fields(type(self)).items():
            value, option = getattr(self, name), Option.of(field)
            if name not in skipped and (option.written or field.is_required() or value != field.default):
                words += option.words(name, value)
        return words
