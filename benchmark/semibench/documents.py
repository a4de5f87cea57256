"""Read YAML files that users write into records. An error about a wrong key or value names the file and the line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from semibench.contracts.errors import UsageError

if TYPE_CHECKING:
    import yaml

Model = TypeVar("Model", bound=BaseModel)

NUMBER = re.compile(r"[-+]?(?:[0-9]+[eE][-+]?[0-9]+|(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)$")


@cache
def loader() -> type[yaml.SafeLoader]:
    """Return the YAML loader for files that users write.

    YAML 1.1 reads 1e-3 and -.5 as text; here they are numbers, unless they are quoted.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", NUMBER, list("-+.0123456789"))
    return Loader


def read_document(path: Path, model: type[Model]) -> Model:
    """Read a file as a record.

    Args:
        path: the YAML file.
        model: type of the record.

    Raises:
        UsageError: for a missing file, invalid YAML, a duplicate key, an unknown key or a wrong value; names file and line.
    """
    if not path.is_file():
        raise UsageError(f"{path}: the file does not exist")
    return parse_document(path.read_text(encoding="utf-8"), model, str(path))


def parse_document(text: str, model: type[Model], name: str) -> Model:
    """Parse a text as `read_document` does; messages call it `name`."""
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{name}:{line}: not valid YAML: {error.problem}") from error
    if not isinstance(node, yaml.MappingNode):
        raise UsageError(f"{name}:1: expected keys and values, found {'nothing' if node is None else node.tag}")
    _refuse_duplicates(node, name)
    values = yaml.load(text, Loader=loader())
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_message(item, node, name, model) for item in error.errors()]
        raise UsageError("\n".join(dict.fromkeys(lines))) from error


def _refuse_duplicates(node: Any, name: str) -> None:
    import yaml

    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if str(key.value) in seen:
                raise UsageError(f"{name}:{key.start_mark.line + 1}: the key {key.value!r} is given twice")
            seen.add(str(key.value))
            _refuse_duplicates(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, name)


def _message(item: Mapping[str, Any], node: Any, name: str, model: type[BaseModel]) -> str:
    """Describe an error in one line: file, line, path of the key, what was expected and found."""
    location = [part for part in item["loc"] if not (isinstance(part, str) and _is_branch(part))]
    line, key = _line(node, location)
    if item["type"] == "extra_forbidden":
        known = _fields(model, location[:-1])
        near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{name}:{line}: unknown key {key!r}{hint} Known: {', '.join(known) or 'none'}"
    path = ".".join(str(part) for part in location) or "the file"
    if item["type"] == "missing":
        return f"{name}:{line}: {path} is missing"
    return f"{name}:{line}: {path}: {item['msg']}, found {item['input']!r}"


def _is_branch(part: str) -> bool:
    """Return whether a part of the path is the branch of a union, which pydantic inserts ("list[str]")."""
    return "[" in part or part in {"str", "int", "float", "bool", "none"}


def _line(node: Any, location: list[Any]) -> tuple[int, Any]:
    """Return the line (from 1) of the deepest existing node on the path, and the last key of the path."""
    import yaml

    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            matches = [(key, value) for key, value in node.value if str(key.value) == str(part)]
            if not matches:
                break
            line, node = matches[0][0].start_mark.line + 1, matches[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line, (location[-1] if location else "")


def _fields(model: type[BaseModel], location: list[Any]) -> list[str]:
    """Return the keys that `model` accepts at this path."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        field = getattr(current, "model_fields", {}).get(part)
        if (
            field is not None
        ):  # otherwise the part is a key in a mapping of records, and `current` is already that record
            current = _record_in(field.annotation)
    return list(getattr(current, "model_fields", {}))


def _record_in(annotation: Any) -> Any:
    """Return the record type within an annotation such as `list[Group] | None`, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        record = _record_in(inner)
        if record is not None:
            return record
    return None
