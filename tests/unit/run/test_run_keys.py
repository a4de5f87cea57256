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
        "fde28a9442db38303cb70491149998ba8c1f2787f69fd26b2fc5a6afebc07b0f",
    ),
    (
        {"protocol": "self", "dataset": "busi", "method": "cps", "settings": ("term.cross=0.7", "lr=0.02")},
        "dbe32a9f8cee6c1ae4af9069cdce105d4cdef537e60fa27e3318924f221d3904",
    ),
    (
        {"protocol": "umda", "dataset": "mmwhs", "recipe": "smoke"},
        "3beb0784a408de2bd153bb448d801d4dc6b5f5ddf6edffce31dc5179d14bb534",
    ),
    (
        {"protocol": "ssmis", "dataset": "acdc", "method": "semsim", "recipe": "own", "preset": None},
        "ced37d569dd501a0903b727194d27f1fa2a1fa64a3555aa660abdeeabcd218ae",
    ),
    (
        {"protocol": "similar", "dataset": "busi", "method": "supervised"},
        "5f5c734a9489011862044967acab53c13d9203ca11f088ae410e0156c985e58f",
    ),
    (
        {"protocol": "semi-mdg", "dataset": "mnms", "recipe": "smoke", "seed": 2},
        "b1682821e836e03a76d761680b2d2a8d572f928a2fecbd68db46a1f831038b91",
    ),
    (
        {
            "protocol": "ssmis", "dataset": "la", "method": "mean-teacher", "backbone": "vnet", "settings": ("labeled=8",),
            "recipe": "smoke",
        },
        "252f9c534043f2645d03bb9076e5154a97fa32aa35c398e4930ebef4de17f212",
    ),
    (
        {
            "protocol": "self", "dataset": "bus-bra", "method": "fixmatch", "draw": 1, "seed": 3, "settings": ("folds=5",),
            "fold": 2,
        },
        "ca478ca4b5642b487233019e96b1e30d9d6067e87251f03a223817bd2dc0fd01",
    ),
    (
        {"protocol": "ssmis", "dataset": "synapse", "method": "dtlp-net", "recipe": "smoke"},
        "a273f6d3f3fcc33405201bbbb3b16a6cddd839b76e204d2a33ab433442200dfe",
    ),
    (
        {"protocol": "self", "dataset": "isic2018", "method": "csc-pa", "backbone": "deeplabv3plus", "recipe": "paper"},
        "ed873664c532e7825cf3f5050700fb8832e7bb527d8eed8840b132d0db1d8bac",
    ),
    (
        {"protocol": "ssmis", "dataset": "pancreas", "method": "diff-cl", "recipe": "smoke"},
        "0b3be159849b451757132efed2b61ba87dc27de6a126e7e20bf115197caaf65c",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "key"), KEYS, ids=[f"{asked['protocol']}-{asked['dataset']}" for asked, _ in KEYS])
def test_a_request_has_the_key_it_always_had(asked: dict[str, Any], key: str) -> None:
    assert resolve(Request(**asked, phantom="always")).spec.key == key
