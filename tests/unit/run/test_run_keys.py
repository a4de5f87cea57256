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
        "0e5abe7bbfeb5cce52f04a4880adcf50ee42ee1931a7902689ddef5dc08cd4f3",
    ),
    (
        {"protocol": "ssmis", "dataset": "acdc", "method": "semsim", "recipe": "own", "preset": None},
        "40e835634c342c5e5968d322dcc3d57c09cff990b005a5ad304500aaf9ccf94c",
    ),
    (
        {"protocol": "similar", "dataset": "busi", "method": "supervised"},
        "dc40896cd732465fe209321e4de370130b43a73f6dbc51caa5b84058f246d482",
    ),
    (
        {"protocol": "semi-mdg", "dataset": "mnms", "recipe": "smoke", "seed": 2},
        "ea4284105489952bf73343470a09fc3d1378d29b84f465362590bdad689a13c3",
    ),
    (
        {
            "protocol": "ssmis", "dataset": "la", "method": "mean-teacher", "backbone": "vnet", "settings": ("labeled=8",),
            "recipe": "smoke",
        },
        "316c35318be90f40d33601b43e1ea9fe7c38c8cd126208818a7b37a964ec1a51",
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
        "10df5cd7f26fa3a3e8297716cecd2ee420afc04ede53844d0113122bf42e6d91",
    ),
    (
        {"protocol": "self", "dataset": "isic2018", "method": "csc-pa", "backbone": "deeplabv3plus", "recipe": "paper"},
        "96f041372db2cbb3feeca0b90b24a004ad2a52ea732bc2131525091cb89214dc",
    ),
    (
        {"protocol": "ssmis", "dataset": "pancreas", "method": "diff-cl", "recipe": "smoke"},
        "075d6f678c3e287c2e9a8f6b322557605764ed730ceb5acc10cfab7f7a384027",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "key"), KEYS, ids=[f"{asked['protocol']}-{asked['dataset']}" for asked, _ in KEYS])
def test_a_request_has_the_key_it_always_had(asked: dict[str, Any], key: str) -> None:
    assert resolve(Request(**asked, phantom="always")).spec.key == key
