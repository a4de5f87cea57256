"""Generates options from the fields of records, so that each field is described in one place only."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, get_args, get_origin

import typer
from annotated_types import Ge, Le
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from semibench.run.options import Option

Empty = inspect.Parameter.empty


@dataclass(frozen=True)
class Fields:
    """Marks a parameter of a command: each field of a record becomes an option.

    The parameter receives the record or, if it is annotated as a dict, the values by field; then no option is required. A
    parameter may have several marks of one record, which show different fields in different panels.

    only, leave_out: names of fields (default: all that have an option). panel: heading in the help that replaces those of the
    fields. texts: help texts by field that replace those of the fields, for a command where they mean something more specific.
    """

    record: type[BaseModel]
    only: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    panel: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)

    def fields(self) -> dict[str, FieldInfo]:
        """Returns the fields that become options, in the order of the record."""
        selected = set(self.only or Option.fields(self.record)) - set(self.leave_out)
        return {name: info for name, info in self.record.model_fields.items() if name in selected}

    def option(self, name: str) -> Option:
        """Returns the option for a field, as the command shows it."""
        own = Option.of(self.record.model_fields[name])
        return replace(own, help=self.texts.get(name, own.help), panel=self.panel or own.panel)

    def take(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Removes the values of the fields from a command's arguments and returns them. A field without a value is left out, so
        that it gets its default."""
        values = {name: _value(info, arguments.pop(name)) for name, info in self.fields().items()}
        return {name: value for name, value in values.items() if value is not None}


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Wraps a command for typer: each parameter that is a record, or marked with `Fields`, becomes one option per field.

    A value that the record rejects is reported as wrong usage, like a value of the wrong type."""
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    marked: dict[str, tuple[Sequence[Fields], bool]] = {}
    for parameter in signature.parameters.values():
        kind, marks = _marks(parameter.annotation)
        if not marks:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        as_record = get_origin(kind) is not dict
        marked[parameter.name] = marks, as_record
        parameters += [_parameter(name, mark, as_record) for mark in marks for name in mark.fields()]

    @functools.wraps(command)
    def call(**arguments: Any) -> None:
        records = {}
        for name, (marks, as_record) in marked.items():
            values = {field_name: value for mark in marks for field_name, value in mark.take(arguments).items()}
            records[name] = _record(marks[0].record, values) if as_record else values
        command(**records, **arguments)

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _marks(annotation: Any) -> tuple[Any, list[Fields]]:
    """Returns the bare type of a parameter, and its marks. A record without a mark counts as marked with all its fields."""
    if get_origin(annotation) is Annotated:
        kind, *more = get_args(annotation)
        return kind, [item for item in more if isinstance(item, Fields)]
    is_record = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation, [Fields(annotation)] if is_record else []


def _record(record: type[BaseModel], values: Mapping[str, Any]) -> BaseModel:
    """Builds the record. Raises typer.BadParameter for an invalid value."""
    try:
        return record(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        flag = Option.of(record.model_fields[name]).flags(name)[0] if name in Option.fields(record) else None
        raise typer.BadParameter(first["msg"].removeprefix("Value error, "), param_hint=flag) from error


def _parameter(name: str, mark: Fields, required: bool) -> inspect.Parameter:
    """Returns one field as a parameter with an option."""
    info, option = mark.record.model_fields[name], mark.option(name)
    kind: Any = info.annotation
    default = info.default
    if option.switch is not None:
        kind, default = bool | None, None
    elif option.commas:
        kind, default = str | None, None
    elif get_origin(kind) is tuple:
        kind, default = list[str] | None, None
    elif info.is_required():
        kind, default = (kind, Empty) if required else (kind | None, None)
    shown = default not in (None, "") and not isinstance(default, bool)
    typer_option = _typer_option(info, option, name, show_default=shown)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, typer_option]
    )


def option_of(record: type[BaseModel], name: str, *, panel: str | None = None) -> Any:
    """Returns typer's option for one field, for a command that takes no other field of the record."""
    return _typer_option(record.model_fields[name], Fields(record, panel=panel).option(name), name)


def _typer_option(info: FieldInfo, option: Option, name: str, *, show_default: bool = False) -> Any:
    limits = {type(item): item for item in info.metadata}
    return typer.Option(
        *option.flags(name),
        help=option.help,
        rich_help_panel=option.panel,
        metavar=option.metavar,
        min=limits[Ge].ge if Ge in limits else None,
        max=limits[Le].le if Le in limits else None,
        show_default=show_default,
    )


def _value(info: FieldInfo, value: Any) -> Any:
    """Converts the value of an option to that of its field; None if the option wasn't given."""
    option = Option.of(info)
    if option.switch is not None:
        return {True: option.switch[0], False: option.switch[1]}.get(value)
    if get_origin(info.annotation) is tuple and not option.commas:
        return tuple(value) if value else None
    return value
