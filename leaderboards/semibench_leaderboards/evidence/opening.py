"""Opens the inputs of a run again from its spec: data sets, protocol, split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import CaseRef, Dataset, PhantomOptions, Split
from semibench.contracts.errors import LayoutError, SemibenchError
from semibench.contracts.identity import RunSpec
from semibench.contracts.protocol import OWN_SPLIT, DrawProtocol
from semibench.data.catalog import DataCatalog
from semibench.data.declared.naming import find_dataset, place_of
from semibench.data.hashes import data_digest
from semibench.discovery.guard import calling, made
from semibench.discovery.registry import Registered, registry
from semibench.protocols.controls import with_unlabeled_of
from semibench.reporting import Reporter
from semibench.run.drawing import drawn_split
from semibench.run.own_split import known_split
from semibench.run.settings import build
from semibench.runfolder.records import CaseRow


class RunInputsError(SemibenchError):
    """The local data or split differ from those of the run."""


@dataclass
class RunInputs:
    """Data sets, protocol and options of a run."""

    spec: RunSpec
    card: DatasetCard
    """Card of the main data set."""
    catalog: DataCatalog
    protocol: DrawProtocol
    options: Any
    """Options of the protocol."""
    dims: int
    """Dims of the network that predicted; those of the cases where they aren't known."""
    own_split: str | None = None
    """Digest of a split of one's own."""

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """The data sets by name, the main one first."""
        return self.catalog.datasets

    def digest(self, reporter: Reporter | None = None) -> str:
        """Digest of the local data, to compare with the track's. Hashes files that haven't been hashed before."""
        every = [ref for name in self.datasets for ref in self.catalog.cases(name)]
        return data_digest(self.datasets, every, reporter=reporter)

    def split(self) -> Split:
        """The split that the protocol draws now, as the entry uses it."""
        own = None if self.own_split is None else known_split(self.own_split)
        split = drawn_split(self.protocol, self.catalog, self.options, self.spec.replicate, own)
        return with_unlabeled_of(self.spec.entry, split)

    def refs(self, rows: Sequence[CaseRow]) -> list[CaseRef]:
        """Cases of a role in split.json. Raises RunInputsError for no case, and for one that the local data don't have."""
        if not rows:
            raise RunInputsError("expected test cases in the run's split.json, found none")
        known = {ref.key: ref for name in self.datasets for ref in self.catalog.cases(name)}
        keys = [row.key for row in rows]
        unknown = [key for key in keys if key not in known]
        if unknown:
            raise RunInputsError(f"{len(unknown)} test cases of the run aren't in the local data, e.g. {unknown[0]}")
        return [known[key] for key in keys]


def open_inputs(spec: RunSpec, data_root: Path | None = None) -> RunInputs:
    """Opens the data sets of a spec, from their files or as the phantom of the spec.

    Raises:
        UnknownNameError: a plug-in isn't installed.
        PluginError: a plug-in can't be loaded.
        LayoutError: files are required but missing.
        UsageError: this version doesn't know an option.
    """
    plugins = registry()
    item = find_dataset(plugins, spec.track.dataset.name)
    card: DatasetCard = item.card
    options = dict(spec.track.dataset.options)
    phantom = options.pop("phantom", None)
    patch = spec.recipe.options.get("patch")
    datasets = {card.name: _opened(item, options, phantom, data_root)}
    protocol_item = plugins.get("protocols", spec.track.protocol.name)
    protocol: DrawProtocol = made(protocol_item.resolve())
    options_of_protocol = dict(spec.track.protocol.options)
    own = options_of_protocol.pop(OWN_SPLIT, None)
    chosen = build(protocol.Options, f"protocol {protocol_item.name!r}", options_of_protocol)
    with calling(protocol, "sources"):
        sources = tuple(protocol.sources(card, chosen))
    for name in sources:
        other = find_dataset(plugins, name)
        size = {"size": list(patch)} if other.card.dims == 2 and patch else {}
        datasets[name] = _opened(other, size, phantom, data_root)
    dims = int(spec.entry.backbone.options.get("dims", card.dims))
    return RunInputs(spec, card, DataCatalog(datasets), protocol, chosen, dims, own)


def _opened(
    item: Registered, options: Mapping[str, Any], phantom: Mapping[str, Any] | None, data_root: Path | None
) -> Dataset:
    cls: type[Dataset] = item.resolve()
    chosen = build(cls.Options, f"data set {item.name!r}", options)
    if phantom is not None:
        return cls.phantom(chosen, build(PhantomOptions, "phantom", phantom))
    location = place_of(item, data_root)
    if location.path is None:
        raise LayoutError(location.lacking(item.card.tree))
    return cls(location.path, chosen)
