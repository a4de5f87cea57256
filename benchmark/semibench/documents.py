"""Read YAML files that users write into records. An error about a wrong key or value names the file and the line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from semibench.contracts.errors import UsageError, one_line

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
        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)
            except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:  # "2020-13-01", "!!int x"
                why = f" ({one_line(error)})" if isinstance(error, ValueError) else ""
                what = f"{shown(node.value)} can't be read as {node.tag.rpartition(':')[2]}{why}"
                raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from error

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", NUMBER, list("-+.0123456789"))
    return Loader


LARGEST = 1 << 20
"""Most characters of a document that a user writes."""

MOST_VALUES = 100_000
"""Most values of a document, with those that it repeats by aliases counted each time."""

DEEPEST = 50
"""Most values inside each other."""


class NotPlainError(ValueError):
    """A text is not YAML, or more than a document that a user writes. line: where, from 1."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


def composed(text: str) -> yaml.Node | None:
    """Return the nodes of a YAML text, None if it is empty.

    Raises:
        NotPlainError: for anything else, for a text that is too large or nested too deeply, and for aliases that repeat a value in
            itself or more often than any document needs.
    """
    import yaml

    if len(text) > LARGEST:
        raise NotPlainError(f"expected at most {LARGEST} characters, found {len(text)}")
    try:
        node = yaml.compose(text, Loader=loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotPlainError(error.problem or one_line(error), mark.line + 1 if mark else 1) from error
    except yaml.YAMLError as error:  # a character that YAML doesn't allow
        raise NotPlainError(one_line(error).split(" in ")[0]) from error
    except RecursionError as error:
        raise NotPlainError("the values are nested too deeply") from error
    if node is not None:
        _refuse_endless(node, {}, [])
    return node


def _refuse_endless(node: Any, sizes: dict[int, int], parents: list[int]) -> int:
    """Return the number of values under a node; raise NotPlainError if there are too many."""
    import yaml

    line = node.start_mark.line + 1
    if id(node) in parents:
        raise NotPlainError("an alias repeats a value inside itself", line)
    if len(parents) > DEEPEST:
        raise NotPlainError(f"more than {DEEPEST} values inside each other", line)
    if id(node) not in sizes:
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        inner = [*parents, id(node)]
        flat = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
        sizes[id(node)] = 1 + sum(_refuse_endless(child, sizes, inner) for child in flat)
    if sizes[id(node)] > MOST_VALUES:
        raise NotPlainError(f"more than {MOST_VALUES} values; an alias repeats its value each time", line)
    return sizes[id(node)]


def plain_value(text: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        NotPlainError: as `composed` does, and for a value that isn't what its tag says.
    """
    node = composed(text)
    return None if node is None else _constructed(node)


def _constructed(node: Any) -> Any:
    import yaml

    builder = loader()("")
    try:
        return builder.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotPlainError(error.problem or one_line(error), mark.line + 1 if mark else 1) from error
    except RecursionError as error:
        raise NotPlainError("the values are nested too deeply") from error


def shown(value: Any) -> str:
    """Return a value as messages quote it: its beginning, if it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(text)} characters)"


LONGEST = 200
"""Characters of a value in a message."""


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
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: expected a text in UTF-8, found other bytes ({error.reason}); save it as UTF-8"
        ) from error
    return parse_document(text, model, str(path))


def parse_document(text: str, model: type[Model], name: str) -> Model:
    """Parse a text as `read_document` does; messages call it `name`."""
    import yaml

    try:
        node = composed(text)
        if not isinstance(node, yaml.MappingNode):
            raise UsageError(f"{name}:1: expected keys and values, found {'nothing' if node is None else node.tag}")
        _refuse_duplicates(node, name)
        values = _constructed(node)
    except NotPlainError as error:
        raise UsageError(f"{name}:{error.line}: not valid YAML: {error}") from error
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
    return f"{name}:{line}: {path}: {item['msg']}, found {shown(item['input'])}"


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
