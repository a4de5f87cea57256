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
        "898d0663d6d47ee9cfa1d23659d20c2bcfd59e37ae29a1c6b43a9777d4faca23",
    ),
    (
        {"protocol": "self", "dataset": "busi", "method": "cps", "settings": ("term.cross=0.7", "lr=0.02")},
        "d4fc83112f90a67f922f7a9c63a3c4a7504a8bbf1417977daa111f0534b22e42",
    ),
    (
        {"protocol": "umda", "dataset": "mmwhs", "recipe": "smoke"},
        "44b2a03eadd619275da3f3ea6d1f28f9e676dc9f1b386a0b5555ed9501ee852b",
    ),
    (
        {"protocol": "ssmis", "dataset": "acdc", "method": "semsim", "recipe": "own", "preset": None},
        "c6121a38a7181050e1792c680380d08ac21e86764d829b2f9c2493db728e794d",
    ),
    (
        {"protocol": "similar", "dataset": "busi", "method": "supervised"},
        "80d3b608dc8638e37cf961f49c0247a0380834afe05689155a1753c5392fdb92",
    ),
    (
        {"protocol": "semi-mdg", "dataset": "mnms", "recipe": "smoke", "seed": 2},
        "16e182e334d5224717e74ea92093ac14cf348959964134bb42103f2a4e0b31b9",
    ),
    (
        {
            "protocol": "ssmis", "dataset": "la", "method": "mean-teacher", "backbone": "vnet", "settings": ("labeled=8",),
            "recipe": "smoke",
        },
        "5dd1180e521fc5a48bf4b5bf772ddf3c40be69c84105f09f9af4979b3b7360b4",
    ),
    (
        {
            "protocol": "self", "dataset": "bus-bra", "method": "fixmatch", "draw": 1, "seed": 3, "settings": ("folds=5",),
            "fold": 2,
        },
        "2bf08704b7ce25a04205591416131d686c2d5fdc64c6882a7f951cdad5fa59ac",
    ),
    (
        {"protocol": "ssmis", "dataset": "synapse", "method": "dtlp-net", "recipe": "smoke"},
        "ad4c716a623a63492f969f7b827a082d1683cdb407941a6fbf9e5e13b28cfc36",
    ),
    (
        {"protocol": "self", "dataset": "isic2018", "method": "csc-pa", "backbone": "deeplabv3plus", "recipe": "paper"},
        "a35eae787c9695c40a9710977f976389450572bc164e767649b312611c248bf0",
    ),
    (
        {"protocol": "ssmis", "dataset": "pancreas", "method": "diff-cl", "recipe": "smoke"},
        "6760e5ea1fc6f820904337aaa776e7ae6d5b674b434222d7b9bdb71d6f5fd756",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "key"), KEYS, ids=[f"{asked['protocol']}-{asked['dataset']}" for asked, _ in KEYS])
def test_a_request_has_the_key_it_always_had(asked: dict[str, Any], key: str) -> None:
    assert resolve(Request(**asked, phantom="always")).spec.key == key
