"""Plug-ins that no registered package lists, found when they are named: classes in files, and MONAI's networks."""

from __future__ import annotations

from semibench.contracts.errors import UsageError
from semibench.discovery.local_files import Reference, find_in_file
from semibench.discovery.registered import KINDS, Registered

_found: dict[tuple[str, str], Registered] = {}
"""What was found in files so far, by kind and full name."""


def find(kind: str, name: str) -> Registered | None:
    """Return a plug-in that a text such as "./my_method.py:MyMethod" names, or one that was found so before.

    Args:
        kind: "methods", "backbones" ...
        name: as the user wrote it, or the full name of what was found before.

    Returns:
        None if the text names neither.

    Raises:
        UsageError: if there is no such file or class, or another file has a plug-in of the same name.
        PluginError: if the file can't be imported, or the class isn't of this kind.
    """
    if kind == "backbones" and name.lower().startswith("monai:"):
        from semibench.discovery.adapted.monai_networks import find_network

        network = find_network(name)
        return _found.setdefault((kind, network.full_name), network)
    reference = Reference.of(name)
    if reference is None:
        return _found.get((kind, name))
    item = find_in_file(kind, reference)
    before = _found.setdefault((kind, item.full_name), item)
    if before.file != item.file:  # runs of both would have one key
        raise UsageError(
            f"two files define {KINDS[kind].singular} {item.full_name!r}: {before.file} and {item.file}; rename one of the classes"
        )
    return before


def found() -> list[Registered]:
    """Return everything that was found so far in this process."""
    return list(_found.values())
