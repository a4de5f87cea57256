"""Conventions with values for their options in the name: `semibench-2@tolerance=1`.

A convention has options if its class has a pydantic record `Options` and an instance of it, `options`. A name with values is
another convention: a subclass with these `options`.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from pydantic import BaseModel, ValidationError

from semibench.contracts.errors import UnknownNameError, UsageError
from semibench.contracts.identity import canonical, sha256
from semibench.discovery.guard import calling
from semibench.discovery.registered import Registered

MARK = "@"
"""Stands between the name of a convention and its options."""

NAME = re.compile(rf"(?P<base>.+){MARK}(?P<words>[a-z_]+=[^{MARK}/\\]*)", re.DOTALL)


def in_parts(name: str) -> tuple[str, str] | None:
    """Return the name of a convention and its options, `("semibench-2", "tolerance=1")`; None for a name without options."""
    match = NAME.fullmatch(name)
    return None if match is None else (match["base"], match["words"])


def plain_name(name: str) -> str:
    """Return the name of a convention without its options."""
    parts = in_parts(name)
    return name if parts is None else parts[0]


def with_options(item: Registered, words: str) -> Registered:
    """Return a convention with values for its options. Values that are the defaults make no other convention.

    Args:
        item: the convention.
        words: "tolerance=1", with commas between several.

    Raises:
        UsageError: if it has no such option, or a value isn't one of it.
    """
    cls = item.resolve()
    model = getattr(cls, "Options", None)
    if not (
        isinstance(model, type) and issubclass(model, BaseModel) and isinstance(getattr(cls, "options", None), model)
    ):
        raise UsageError(f"convention {item.name!r} has no options, found {words!r}; write {item.name}")
    values = _read(item, model, words)
    try:
        options = model.model_validate(cls.options.model_dump() | values)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise UsageError(
            f"convention {item.name!r}, option {where}: {fault['msg']}, found {values.get(where)!r}; see bench show convention "
            f"{item.name}"
        ) from error
    chosen = {key: value for key, value in options.model_dump().items() if value != getattr(cls.options, key)}
    if not chosen:
        return item
    name = f"{item.name}{MARK}{','.join(f'{key}={_text(value)}' for key, value in sorted(chosen.items()))}"
    attribute = f"{cls.__name__}_{sha256(canonical([item.full_name, name]))[:8]}"
    card = item.card.model_copy(
        update={
            "name": name,
            "title": f"{item.card.title} ({name.partition(MARK)[2]})",
            "load": f"{__name__}:{attribute}",
        }
    )
    here = sys.modules[__name__]
    if not hasattr(here, attribute):
        with calling(cls, "__init_subclass__"):
            made = type(
                attribute, (cls,), {"options": options, "card": card, "__doc__": cls.__doc__, "__module__": __name__}
            )
        setattr(here, attribute, made)
    return Registered(
        item.kind, card, item.distribution, item.version, item.entry_point, item.module, item.file, item.assumed
    )


def _read(item: Registered, model: type[BaseModel], words: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for word in words.split(","):
        key, equals, value = word.partition("=")
        if not equals:
            raise UsageError(
                f"convention {item.name!r}: expected OPTION=VALUE, with commas between several, found {word!r}"
            )
        if key not in model.model_fields:
            raise UnknownNameError(f"option of convention {item.name!r}", key, model.model_fields)
        if key in values:
            raise UsageError(f"convention {item.name!r}: expected the option {key!r} once, found it twice; keep one")
        values[key] = value
    return values


def _text(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)
