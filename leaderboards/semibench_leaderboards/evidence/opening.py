"""The setting of a run, opened again from its spec: data sets, protocol, split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import CaseRef, Dataset, PhantomOptions, Split
from semibench.contracts.errors import LayoutError, SemibenchError
from semibench.contracts.identity import RunSpec
from semibench.contracts.protocol import DrawProtocol
from semibench.data.catalog import DataCatalog
from semibench.data.hashes import data_digest
from semibench.data.roots import locate
from semibench.registry import registry
from semibench.reporting import Reporter
from semibench.run.settings import build
from semibench.runfolder.records import CaseRow


class SettingError(SemibenchError):
    """The data or the split at hand aren't those of the run."""


@dataclass
class Setting:
    """card: of the main data set. dims: of the network that made the predictions (that of the cases where none is known)."""

    spec: RunSpec
    card: DatasetCard
    catalog: DataCatalog
    protocol: DrawProtocol
    options: Any
    dims: int

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """By name, the main one first."""
        return self.catalog.datasets

    def digest(self, reporter: Reporter | None = None) -> str:
        """Digest of the data at hand, to be compared with that of the track; hashes what wasn't hashed before."""
        every = [ref for name in self.datasets for ref in self.catalog.cases(name)]
        return data_digest(self.datasets, every, reporter=reporter)

    def split(self) -> Split:
        """The split as the protocol draws it now."""
        replicate = self.spec.replicate
        return self.protocol.draw(self.catalog, self.options, replicate.draw, replicate.fold)

    def refs(self, rows: Sequence[CaseRow]) -> list[CaseRef]:
        """Cases of a role in split.json. Raises SettingError for one that the data at hand don't have."""
        known = {ref.key: ref for name in self.datasets for ref in self.catalog.cases(name)}
        keys = [row.key for row in rows]
        strange = [key for key in keys if key not in known]
        if strange:
            raise SettingError(f"{len(strange)} test cases of the run aren't in the data at hand, e.g. {strange[0]}")
        return [known[key] for key in keys]


def open_setting(spec: RunSpec, data_root: Path | None = None) -> Setting:
    """Opens the data sets a spec names, on their files or as the phantom the spec says.

    Raises UnknownNameError or PluginError for plugins that aren't installed, LayoutError where files are wanted and there are
    none, UsageError for options this version doesn't know."""
    plugins = registry()
    item = plugins.get("datasets", spec.track.dataset.name)
    card: DatasetCard = item.card
    options = dict(spec.track.dataset.options)
    phantom = options.pop("phantom", None)
    patch = spec.recipe.options.get("patch")
    datasets = {card.name: _opened(card.name, options, phantom, data_root)}
    protocol_item = plugins.get("protocols", spec.track.protocol.name)
    protocol: DrawProtocol = protocol_item.resolve()()
    chosen = build(protocol.Options, f"protocol {protocol_item.name!r}", spec.track.protocol.options)
    for name in protocol.sources(card, chosen):
        other = plugins.get("datasets", name).card
        size = {"size": list(patch)} if other.dims == 2 and patch else {}
        datasets[name] = _opened(name, size, phantom, data_root)
    dims = int(spec.entry.backbone.options.get("dims", card.dims))
    return Setting(spec, card, DataCatalog(datasets), protocol, chosen, dims)


def _opened(
    name: str, options: Mapping[str, Any], phantom: Mapping[str, Any] | None, data_root: Path | None
) -> Dataset:
    item = registry().get("datasets", name)
    cls: type[Dataset] = item.resolve()
    chosen = build(cls.Options, f"data set {item.name!r}", options)
    if phantom is not None:
        return cls.phantom(chosen, build(PhantomOptions, "phantom", phantom))
    place = locate(item.name, data_root, aliases=item.card.folders)
    if place.path is None:
        raise LayoutError(f"{place.explain()}\n  expected there:\n{item.card.tree}")
    return cls(place.path, chosen)
