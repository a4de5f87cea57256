"""Options that are generated from the fields of records, so that a field is described in one place: the record."""

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
    """Marks a parameter of a command whose value comes from the options for the fields of a record.

    The parameter is the record; where it is annotated as a dict, it is the values by field, and no option is required. A
    parameter may carry several marks of one record, which show different fields in different panels.

    only, leave_out: names of fields (default: all that have an option). panel: heading in the help, in place of the fields' own.
    texts: help texts by field, in place of the fields' own, for a command where they mean something more specific.
    """

    record: type[BaseModel]
    only: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    panel: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)

    def fields(self) -> dict[str, FieldInfo]:
        """The fields that become options, in the order of the record."""
        wanted = set(self.only or Option.fields(self.record)) - set(self.leave_out)
        return {name: info for name, info in self.record.model_fields.items() if name in wanted}

    def option(self, name: str) -> Option:
        """The option for a field, as the command shows it."""
        own = Option.of(self.record.model_fields[name])
        return replace(own, help=self.texts.get(name, own.help), panel=self.panel or own.panel)

    def take(self, given: dict[str, Any]) -> dict[str, Any]:
        """Takes the values of the fields out of what the command was called with; a field whose option wasn't given is left out,
        so that it has its default."""
        values = {name: _value(info, given.pop(name)) for name, info in self.fields().items()}
        return {name: value for name, value in values.items() if value is not None}


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer takes it: each parameter that is a record, or marked with `Fields`, becomes one option per field.

    A value that its record refuses is reported as wrong usage, like a value of the wrong type."""
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
    def call(**given: Any) -> None:
        made = {}
        for name, (marks, as_record) in marked.items():
            values = {field_name: value for mark in marks for field_name, value in mark.take(given).items()}
            made[name] = _record(marks[0].record, values) if as_record else values
        command(**made, **given)

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _marks(annotation: Any) -> tuple[Any, list[Fields]]:
    """The bare type of a parameter, and its marks; a record by itself stands for all of its fields."""
    if get_origin(annotation) is Annotated:
        kind, *more = get_args(annotation)
        return kind, [item for item in more if isinstance(item, Fields)]
    is_record = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation, [Fields(annotation)] if is_record else []


def _record(record: type[BaseModel], values: Mapping[str, Any]) -> BaseModel:
    """The record with these values. Raises typer.BadParameter for a value that it refuses."""
    try:
        return record(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        flag = Option.of(record.model_fields[name]).flags(name)[0] if name in Option.fields(record) else None
        raise typer.BadParameter(first["msg"].removeprefix("Value error, "), param_hint=flag) from error


def _parameter(name: str, mark: Fields, required: bool) -> inspect.Parameter:
    """One field as a parameter with an option."""
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
    made = _typer_option(info, option, name, show_default=shown)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, made])


def option_of(record: type[BaseModel], name: str, *, panel: str | None = None) -> Any:
    """What typer needs to know of the option for one field, for a command that takes no other field of its record."""
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
    """The value of a field from that of its option; None where the option wasn't given."""
    option = Option.of(info)
    if option.switch is not None:
        return {True: option.switch[0], False: option.switch[1]}.get(value)
    if get_origin(info.annotation) is tuple and not option.commas:
        return tuple(value) if value else None
    return value
