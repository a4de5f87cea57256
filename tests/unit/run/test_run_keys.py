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
        "e1420a9e909d962d58399f5b6855ff90bef32338e6a485067edb2b29b6a5f025",
    ),
    (
        {"protocol": "self", "dataset": "busi", "method": "cps", "settings": ("term.cross=0.7", "lr=0.02")},
        "9d989b4dbe6bcf45f479401399efe5be78ec3843b57289d58e35c2664171e520",
    ),
    (
        {"protocol": "umda", "dataset": "mmwhs", "recipe": "smoke"},
        "7249db70766d431194caa31609fa7f7aa9ed59365983eebd8782069cea9bf1b8",
    ),
    (
        {"protocol": "ssmis", "dataset": "acdc", "method": "semsim", "recipe": "own", "preset": None},
        "72cc285edcd851ce095383e2751d3302114f625751ef1c93c44c6c1d47c103cd",
    ),
    (
        {"protocol": "similar", "dataset": "busi", "method": "supervised"},
        "5d8acd4cdc6f9d510f539a6b3586832d83a32067aedeaf6394ad76b3fe9f4430",
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
        "a209f062614bd23e39aec740d768af76d3611f29deae51fe5e5547ea67fd3124",
    ),
    (
        {"protocol": "ssmis", "dataset": "synapse", "method": "dtlp-net", "recipe": "smoke"},
        "09e87e0f50b0fe0fb00b82a70558cbe58b59fb881b23069cea4b03409a455f52",
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
