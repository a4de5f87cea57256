"""The files of plug-ins without a package that a run recorded. A record may come from anybody: only files below the current folder
are looked at, and none is imported before a user asks for the run again."""

from __future__ import annotations

from pathlib import Path

from semibench.contracts.errors import UsageError
from semibench.contracts.identity import LOCAL
from semibench.discovery.registry import registry
from semibench.runfolder.records import PluginUsed, Provenance
from semibench.source_digest import file_digest

KINDS = {"method": "methods", "backbone": "backbones"}
"""Roles of plug-ins that a request may name by a file -> their kinds."""


def recorded_file(plugin: PluginUsed) -> Path | None:
    """The file of a plug-in, where it is below the current folder; None where it isn't, or the plug-in has a package."""
    if plugin.distribution != LOCAL or not plugin.file:
        return None
    file = Path(plugin.file.rpartition(":")[0])
    inside = not file.is_absolute() and ".." not in file.parts
    return file if inside and file.suffix == ".py" and file.is_file() else None


def recorded_source(plugin: PluginUsed) -> str | None:
    """The digest that the file of a plug-in has now; None where there is no such file."""
    file = recorded_file(plugin)
    return None if file is None else file_digest(file)


def references(provenance: Provenance) -> dict[str, str]:
    """Role -> FILE.py:CLASS of the methods and backbones without a package, as the run recorded them."""
    used = {
        role: plugin for role, plugin in provenance.plugins.items() if role in KINDS and plugin.distribution == LOCAL
    }
    return {role: f"./{plugin.file}" for role, plugin in used.items() if plugin.file}


def references_to_repeat(run: str, provenance: Provenance) -> dict[str, str]:
    """The same, checked: each file must be there. Plug-ins of a named folder (`--plugins`) are found by their names.

    Raises:
        UsageError: a file is gone.
    """
    listed = {role: {item.full_name for item in registry().cards(kind)} for role, kind in KINDS.items()}
    found = {
        role: reference
        for role, reference in references(provenance).items()
        if provenance.plugins[role].name not in listed[role]
    }
    for role in found:
        plugin = provenance.plugins[role]
        if recorded_file(plugin) is None:
            raise UsageError(
                f"run {run} used the {role} {plugin.name!r} from the file {plugin.file}, which isn't in this folder; put the "
                "file back, or repeat the run from the folder in which it was started"
            )
    return found
