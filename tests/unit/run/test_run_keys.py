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
        "c9f0f22f82a4eaaea350e5f42cc7f8d618ee4f52f553ee23e796e2cb7acbde81",
    ),
    (
        {"protocol": "self", "dataset": "busi", "method": "cps", "settings": ("term.cross=0.7", "lr=0.02")},
        "80e3fb5c29ebf98b0188a097cabd4413ca8120e779377f83d35829ce21722ad2",
    ),
    (
        {"protocol": "umda", "dataset": "mmwhs", "recipe": "smoke"},
        "3beb0784a408de2bd153bb448d801d4dc6b5f5ddf6edffce31dc5179d14bb534",
    ),
    (
        {"protocol": "ssmis", "dataset": "acdc", "method": "semsim", "recipe": "own", "preset": None},
        "7be48d525596fd524c77c83a0de30a88075d353ea459b7668805aa7e170120e8",
    ),
    (
        {"protocol": "similar", "dataset": "busi", "method": "supervised"},
        "2ff23a99f6f1fa52007ee99cfd1bff9d08a4c6e87fe9ddf751e8d7e567b0ca21",
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
        "5d4fa960aec47d8989130de189083e3f54cf769dbc2350dc774b43b7ecbf724b",
    ),
    (
        {
            "protocol": "self", "dataset": "bus-bra", "method": "fixmatch", "draw": 1, "seed": 3, "settings": ("folds=5",),
            "fold": 2,
        },
        "923515e99ac92c9d9c107975619681601d604432bfd512c64db7be5fbc24e242",
    ),
    (
        {"protocol": "ssmis", "dataset": "synapse", "method": "dtlp-net", "recipe": "smoke"},
        "a273f6d3f3fcc33405201bbbb3b16a6cddd839b76e204d2a33ab433442200dfe",
    ),
    (
        {"protocol": "self", "dataset": "isic2018", "method": "csc-pa", "backbone": "deeplabv3plus", "recipe": "paper"},
        "858a5e1eab5021802cf48f02cfd670b628f0daeed47064dba45a5d9606235a9f",
    ),
    (
        {"protocol": "ssmis", "dataset": "pancreas", "method": "diff-cl", "recipe": "smoke"},
        "ab7a05f0cd6018873541d78b13c3239f98c7a4422404403b5f2f2d58673c1fe8",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "key"), KEYS, ids=[f"{asked['protocol']}-{asked['dataset']}" for asked, _ in KEYS])
def test_a_request_has_the_key_it_always_had(asked: dict[str, Any], key: str) -> None:
    assert resolve(Request(**asked, phantom="always")).spec.key == key
