"""Maps columns of the tables to the names of classes in the harness's data sets."""

from __future__ import annotations

from collections.abc import Mapping

from semibench_leaderboards.published.values import Value

CLASSES: Mapping[str, str] = {
    "Sp": "spleen",
    "RK": "right kidney",
    "LK": "left kidney",
    "Ga": "gallbladder",
    "Es": "esophagus",
    "Li": "liver",
    "St": "stomach",
    "Ao": "aorta",
    "IVC": "inferior vena cava",
    "PSV": "portal and splenic vein",
    "PA": "pancreas",
    "RAG": "right adrenal gland",
    "LAG": "left adrenal gland",
    "AA": "ascending aorta",
    "LAC": "left atrium",
    "LVC": "left ventricle",
    "MYO": "myocardium",
}
"""Column -> class name."""


def class_of(value: Value) -> str:
    """Name of the class in the data set's card; "mean" for averages, the group itself for domains."""
    return CLASSES.get(value.group, value.group)
