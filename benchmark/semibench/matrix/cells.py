"""Groups of cells: a matrix file lists products of names and numbers, and every combination is a `Cell`. Without torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import product
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field, create_model, model_validator
from pydantic.fields import FieldInfo

from semibench.contracts.errors import SemibenchError
from semibench.run.options import Option, WithoutNul
from semibench.run.request import Cell
from semibench.run.settings import parse, texts

if TYPE_CHECKING:
    from semibench.discovery.registry import Registry

CELLS = "Which cells (instead of a file)"
"""Panel of `bench matrix --help`."""

AXES = {name: f"{name}s" for name, field in Cell.model_fields.items() if Option.of(field).axis}
"""Field of a cell that may have several values in a group -> its plural, the name in a group."""

REPLICATE = ("draw", "fold", "seed")

OWN = ("settings", "control")
"""Fields of a cell that a group writes in its own way."""

Controls = bool | Literal["both"]
"""Which cells a group has: False: the methods; True: their controls; "both": the methods and their controls."""


MOST_NUMBERS = 100_000
"""Most numbers that a range may have."""

MOST_CELLS = 100_000
"""Most cells that a group may have; more can't be planned in reasonable time."""


def _several(value: Any) -> Any:
    """Wrap a single value in a list."""
    return value if isinstance(value, list | tuple) else [value]


def numbers(value: Any) -> Any:
    """Parse "0-2" to [0, 1, 2] and "0,3,5" to [0, 3, 5]; accept a number or a list of numbers. Raise ValueError otherwise."""
    parsed: list[int | None] = []
    for part in _several(value):
        if part is None or (isinstance(part, int) and not isinstance(part, bool)):
            parsed.append(part)
            continue
        if not isinstance(part, str):
            raise ValueError("expected numbers as 0-2, 0,3,5 or a list")
        for piece in part.split(","):
            low, dash, high = piece.strip().partition("-")
            if not low.isdecimal() or (dash and not high.isdecimal()) or (dash and int(high) < int(low)):
                raise ValueError(f"expected numbers as 0-2 or 0,3,5, found {part!r}")
            first, last = int(low), int(high if dash else low)
            if last - first >= MOST_NUMBERS:
                raise ValueError(f"expected at most {MOST_NUMBERS} numbers, found {piece.strip()!r}")
            parsed += range(first, last + 1)
    return list(dict.fromkeys(parsed))


def _axis(name: str, field: FieldInfo) -> tuple[Any, Any]:
    """Return type and default of a field in the plural: one value or several, with the option of `bench matrix`."""
    is_number = int in (field.annotation, *get_args(field.annotation))
    limits = [item for item in field.metadata if not isinstance(item, Option)]
    single: Any = Annotated[field.annotation, *limits] if limits else field.annotation
    short = [flag for flag in Option.of(field).flags(name) if not flag.startswith("--")]
    option = Option(
        Option.of(field).axis or "", (f"--{AXES[name]}", *short), CELLS, "0-2" if is_number else None, commas=True
    )
    several = BeforeValidator(numbers if is_number else _several)
    kind: Any = GenericAlias(tuple, (single, ...))
    return Annotated[kind, several, option, Field(min_length=1)], ... if field.is_required() else (field.default,)


def _shared(field: FieldInfo) -> tuple[Any, Any]:
    """Return type and default of a field that all cells of a group share."""
    several = [BeforeValidator(_several)] if get_origin(field.annotation) is tuple else []
    return Annotated[field.annotation, *field.metadata, *several], field.default


def _fields() -> type[BaseModel]:
    """Build the fields of a group: those of a cell, in the plural if a group may have several values."""
    fields: dict[str, Any] = {}
    for name, field in Cell.model_fields.items():
        if name in AXES:
            fields[AXES[name]] = _axis(name, field)
        elif name not in OWN:
            fields[name] = _shared(field)
    return create_model("GroupFields", __base__=WithoutNul, **fields)


