"""What the data sets of a run decide or forbid: values of protocol options, other data sets by name, phantoms."""

from __future__ import annotations

from typing import Any

from semibench.contracts.cases import Dataset
from semibench.contracts.errors import UsageError
from semibench.contracts.protocol import DrawProtocol
from semibench.data.declared.naming import find_dataset, is_path
from semibench.discovery.guard import calling, returned_mapping
from semibench.discovery.registry import Registered, Registry
from semibench.run.request import Phantom


def named_dataset(plugins: Registry, name: str) -> Registered:
    """Returns another data set of a run. Its name stands in the key, so it can't be a path."""
    if is_path(name):
        raise UsageError(
            f"data set {name!r}: expected a name, as it stands in the key of the run, found a path; give the folder a name with "
            "bench data register"
        )
    return find_dataset(plugins, name)


def defaults_of_data(name: str, protocol: DrawProtocol, dataset: Dataset) -> dict[str, Any]:
    """Returns the option values of the protocol that the data set proposes."""
    with calling(dataset, "protocol_defaults"):
        proposed = dataset.protocol_defaults(name, frozenset(protocol.Options.model_fields))
        return dict(returned_mapping(dataset, "protocol_defaults", proposed, "option -> value"))


def drawn_options(protocol: DrawProtocol) -> dict[str, str]:
    """Returns the options with which a protocol uses no published split."""
    fields = protocol.Options.model_fields
    return {name: "drawn" for name in ("source", "split") if name in fields and fields[name].default == "drawn"}


def without_phantom(name: str, phantom: Phantom) -> Phantom:
    """Returns that a declared data set is real; raises UsageError where a phantom is asked for."""
    if phantom == "always":
        raise UsageError(
            f"data set {name!r} is declared by its folder and has no phantom; leave out --phantom, or take a built-in data set"
        )
    return "never"
