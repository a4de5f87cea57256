"""Read the table of per-case results: check its invariants, and average it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from semibench.blocks.declared_metrics import STANDARD
from semibench.contracts.errors import SemibenchError
from semibench.contracts.metric import Convention
from semibench.discovery.guard import calling
from semibench.evaluation.overlap_check import violates_dice_of_iou
from semibench.evaluation.scoring import COUNTS, KEYS

if TYPE_CHECKING:
    import pandas as pd

MEAN = "mean"
"""The row over all foreground classes."""

TOLERANCE = 1e-6


class TableError(SemibenchError):
    """A table of per-case results contradicts itself or the split it belongs to."""


def check_table(
    frame: pd.DataFrame, cases: Iterable[str] | None = None, conventions: Mapping[str, Convention] | None = None
) -> None:
    """Check a table of `score_cases`; raise TableError for the first violation.

    Each (case, predictor, convention, class) must appear once; every (predictor, convention, class) must have the same cases,
    exactly those of `cases` (keys "dataset/id") if given; rows with both must satisfy Dice = 2 IoU / (1 + IoU); values must lie
    in the range that their convention declares, or without conventions in that of the standard metric of their name.
    """
    missing = [name for name in (*KEYS, *COUNTS) if name not in frame.columns]
    if missing:
        raise TableError(
            f"a table of per-case results has the columns {', '.join(KEYS)} ...; missing: {', '.join(missing)}"
        )
    key = ["case", "predictor", "convention", "class"]
    twice = frame[frame.duplicated(key)]
    if len(twice):
        raise TableError(f"a result appears twice in the table: {twice.iloc[0][key].to_dict()}")
    expected = set(frame["case"]) if cases is None else set(cases)
    for name, part in frame.groupby(["predictor", "convention", "class"], sort=False):
        scored = set(part["case"])
        if scored != expected:
            missing, foreign = sorted(expected - scored)[:3], sorted(scored - expected)[:3]
            raise TableError(
                f"predictor, convention, class {name}: expected {len(expected)} cases, found {len(scored)}; "
                f"missing {missing}, not in the split {foreign}"
            )
    for convention, part in frame.groupby("convention", sort=False):
        declared = (
            STANDARD
            if conventions is None or str(convention) not in conventions
            else conventions[str(convention)].metrics
        )
        for metric in (column for column in frame.columns if column in declared):
            values = part[metric].to_numpy(dtype=float)
            wrong = part[(values < declared[metric].low - TOLERANCE) | (values > declared[metric].high + TOLERANCE)]
            if len(wrong):
                raise TableError(
                    f"{metric} of {wrong.iloc[0]['case']!r} is {wrong.iloc[0][metric]}, out of its range: "
                    f"{declared[metric].range}"
                )
    if {"dice", "iou"} <= set(frame.columns):
        dice, iou = frame["dice"].to_numpy(dtype=float), frame["iou"].to_numpy(dtype=float)
        wrong = frame[violates_dice_of_iou(dice, iou)]
        if len(wrong):
            row = wrong.iloc[0]
            raise TableError(
                f"Dice = 2 IoU / (1 + IoU) is violated in case {row['case']!r}, convention {row['convention']!r}: "
                f"Dice {row['dice']}, IoU {row['iou']}"
            )


def summarise(frame: pd.DataFrame, conventions: Mapping[str, Convention] | None = None) -> pd.DataFrame:
    """Average over cases for each class, then over the foreground classes.

    Args:
        frame: a table of `score_cases`.
        conventions: conventions by their name in the table; their `metrics` and `aggregate` are used. Without them every
            metric with at least one value is averaged over its defined values.

    Returns:
        One row for each predictor, convention, metric and class, and one with class "mean": the mean of the class means (NaN
        classes are left out). Columns: predictor, convention, metric, class, mean, std (over cases, n - 1; NaN for one case),
        n (cases), defined (cases where the metric is a number), empty_truth, empty_prediction, empty_both (cases). In the row
        "mean", std is that of the cases' means over classes, n counts cases, and the others are summed over classes.
    """
    import pandas as pd

    rows: list[dict[str, object]] = []
    for (predictor, name), part in frame.groupby(["predictor", "convention"], sort=False):
        convention = None if conventions is None else conventions[str(name)]
        if convention is not None:
            metrics = list(convention.metrics)
        else:
            metrics = [m for m in part.columns if m not in (*KEYS, *COUNTS) and part[m].notna().any()]
        by_class = list(part.groupby("class", sort=False))
        empty = {label: _empty(cases) for label, cases in by_class}
        # averaged for all metrics at once: pandas takes milliseconds for each
        by_case = part.groupby("case", sort=False)[metrics].mean()
        for metric in metrics:
            classes: list[dict[str, Any]] = []
            for label, cases in by_class:
                values = cases[metric].to_numpy(dtype=float)
                classes.append(
                    {
                        "predictor": predictor,
                        "convention": name,
                        "metric": metric,
                        "class": label,
                        "mean": _mean(values) if convention is None else _aggregated(convention, values),
                        "std": _spread(values),
                        "n": len(values),
                        "defined": int(np.isfinite(values).sum()),
                        **empty[label],
                    }
                )
            total = {column: sum(row[column] for row in classes) for column in _ADDED}
            over = {
                "mean": _mean(np.array([row["mean"] for row in classes])),
                "std": _spread(by_case[metric].to_numpy(dtype=float)),
            }
            head = {"predictor": predictor, "convention": name, "metric": metric, "class": MEAN}
            rows += [*classes, {**head, **over, "n": len(by_case), **total}]
    columns = ["predictor", "convention", "metric", "class", "mean", "std", "n", *_ADDED]
    return pd.DataFrame(rows, columns=columns)


def _empty(cases: pd.DataFrame) -> dict[str, int]:
    """Return how often the reference, the prediction and both are empty."""
    truth, prediction = cases["empty_truth"].to_numpy(dtype=bool), cases["empty_prediction"].to_numpy(dtype=bool)
    return {
        "empty_truth": int(truth.sum()),
        "empty_prediction": int(prediction.sum()),
        "empty_both": int((truth & prediction).sum()),
    }


def _aggregated(convention: Convention, values: np.ndarray) -> float:
    with calling(convention, "aggregate"):
        return float(convention.aggregate(values))


_ADDED = ("defined", "empty_truth", "empty_prediction", "empty_both")


def _mean(values: np.ndarray) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _spread(values: np.ndarray) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.std(ddof=1)) if len(defined) > 1 else float("nan")
