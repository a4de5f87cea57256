"""`--set name=value`: reads and writes settings, and assigns them to the parts of a run.

A name is `part.field` ("recipe.lr", "method.decay", "backbone.width", "protocol.labeled", "dataset.edition",
"phantom.cases", "generator.steps", "term.consistency") or just the field where only one part has it. Deeper fields are
reached with more dots ("recipe.weak.flip", "term.consistency.ramp.end"). Values are YAML; `parse` reads them, `write` writes them.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator

from semibench.contracts.errors import UsageError
from semibench.documents import shown
from semibench.files import jsonable

Model = TypeVar("Model", bound=BaseModel)
Nested = dict[str, Any]


PLAIN = re.compile(r"(?!(?:null|true|false|yes|no|on|off)$)[a-z][a-z0-9_-]*", re.IGNORECASE)
"""Text that YAML reads as text even without quotes."""


def parse(texts: Iterable[str]) -> dict[str, Any]:
    """Parses settings: ["a.b=1", "c=[1, 2]"] -> {"a.b": 1, "c": [1, 2]}.

    Raises:
        UsageError: for a text without "=", a repeated name, or a value that isn't YAML.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"--set {shown(text)}: expected name=value, e.g. --set lr=0.02")
        if name in settings:
            raise UsageError(f"--set {name} is given twice")
        try:
            settings[name] = read(value)
        except ValueError as error:
            raise UsageError(f"--set {name}: {shown(value)} is not a YAML value: {error}") from error
    return settings


def read(text: str) -> Any:
    """Returns the value of a YAML text. Raises ValueError if it isn't YAML."""
    from semibench.documents import plain_value

    return plain_value(text)


def write(value: Any) -> str:
    """Returns a one-line text that `read` turns back into the value (tuples become lists)."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) else _quoted(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else str(value).replace("inf", ".inf").replace("nan", ".nan")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(write, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{write(key)}: {write(item)}" for key, item in value.items()) + "}"
    import yaml

    return str(yaml.safe_dump(value, default_flow_style=True, width=math.inf)).removesuffix("\n").removesuffix("\n...")


def texts(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns settings as `--set` takes them, {"a.b": 1} -> ("a.b=1",); the inverse of `parse`."""
    return tuple(f"{name}={write(value)}" for name, value in values.items())


def _quoted(text: str) -> str:
    """Puts a text in double quotes and escapes what isn't printable, as YAML does."""
    escaped = (f"\\{sign}" if sign in '"\\' else sign if sign.isprintable() else _escape(ord(sign)) for sign in text)
    return f'"{"".join(escaped)}"'


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def assign(settings: Mapping[str, Any], parts: Mapping[str, Iterable[str]]) -> dict[str, Nested]:
    """Assigns settings to the parts of a run.

    Args:
        settings: as `parse` returns them.
        parts: name of a part -> its top-level fields.

    Returns:
        Part -> its settings, nested.

    Raises:
        UsageError: for a name that no part has, or several.
    """
    fields = {part: set(names) for part, names in parts.items()}
    by_part: dict[str, Nested] = {part: {} for part in parts}
    for name, value in settings.items():
        head, _, rest = name.partition(".")
        if head in fields and rest:
            part, path = head, rest
            top = rest.split(".")[0]
            if top not in fields[part]:
                raise UsageError(_unknown(name, {f"{part}.{field}" for field in fields[part]}))
        else:
            owners = [part for part, names in fields.items() if head in names]
            if not owners:
                raise UsageError(_unknown(name, {f for names in fields.values() for f in names}))
            if len(owners) > 1:
                choices = ", ".join(f"{owner}.{name}" for owner in owners)
                raise UsageError(f"--set {name}: several parts have this field; write one of: {choices}")
            part, path = owners[0], name
        _put(by_part[part], path.split("."), value, name)
    return by_part


