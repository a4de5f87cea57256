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
        "9d8f728d4309af81e846100c2cdf77949a709d8a9d2396156f57203a57a7fd30",
    ),
    (
        {"protocol": "self", "dataset": "busi", "method": "cps", "settings": ("term.cross=0.7", "lr=0.02")},
        "0f290db97ac5b1cf47d33673536c650342dd8aa37e5f6a7b0345e39d2bad61ee",
    ),
    (
        {"protocol": "umda", "dataset": "mmwhs", "recipe": "smoke"},
        "694ba3ab7a1a47d060ef5e598236ad913edf1142310b2e923333adcd891088aa",
    ),
    (
        {"protocol": "ssmis", "dataset": "acdc", "method": "semsim", "recipe": "own", "preset": None},
        "7861c7dcdc61e126c78918253019622b5a3efdebf316f367a9755161e05183bc",
    ),
    (
        {"protocol": "similar", "dataset": "busi", "method": "supervised"},
        "e02cd80d92d02943d95b37fecf41444ce24acc116545121d02da9e23da34e130",
    ),
    (
        {"protocol": "semi-mdg", "dataset": "mnms", "recipe": "smoke", "seed": 2},
        "5ba17c39952c9d769e4f7c6ff4cb70a45bd3b618bb751e6ea0134aab1ba639b8",
    ),
    (
        {
            "protocol": "ssmis", "dataset": "la", "method": "mean-teacher", "backbone": "vnet", "settings": ("labeled=8",),
            "recipe": "smoke",
        },
        "43e963da55a1ec7da1c3babcb0f79050de42f18e8eaf47df60fcc605f76e946b",
    ),
    (
        {
            "protocol": "self", "dataset": "bus-bra", "method": "fixmatch", "draw": 1, "seed": 3, "settings": ("folds=5",),
            "fold": 2,
        },
        "491318817d8005b712574f619a5ea94871bc7a18195a3fee6f2302a433911622",
    ),
    (
        {"protocol": "ssmis", "dataset": "synapse", "method": "dtlp-net", "recipe": "smoke"},
        "9f352f57848790c0df61b6ab7524adfcc182530cdf24bb75750cd1ff9f9ad009",
    ),
    (
        {"protocol": "self", "dataset": "isic2018", "method": "csc-pa", "backbone": "deeplabv3plus", "recipe": "paper"},
        "21c8df61d57fbb429b81e116a09c02300a14a64e477a6f69f19304194642dab8",
    ),
    (
        {"protocol": "ssmis", "dataset": "pancreas", "method": "diff-cl", "recipe": "smoke"},
        "9c895ce2e1091d06651bc36efc2ff43ec429b33a88aa0f6228a776cde3c244d2",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "key"), KEYS, ids=[f"{asked['protocol']}-{asked['dataset']}" for asked, _ in KEYS])
def test_a_request_has_the_key_it_always_had(asked: dict[str, Any], key: str) -> None:
    assert resolve(Request(**asked, phantom="always")).spec.key == key
