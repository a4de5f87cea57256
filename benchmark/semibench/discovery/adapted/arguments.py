"""The arguments of a network's constructor: which of them the harness gives, and which are options."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from pydantic_core import PydanticSerializationError, to_jsonable_python
from torch import nn

from semibench.contracts.errors import UsageError

ROLES: Mapping[str, tuple[str, ...]] = {
    "dims": ("spatial_dims", "dims", "ndim", "dim", "dimensions"),
    "channels": (
        "in_channels", "input_channels", "n_channels", "num_channels", "in_chans", "in_chns", "in_ch", "img_ch", "channels",
    ),
    "outputs": (
        "out_channels", "num_classes", "n_classes", "output_channels", "class_num", "classes", "outputs", "out_ch", "output_ch",
    ),
    "patch": ("img_size", "image_size", "input_size"),
}  # fmt: skip
"""What the harness gives a network -> the names that arguments for it have, the first that a network has is used."""

RECIPES = "width"
"""An option that recipes set for the harness's own networks; an argument of this name is called `own_width`."""


class PlainOptions(BaseModel):
    """Base of the options of adapted networks."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


@dataclass(frozen=True)
class Arguments:
    """How a network is built.

    given: role -> argument. options: the record whose fields are the other arguments. names: field -> argument.
    """

    network: type[nn.Module]
    given: Mapping[str, str]
    options: type[BaseModel]
    names: Mapping[str, str]

    def build(self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: BaseModel) -> nn.Module:
        """Build the network. Its own errors propagate."""
        values = {"dims": dims, "channels": channels, "outputs": outputs, "patch": tuple(patch)}
        chosen = {argument: getattr(options, field) for field, argument in self.names.items()}
        return self.network(**{argument: values[role] for role, argument in self.given.items()}, **chosen)


def arguments_of(network: type[nn.Module], defaults: Mapping[str, Any] | None = None) -> Arguments:
    """Read the signature of a network's constructor.

    Args:
        network: the class.
        defaults: values of arguments that come before those of the signature.

    Raises:
        UsageError: if it has an argument without a default that neither the harness nor `--set` can give.
    """
    chosen = defaults or {}
    parameters = {
        name: parameter.replace(default=chosen.get(name, parameter.default))
        for name, parameter in list(inspect.signature(network.__init__).parameters.items())[1:]
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    given = {}
    for role, usual in ROLES.items():
        found = next((name for name in usual if name in parameters), None)
        if found is not None:
            given[role] = found
    if given.get("channels") == "channels" and _is_sequence(parameters["channels"]):
        del given["channels"]
    hints = _hints(network)
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, parameter in parameters.items():
        if name in given.values():
            continue
        field = f"own_{name}" if name == RECIPES else name
        kind = hints.get(name, Any)
        required = parameter.default is parameter.empty
        if not _is_plain(kind, parameter.default, required):
            if required:
                raise UsageError(
                    f"{network.__name__} needs the argument {name!r} ({_shown(kind)}), which can't be given as a setting; give it "
                    "a default, or write a class that calls the network with it"
                )
            continue
        default = ... if required else parameter.default
        fields[field] = (kind, Field(default, description=f"argument of {network.__name__}"))
        names[field] = name
    options = create_model(f"{network.__name__}Options", __base__=PlainOptions, __module__=network.__module__, **fields)
    return Arguments(network, given, options, names)


def _hints(network: type[nn.Module]) -> Mapping[str, Any]:
    """Return the types of the arguments, as far as they can be read."""
    try:
        return typing.get_type_hints(network.__init__)
    except Exception:  # names that exist for type checkers only
        return {}


def _is_sequence(parameter: inspect.Parameter) -> bool:
    text = str(parameter.annotation)
    return isinstance(parameter.default, list | tuple) or any(
        word in text.lower() for word in ("sequence", "list", "tuple")
    )


def _is_plain(kind: Any, default: Any, required: bool) -> bool:
    """Whether an argument can be written as a setting: its type can be checked, and its default is plain data."""
    try:
        TypeAdapter(kind)
        if not required:
            to_jsonable_python(default)
    except (PydanticSerializationError, TypeError, ValueError, RecursionError):
        return False
    except Exception:  # pydantic's errors for types that it doesn't know
        return False
    return required or not isinstance(default, type)


def _shown(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