def _unknown(name: str, names: set[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"--set {name}: no part has this field.{hint} Known: {', '.join(sorted(names))}"


def _put(target: Nested, path: list[str], value: Any, name: str) -> None:
    *parents, last = path
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise UsageError(f"--set {name}: {parent!r} already has a value")
    target[last] = value


def merge(*layers: Mapping[str, Any]) -> Nested:
    """Merges mappings: later layers override earlier ones. Nested mappings are merged, other values replaced."""
    result: Nested = {}
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
                result[key] = merge(result[key], value)
            else:
                result[key] = dict(value) if isinstance(value, Mapping) else value
    return result


def build(model: type[Model], what: str, *layers: Mapping[str, Any]) -> Model:
    """Merges layers of values and validates them.

    Args:
        model: the record to build.
        what: what error messages call it.
        layers: as in `merge`.

    Raises:
        UsageError: with one entry for each invalid field.
    """
    values = merge(*layers)
    endless = [name for name, value in _numbers(values) if not math.isfinite(value)]
    if endless:
        raise UsageError(f"{what}: {', '.join(endless)}: expected a finite number, found NaN or infinity")
    flags = [name for name, value in values.items() if isinstance(value, bool) and _is_number(model, name)]
    if flags:
        raise UsageError(f"{what}: {', '.join(flags)}: expected a number, found true or false")
    try:
        return model(**values)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            where = ".".join(str(part) for part in item["loc"]) or "value"
            if item["type"] == "extra_forbidden":
                near = difflib.get_close_matches(where, model.model_fields, n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                names = ", ".join(model.model_fields) or "none"
                lines.append(f"{where}: unknown option{hint} Known: {names}")
            else:
                lines.append(f"{where}: {item['msg']}, found {shown(item['input'])}")
        raise UsageError(f"{what}: " + "; ".join(lines)) from error


def _is_number(model: type[BaseModel], name: str) -> bool:
    """Returns whether a field takes numbers and no flags; pydantic would take true for 1."""
    field = model.model_fields.get(name)
    kinds = set() if field is None else {field.annotation, *get_args(field.annotation)}
    return bool(kinds & {int, float}) and bool not in kinds


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yields the fractions in nested values, each with its dotted name."""
    if isinstance(value, float):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _numbers(inner, f"{name}.{number}")


def default_options(model: type[BaseModel]) -> Nested:
    """Returns the defaults of a record's fields as plain values; required fields are left out."""
    defaults: Nested = {}
    for name, field in model.model_fields.items():
        if not field.is_required():
            value = field.get_default(call_default_factory=True)
            defaults[name] = jsonable(value.model_dump(mode="json") if isinstance(value, BaseModel) else value)
    return defaults


class _RampRecord(BaseModel, extra="forbid"):
    """What `Ramp` can be."""

    kind: Literal["constant", "sigmoid", "linear", "cosine", "decline"]
    end: float = Field(gt=0)
    levels: int = Field(ge=0, le=10_000)


class _TermRecord(BaseModel, extra="forbid"):
    """What `Term.record` can be."""

    weight: float = Field(ge=-1e12, le=1e12)
    ramp: _RampRecord
    active: tuple[float, float | None]

    @field_validator("active")
    @classmethod
    def _in_order(cls, active: tuple[float, float | None]) -> tuple[float, float | None]:
        if active[1] is not None and not active[0] < active[1]:
            raise ValueError("expected (start, end) with start < end")
        return active


def term_records(defaults: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the records of all terms (see `Term.record`) with changes applied; a plain number changes the weight."""
    records = {name: term.record() for name, term in defaults.items()}
    for name, change in changes.items():
        if name not in records:
            raise UsageError(_unknown(f"term.{name}", {f"term.{term}" for term in records}))
        change = {"weight": change} if isinstance(change, int | float) and not isinstance(change, bool) else change
        if not isinstance(change, Mapping) or set(change) - set(records[name]):
            raise UsageError(
                f"term.{name}: expected a weight or the fields weight, ramp.kind, ramp.end, ramp.levels, active; "
                f"found {shown(change)}"
            )
        records[name] = merge(records[name], change)
        build(_TermRecord, f"term.{name}", records[name])
        records[name]["weight"] = float(records[name]["weight"])
    return records
