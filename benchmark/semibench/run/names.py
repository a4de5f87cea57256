"""The plug-ins that a request names or implies: the first step of resolving it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from semibench.contracts.cards import DatasetCard
from semibench.contracts.errors import UnsupportedError
from semibench.data.declared.naming import find_dataset
from semibench.discovery.registry import Registered, Registry
from semibench.run.defaults import choose_dims, default_backbone, default_method
from semibench.run.request import Cell
from semibench.run.settings import parse
from semibench.run.tuned import Tuned, find_tuned, read_tuned, with_tuned


@dataclass(frozen=True)
class Names:
    """The plug-ins that a request names or implies, and the dims of the network.

    settings: from `--set` and from the study."""

    dataset: Registered
    protocol: Registered
    method: Registered
    backbone: Registered
    dims: int
    settings: dict[str, Any]
    tuned: Tuned | None = None

    @property
    def card(self) -> DatasetCard:
        """The card of the main data set."""
        card: DatasetCard = self.dataset.card
        return card


def find_names(cell: Cell, plugins: Registry) -> Names:
    """Looks up the named plug-ins, fills in those that are left out, and determines the dims."""
    settings = parse(cell.settings)
    dataset, protocol = find_dataset(plugins, cell.dataset), plugins.get("protocols", cell.protocol)
    method = plugins.get("methods", cell.method) if cell.method else None
    backbone = plugins.get("backbones", cell.backbone) if cell.backbone else None
    if method is not None and backbone is None and method.card.backbone is not None:
        backbone = plugins.get("backbones", method.card.backbone)
    dims = choose_dims(cell.dims, dataset.card, method, backbone)
    method = method or default_method(plugins, protocol.name, dims)
    backbone = backbone or default_backbone(
        plugins, method, dims=dims, recipe=cell.recipe, protocol=protocol.name, dataset=dataset.card.name
    )
    if method.card.protocols and protocol.name not in method.card.protocols:
        raise UnsupportedError(
            f"method {method.name!r} supports the protocols {', '.join(method.card.protocols)}, not {protocol.name!r}"
        )
    for item in (method, backbone):
        if dims not in item.card.dims:
            raise UnsupportedError(
                f"{item.kind[:-1]} {item.name!r} supports {item.card.dims} dims, but the run has {dims}"
            )
    tuned = read_tuned(find_tuned(cell.tuned)) if cell.tuned is not None else None
    if tuned is not None:
        settings = with_tuned(settings, tuned, protocol=protocol.name, dataset=dataset.card.name, method=method.name)
    return Names(dataset, protocol, method, backbone, dims, settings, tuned)
