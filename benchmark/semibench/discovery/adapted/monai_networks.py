"""MONAI's networks by name: `monai:SegResNet`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from typing import Any

from semibench.contracts.cards import BackboneCard
from semibench.contracts.errors import UnknownNameError, UsageError
from semibench.discovery.registered import Registered

MONAI = "monai"
HOME = "monai.networks.nets"


def find_network(name: str) -> Registered:
    """Return one of MONAI's networks as a backbone.

    Args:
        name: "monai:SegResNet", in any case.

    Raises:
        UsageError: if MONAI isn't installed.
        UnknownNameError: if it has no such network.
    """
    if importlib.util.find_spec(MONAI) is None:
        raise UsageError(f"backbone {name!r}: MONAI is not installed; pip install monai")
    networks = _networks()
    wanted = name.partition(":")[2].lower()
    if wanted not in networks:
        raise UnknownNameError("network of MONAI", name.partition(":")[2], [cls.__name__ for cls in networks.values()])
    cls = networks[wanted]
    summary = (inspect.getdoc(cls) or "").strip().partition("\n")[0]
    card = BackboneCard(
        name=wanted, title=cls.__name__, load=f"{cls.__module__}:{cls.__name__}", summary=summary, dims=(2, 3),
        url="https://docs.monai.io/en/stable/networks.html",
    )  # fmt: skip
    return Registered("backbones", card, MONAI, importlib.import_module(MONAI).__version__, HOME, cls.__module__)


def _networks() -> dict[str, Any]:
    """Return the networks that take channels and give channels or classes, by their names in lower case."""
    from torch import nn

    found = {}
    for name, cls in vars(importlib.import_module(HOME)).items():
        if isinstance(cls, type) and issubclass(cls, nn.Module) and cls.__name__ == name:
            arguments = set(inspect.signature(cls.__init__).parameters)
            if {"in_channels", "spatial_dims"} <= arguments and arguments & {"out_channels", "num_classes"}:
                found[name.lower()] = cls
    return found
