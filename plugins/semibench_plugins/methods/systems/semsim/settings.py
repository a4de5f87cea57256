"""Training settings of the SemSim paper (arXiv 2410.13486, IV-A), which its FixMatch row shares.

224 px, 8 labeled + 8 unlabeled, SGD .01 / .9 / 1e-4, 300 passes over the unlabeled pool: 300 floor(n / 8) iterations with
n = 1280, 1244, 1176 slices of ACDC (1, 3, 7 labeled patients), 1783, 1657 images of ISIC 2018 (55, 181), 916, 893, 847
slices of PROMISE12 (1, 2, 3 labeled cases; 2 correspond to the 7 %). The decay of the learning rate is not printed; the
lineage's poly .9 is used. Weak views are random flips; strong views change intensities (the lineage's jitter) and the
method cut-mixes them. For ISIC, colour changes beyond brightness and contrast are options of the methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semibench_plugins.datasets.paper_budgets import SGD_POLY, TURNS_WEAK

JITTER: Mapping[str, Any] = {"jitter": (0.8, 0.5), "gamma": (0.0, 0.0), "blur": (0.5, 2.0), "noise": (0.0, 0.0)}
FLIPS: Mapping[str, Any] = {"flip": 0.5, "rotate90": 0.0, "rotate": (0.0, 0.0), "scale": (0.0, 1.0, 1.0)}
COLOUR: Mapping[str, Any] = {"saturation": 0.5, "hue": 0.25}
"""Colour options for ISIC's strong views."""

ITERATIONS: Mapping[str, int] = {
    "acdc": 44100,
    "acdc-3": 46500,
    "acdc-1": 48000,
    "isic2018": 62100,
    "isic2018-55": 66600,
    "promise12": 33300,
    "promise12-1": 34200,
    "promise12-3": 31500,
}
"""Preset -> iterations. Names without a number: 7 patients, 181 images, 2 cases."""


def recipe(iterations: int, *, blur: bool = True, **changes: Any) -> dict[str, Any]:
    """Recipe fields of the paper. blur: whether strong views are blurred; ISIC's code doesn't blur."""
    strong = dict(JITTER) if blur else {**JITTER, "blur": (0.0, 0.0)}
    return {
        "iterations": iterations,
        "labeled_batch": 8,
        "unlabeled_batch": 8,
        "patch": (224, 224),
        **SGD_POLY,
        "weak": dict(FLIPS),
        "strong": strong,
        **changes,
    }


def presets() -> dict[str, dict[str, Any]]:
    """Returns one preset for each data set and number of labels, named as in `ITERATIONS`."""
    by_name: dict[str, dict[str, Any]] = {}
    for name, iterations in ITERATIONS.items():
        isic = name.startswith("isic")
        by_name[name] = {"recipe": recipe(iterations, blur=not isic), **({"options": dict(COLOUR)} if isic else {})}
    return by_name


CODE_OPTIONS: Mapping[str, Any] = {
    "pseudo": "decoder",
    "resolution": "image",
    "channel_dropout_on": "none",
    "affinity": "projected",
    "residual": False,
    "normalise": "other",
    "scaled_attention": False,
    "cells": 1,
    "overlap": True,
    "votes": "max",
    "label_resize": "linear",
    "cross_loss": "dice",
    "uncertainty": False,
}
CODE_TERMS: Mapping[str, Any] = {"pixel": 0.125, "feature": 0.25}
"""Settings of the released predecessor; the term `pixel` is its plain decoder on S1, `feature` has the .5 / 2."""
CODE_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "code": {
        "options": CODE_OPTIONS,
        "terms": CODE_TERMS,
        "recipe": recipe(29400, labeled_batch=12, unlabeled_batch=12, weak=dict(TURNS_WEAK)),
    },
    "code-isic2018": {
        "options": {**CODE_OPTIONS, **COLOUR},
        "terms": CODE_TERMS,
        "recipe": recipe(68700, blur=False, lr=0.008, weak=dict(TURNS_WEAK)),
    },
}