class Group(_fields(), frozen=True, extra="forbid"):  # type: ignore[misc, call-arg]
    """A product of names and numbers: every combination is a cell.

    protocols, datasets, methods, backbones and recipes are one name or several; by default the method is the protocol's and
    the backbone the method's. draws, folds and seeds are numbers, a list, or "0-2". control: true for the methods' controls,
    "both" for the methods and their controls. The other fields are those of a cell.
    """

    set: dict[str, Any] = {}
    """Settings as for `--set`, by name, the same for all cells."""
    control: Controls = False

    @model_validator(mode="after")
    def _not_endless(self) -> Self:
        count = math.prod(len(getattr(self, plural)) for plural in AXES.values())
        if count > MOST_CELLS:
            raise ValueError(f"expected at most {MOST_CELLS} cells, found a product of {count}")
        return self

    def cells(self) -> list[Cell]:
        """Return all combinations; seeds vary fastest, so that rows are filled one by one. Controls follow the methods."""
        shared = {name: getattr(self, name) for name in Cell.model_fields if name not in AXES and name not in OWN}
        shared["settings"] = texts(self.set)
        points = product(*(getattr(self, plural) for plural in AXES.values()))
        cells = [Cell(**shared, **dict(zip(AXES, point, strict=True))) for point in points]
        return with_controls(cells, self.control)


def with_controls(cells: Iterable[Cell], which: Controls) -> list[Cell]:
    """Return the cells, their controls, or both."""
    methods = list(cells)
    controls = [cell.model_copy(update={"control": True}) for cell in methods] if which else []
    return controls if which is True else list(dict.fromkeys([*methods, *controls]))


def without_needless_controls(cells: Sequence[Cell], plugins: Registry) -> list[Cell]:
    """Leave out the controls of methods that use no unlabeled images, where the method itself is among the cells.

    Such a method is its own control. "both" asks for it nevertheless, since a group doesn't know its methods' cards."""
    named = {cell.method for cell in cells if cell.control and cell.method is not None}
    supervised = {name for name in named if not _uses_unlabeled(plugins, name)}
    present = set(cells)

    def needless(cell: Cell) -> bool:
        return cell.control and cell.method in supervised and cell.model_copy(update={"control": False}) in present

    return [cell for cell in cells if not needless(cell)]


def _uses_unlabeled(plugins: Registry, method: str) -> bool:
    try:
        return bool(plugins.get("methods", method).card.uses_unlabeled)
    except SemibenchError:  # planning the cell says so
        return True


def as_groups(cells: Iterable[Cell]) -> list[dict[str, Any]]:
    """Return these cells as groups of a matrix file: one group for all replicates of the same run."""
    groups: dict[Cell, dict[str, Any]] = {}
    for cell in cells:
        fields = {name: getattr(cell, name) for name in Cell.model_fields}
        base = Cell(**{name: value for name, value in fields.items() if name not in REPLICATE})
        if base not in groups:
            groups[base] = {AXES.get(name, name): value for name, value in base.model_dump(mode="json").items()}
            groups[base] |= {AXES[name]: [] for name in REPLICATE}
            groups[base]["set"] = parse(groups[base].pop("settings"))
        for name in REPLICATE:
            if fields[name] not in groups[base][AXES[name]]:
                groups[base][AXES[name]].append(fields[name])
    return [
        {name: value for name, value in group.items() if value is not False and value not in (None, [], [None], {})}
        for group in groups.values()
    ]


class MatrixFile(BaseModel, frozen=True, extra="forbid"):
    """A matrix as YAML: a list of groups, each a product. title and note are for readers."""

    title: str = ""
    note: str = ""
    cells: Annotated[tuple[Group, ...], Field(min_length=1)]

    def expand(self) -> list[Cell]:
        """Return the cells of all groups in order, each once."""
        return list(dict.fromkeys(cell for group in self.cells for cell in group.cells()))
