"""Presets from Table 2 and section 5.2 of Diff-CL, in three forms of the losses' weights (`FORMS`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple


class TableColumn(NamedTuple):
    """A column of Table 2. beta: factor of lambda(t) in b1 = b2; mu1 = mu2 = l1 = l2 = 1 in all columns.

    iterations: 300 epochs, each one pass over the unlabeled scans with two per batch. The paper doesn't define an epoch; as
    a pass over the labeled scans, LA with 4 labels would end after 600 iterations."""

    patch: tuple[int, int, int]
    beta: float
    eta: float
    threshold: float
    iterations: int


LA, CUBE = (112, 112, 80), (96, 96, 96)
TABLE_2: Mapping[str, TableColumn] = {
    "la-4": TableColumn(LA, 0.01, 0.7, 0.6, 11400),
    "la-8": TableColumn(LA, 0.01, 0.5, 0.7, 10800),
    "pancreas-6": TableColumn(CUBE, 0.1, 0.007, 0.8, 8400),
    "pancreas-12": TableColumn(CUBE, 0.1, 0.0003, 0.5, 7500),
    "brats19-25": TableColumn(CUBE, 0.1, 0.007, 0.5, 33900),
    "brats19-50": TableColumn(CUBE, 0.1, 0.003, 0.5, 30000),
}
"""By data set and number of labeled scans. BraTS 50: Table 2 prints 50/250, but there are 250 training scans in all; read
as 50/200."""

PEAK = 2.0
"""lambda(t) = 2 exp(-5 (1 - t / 300)^2)."""
RAMP = {"kind": "sigmoid", "end": 1.0, "levels": 300}
CONSTANT = {"kind": "constant"}


Form = Literal["ce", "printed", "ramp-unsupervised"]
FORMS: Mapping[Form, str] = {
    "ce": "the supervised cross-entropy counts in full throughout; all else as printed",
    "printed": "Table 2: the supervised cross-entropy has the weight 2 beta and the ramp lambda(t) / 2",
    "ramp-unsupervised": "the supervised cross-entropy counts in full, and the losses of unlabeled scans have the ramp (A&D)",
}


def term_weights(column: TableColumn, form: Form) -> dict[str, Any]:
    """Weights and ramps of the terms in which the forms differ."""
    unsupervised = RAMP if form == "ramp-unsupervised" else CONSTANT
    printed = {"weight": PEAK * column.beta, "ramp": RAMP}
    terms: dict[str, Any] = {"contrast": {"weight": column.eta, "ramp": unsupervised}}
    for net in ("diffusion", "segmentation"):
        terms[f"{net}_sup_ce"] = printed if form == "printed" else {"weight": 1.0, "ramp": CONSTANT}
        for loss in ("dice", "ce"):
            terms[f"{net}_cross_{loss}"] = {"weight": 1.0, "ramp": unsupervised}
    return terms


def preset(column: TableColumn, form: Form) -> dict[str, Any]:
    """Builds the preset of one column in one form."""
    return {
        "options": {"threshold": column.threshold},
        "terms": term_weights(column, form),
        "recipe": {
            "iterations": column.iterations,
            "labeled_batch": 2,
            "unlabeled_batch": 2,
            "patch": column.patch,
            "optimiser": "sgd",
            "lr": 0.01,
            "momentum": 0.9,
            "weight_decay": 3e-5,
            "schedule": "constant",
            "evaluate_every": 0,
            "keep_best": False,
        },
    }


PRESETS: dict[str, Mapping[str, Any]] = {
    f"{name}-{form}": preset(column, form) for name, column in TABLE_2.items() for form in FORMS
}
PRESETS |= {"la": PRESETS["la-8-ce"], "pancreas": PRESETS["pancreas-12-ce"], "brats19": PRESETS["brats19-25-ce"]}
"""`NAME-FORM` for each column of Table 2. A data set's name stands for the form "ce": as printed, the method doesn't learn."""
