"""The split of a run: what its protocol draws, and perhaps the cases without label of the data set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from semibench.contracts.cases import CaseRef, Split
from semibench.contracts.identity import Replicate
from semibench.contracts.protocol import DrawProtocol
from semibench.data.catalog import DataCatalog
from semibench.discovery.guard import calling, returned, wrong_return
from semibench.protocols.ordering import group_of
from semibench.protocols.single import SelfDomain
from semibench.run.own_split import ChosenSplit


def drawn_split(
    protocol: DrawProtocol,
    catalog: DataCatalog,
    options: Any,
    replicate: Replicate,
    own: ChosenSplit | None = None,
) -> Split:
    """Returns the split of a run: one's own, or what the protocol draws.

    Args:
        protocol: draws it.
        catalog: the cases to draw from.
        options: the protocol's.
        replicate: draw and fold.
        own: the split of one's own.

    Raises:
        PluginError: if the protocol returns something else than a split.
        UsageError: if it can't draw one.
    """
    if own is not None:
        split = own.drawn(catalog, options, replicate)
        keeps = own.split.has_draw and catalog.datasets[catalog.main].adds_bare_cases
        return _with_bare_cases(split, catalog) if keeps else split
    with calling(protocol, "draw"):
        drawn = protocol.draw(catalog, options, replicate.draw, replicate.fold)
    split = checked_split(protocol, drawn)
    return _with_bare_cases(split, catalog) if _adds_bare_cases(protocol, catalog, options) else split


def checked_split(protocol: DrawProtocol, drawn: Any) -> Split:
    """Returns what a protocol drew, if it is a split of cases; raises PluginError otherwise."""
    split = returned(protocol, "draw", drawn, Split)
    for role, refs in split.roles().items():
        foreign = next((ref for ref in refs if not isinstance(ref, CaseRef)), None)
        if not isinstance(refs, tuple) or foreign is not None:
            found = refs if foreign is None else foreign
            raise wrong_return(protocol, "draw", f"a Split whose {role!r} is a tuple of CaseRef", found)
    return split


def _adds_bare_cases(protocol: DrawProtocol, catalog: DataCatalog, options: Any) -> bool:
    """Returns whether cases without label are unlabeled training cases: of a drawn split inside a data set that says so."""
    keeps = catalog.datasets[catalog.main].adds_bare_cases
    if not keeps or not isinstance(protocol, SelfDomain) or options.source != "drawn":
        return False
    return bool(getattr(options, "own", True)) and getattr(options, "labels", "part") == "part"


def _with_bare_cases(split: Split, catalog: DataCatalog) -> Split:
    """Adds the cases without label to the unlabeled ones, except those of groups that are tested or validated."""
    held = {group_of(ref) for ref in (*split.validation, *split.test)}
    used = {ref for refs in split.roles().values() for ref in refs}
    bare = [ref for ref in catalog.cases() if not ref.has_label and ref not in used]
    kept = tuple(ref for ref in bare if group_of(ref) not in held)
    excluded = {ref.key: "no label, and its group is tested or validated" for ref in bare if group_of(ref) in held}
    others = {key: reason for key, reason in split.excluded.items() if key not in {ref.key for ref in kept}}
    return replace(split, unlabeled=(*split.unlabeled, *kept), excluded={**others, **excluded})
