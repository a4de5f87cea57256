"""Options that are generated from the fields of records, so that a field is described in one place: the record."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

import typer
from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from semibench.run.request import Option

Empty = inspect.Parameter.empty


@dataclass(frozen=True)
class Fields:
    """Marks a parameter of a command whose value comes from the options for the fields of a record.

    only, leave_out: names of fields. The parameter is the record; where it is annotated as a dict, it is the values by field, and
    no option is required."""

    record: type[BaseModel]
    only: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()

    def fields(self) -> dict[str, FieldInfo]:
        """The fields that become options, in the order of the record."""
        wanted = set(self.only or self.record.model_fields) - set(self.leave_out)
        return {name: field for name, field in self.record.model_fields.items() if name in wanted}

    def take(self, given: dict[str, Any]) -> dict[str, Any]:
        """Takes the values of the fields out of what the command was called with; a field whose option wasn't given is left out,
        so that it has its default."""
        values = {name: _value(field, given.pop(name)) for name, field in self.fields().items()}
        return {name: value for name, value in values.items() if value is not None}


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer takes it: each parameter that is a record, or marked with `Fields`, becomes one option per field."""
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    marked: dict[str, tuple[Fields, bool]] = {}
    for parameter in signature.parameters.values():
        kind, mark = _mark(parameter.annotation)
        if mark is None:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        as_record = get_origin(kind) is not dict
        marked[parameter.name] = mark, as_record
        parameters += [_parameter(name, field, as_record) for name, field in mark.fields().items()]

    @functools.wraps(command)
    def call(**given: Any) -> None:
        made = {}
        for name, (mark, as_record) in marked.items():
            values = mark.take(given)
            made[name] = mark.record(**values) if as_record else values
        command(**made, **given)

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _mark(annotation: Any) -> tuple[Any, Fields | None]:
    """The bare type of a parameter, and its mark if it has one; a record by itself stands for all of its fields."""
    if get_origin(annotation) is Annotated:
        kind, *more = get_args(annotation)
        return kind, next((item for item in more if isinstance(item, Fields)), None)
    is_record = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation, Fields(annotation) if is_record else None


def _parameter(name: str, field: FieldInfo, required: bool) -> inspect.Parameter:
    """One field as a parameter with an option."""
    option, default = Option.of(field), field.default
    kind: Any = field.annotation
    if option.switch is not None:
        kind, default = bool | None, None
    elif option.commas:
        kind, default = str | None, None
    elif get_origin(kind) is tuple:
        kind, default = list[str] | None, None
    elif field.is_required():
        kind, default = (kind, Empty) if required else (kind | None, None)
    shown = default is not None and not isinstance(default, bool)
    made = option_of(field, name, show_default=shown)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, made])


def option_of(field: FieldInfo, name: str, *, show_default: bool = False) -> Any:
    """What typer needs to know of the option for a field."""
    option = Option.of(field)
    limits = {type(item): item for item in field.metadata}
    return typer.Option(
        *option.flags(name),
        help=option.help,
        rich_help_panel=option.panel,
        metavar=option.metavar,
        min=limits[Ge].ge if Ge in limits else None,
        max=limits[Le].le if Le in limits else None,
        show_default=show_default,
    )


def _value(field: FieldInfo, value: Any) -> Any:
    """The value of a field from that of its option; None where the option wasn't given."""
    option = Option.of(field)
    if option.switch is not None:
        return {True: option.switch[0], False: option.switch[1]}.get(value)
    if get_origin(field.annotation) is tuple and not option.commas:
        return tuple(value) if value else None
    return value
