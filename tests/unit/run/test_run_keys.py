"""Run keys are what folders, boards and published evidence go by: the same request gives the same key in every version.

A key that moves here orphans every stored run of that kind. Change a value only together with a deliberate change of what a spec
holds, and say so in the changelog.
"""

from __future__ import annotations

from typing import Any

import pytest

from semibench.run.request import Request
from semibench.run.resolve import resolve

KEYS: list[tuple[dict[str, Any], str]] = [
    (
        {"protocol": "synthetic", "dataset": "tus"},
        "87c187c472a18197bd91f74bb1f2e34d8cf3c7f8b98354106828b5e523f9bb58",
    ),
    (
        {"protocol": "self", "dataset": "busi", "method": "cps", "settings": ("term.cross=0.7", "lr=0.02")},
        "48918ee6a0e6482430f7cc34bd7beab541ce7c319ef45f8c57f79eea18380edb",
    ),
    (
        {"protocol": "umda", "dataset": "mmwhs", "recipe": "smoke"},
        "e65f6b9dcff21c17ccc2ccedd4ed53f93e292ef60a7df633484fa7b123a3db8c",
    ),
    (
        {"protocol": "ssmis", "dataset": "acdc", "method": "semsim", "recipe": "own", "preset": None},
        "72cc285edcd851ce095383e2751d3302114f625751ef1c93c44c6c1d47c103cd",
    ),
    (
        {"protocol": "similar", "dataset": "busi", "method": "supervised"},
        "cf76493768566b752dfdd9e9ae97658f15c0c2ec234461cf9ba4e8480bf890c8",
    ),
    (
        {"protocol": "semi-mdg", "dataset": "mnms", "recipe": "smoke", "seed": 2},
        "c8fb222310403f8304ac4bc29cebebfc584b4b2de4496782cc8ef3b1d2640e2b",
    ),
    (
        {
            "protocol": "ssmis", "dataset": "la", "method": "mean-teacher", "backbone": "vnet", "settings": ("labeled=8",),
            "recipe": "smoke",
        },
        "6f402af5251e6c98e284c9831e63041293b42c10b6293bc30edd39a94ea990c2",
    ),
    (
        {
            "protocol": "self", "dataset": "bus-bra", "method": "fixmatch", "draw": 1, "seed": 3, "settings": ("folds=5",),
            "fold": 2,
        },
        "c53ba90876cc23066db0225b5ca9f1de8b163314ab25af501dd2822c0b671a80",
    ),
    (
        {"protocol": "ssmis", "dataset": "synapse", "method": "dtlp-net", "recipe": "smoke"},
        "e426e64359ed9dd276952b0113ac1bb5beb585b932b555fdaf61a4ebc70cfae4",
    ),
    (
        {"protocol": "self", "dataset": "isic2018", "method": "csc-pa", "backbone": "deeplabv3plus", "recipe": "paper"},
        "9a5d1f806e8e1ad8fbe00530552ff383e082270298d7a76501de2be830c85ba9",
    ),
    (
        {"protocol": "ssmis", "dataset": "pancreas", "method": "diff-cl", "recipe": "smoke"},
        "037ebf323d7d63f4323526e418996585eb074b8a903987c7bc7e25ec7a7f5024",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "key"), KEYS, ids=[f"{asked['protocol']}-{asked['dataset']}" for asked, _ in KEYS])
def test_a_request_has_the_key_it_always_had(asked: dict[str, Any], key: str) -> None:
    assert resolve(Request(**asked, phantom="always")).spec.key == key
