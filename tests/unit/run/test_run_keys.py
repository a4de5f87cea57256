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
        "7c05e4be0fba83035fa23d0245211f4e0c4b28aa74b133fbd84d714e133b5524",
    ),
    (
        {"protocol": "self", "dataset": "busi", "method": "cps", "settings": ("term.cross=0.7", "lr=0.02")},
        "04b4277ac13776373e512bbeb93eaef790518075a288a10fd81594fc2c0e4740",
    ),
    (
        {"protocol": "umda", "dataset": "mmwhs", "recipe": "smoke"},
        "d4028a5927b6c9648086a8d9ba766de138094d46b53fdafa20bdc2a97b557050",
    ),
    (
        {"protocol": "ssmis", "dataset": "acdc", "method": "semsim", "recipe": "own", "preset": None},
        "013c693f423480ee0248c2e15b775777f61e59a79e50685ff8555cb7260fc05c",
    ),
    (
        {"protocol": "similar", "dataset": "busi", "method": "supervised"},
        "dc40896cd732465fe209321e4de370130b43a73f6dbc51caa5b84058f246d482",
    ),
    (
        {"protocol": "semi-mdg", "dataset": "mnms", "recipe": "smoke", "seed": 2},
        "ca70cdfa73abb94bec46606b00c8c2aa753eaae7d6566d1fe1d166a488b2f2c3",
    ),
    (
        {
            "protocol": "ssmis", "dataset": "la", "method": "mean-teacher", "backbone": "vnet", "settings": ("labeled=8",),
            "recipe": "smoke",
        },
        "374e07b2a96aa6ec761505d029886f7aca9c0ff52e8a135b5457f25fb063ddc5",
    ),
    (
        {
            "protocol": "self", "dataset": "bus-bra", "method": "fixmatch", "draw": 1, "seed": 3, "settings": ("folds=5",),
            "fold": 2,
        },
        "ab26af92dd13b2c7a1435e9f9e4c1f7605c28ec9133ac5651d2ba550fe96e9d0",
    ),
    (
        {"protocol": "ssmis", "dataset": "synapse", "method": "dtlp-net", "recipe": "smoke"},
        "d39dff692fb7ce980c5051b5a59a344f8c75683311d648c7363757447f980084",
    ),
    (
        {"protocol": "self", "dataset": "isic2018", "method": "csc-pa", "backbone": "deeplabv3plus", "recipe": "paper"},
        "96f041372db2cbb3feeca0b90b24a004ad2a52ea732bc2131525091cb89214dc",
    ),
    (
        {"protocol": "ssmis", "dataset": "pancreas", "method": "diff-cl", "recipe": "smoke"},
        "f086f9d36c97b5273a320aae4286872c1dfaa4840cf75d1ed82ed3eb178eb4fb",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "key"), KEYS, ids=[f"{asked['protocol']}-{asked['dataset']}" for asked, _ in KEYS])
def test_a_request_has_the_key_it_always_had(asked: dict[str, Any], key: str) -> None:
    assert resolve(Request(**asked, phantom="always")).spec.key == key
