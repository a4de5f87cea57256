"""Whether a run was made with the code that is installed here."""

from __future__ import annotations

from functools import cache

from semibench.blocks.groups import cache_dir
from semibench.contracts.errors import SemibenchError
from semibench.contracts.identity import NUMERICS, Part
from semibench.discovery.registry import KINDS, registry
from semibench.runfolder.records import Provenance
from semibench.source_digest import remembered_digest
from semibench_leaderboards.reading.recorded_files import recorded_source

STORE = "source-digests.json"
"""File in the cache folder that remembers digests, so that a board is shown without importing the code of its methods."""


def code_changes(provenance: Provenance) -> tuple[str, ...]:
    """Why the code of a run differs from the code installed here; empty if it doesn't.

    Plug-ins that aren't installed, and what the run didn't record, can't be compared and are left out.
    """
    changes = []
    for role, plugin in provenance.plugins.items():
        now = installed_source(role.partition(":")[0], plugin.name) or recorded_source(plugin)
        if now is not None and plugin.source not in (None, now):
            changes.append(f"the code of {role.partition(':')[0]} {Part(name=plugin.name).short} has changed")
    if provenance.numerics not in (None, str(NUMERICS)):
        changes.append(f"numerics of the harness {provenance.numerics} -> {NUMERICS}")
    return tuple(changes)


@cache
def installed_source(role: str, name: str) -> str | None:
    """Returns the digest of a plug-in's source; None if it isn't installed or doesn't load. role: "method", "dataset" ..."""
    kind = next((kind.name for kind in KINDS.values() if kind.singular == role), None)
    if kind is None:
        return None
    try:
        card = registry().get(kind, name).card
        return remembered_digest(card.load.split(":")[0], cache_dir() / STORE)
    except (SemibenchError, ImportError, AttributeError, ValueError):
        return None
