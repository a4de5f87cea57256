"""Run folders with given scores, for tests of the leaderboards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from semibench import NUMERICS
from semibench.contracts.identity import SHORT, Entry, Part, Replicate, RunSpec, Track


def spec_of(
    method: str = "alpha", *, draw: int | None = 0, fold: int | None = None, seed: int = 0, dataset: str = "tus",
    recipe: str = "quick", backbone: str = "unet", options: Mapping[str, Any] | None = None, phantom: bool = False,
    lr: float = 0.01, labeled: float = 0.5, control: bool = False,
) -> RunSpec:  # fmt: skip
    track = Track(
        protocol=Part(name="semibench:self", options={"labeled": labeled}),
        dataset=Part(name=f"semibench:{dataset}", options={"phantom": {"seed": 0} if phantom else None}),
        data="d" * 64,
        recipe=Part(name=recipe, options={"name": recipe, "lr": lr}),
    )
    entry = Entry(
        method=Part(name=f"semibench:{method}", options=dict(options or {})),
        terms={"sup": {"weight": 1.0}},
        backbone=Part(name=f"semibench:{backbone}", options={}),
        unlabeled_from="labeled" if control else None,
    )
    return RunSpec(track=track, entry=entry, replicate=Replicate(draw=draw, fold=fold, seed=seed))


def write_run(
    runs: Path,
    values: Any = None,
    spec: RunSpec | None = None,
    *,
    cases: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    split: Sequence[str] | None = None,
    state: str = "done",
    error: str | None = None,
    code: str = "c" * 64,
    device: str = "AMD EPYC",
    ended: str = "2026-01-02T00:00:00+00:00",
    metric: str = "dice",
    higher: bool = True,
    predictors: Sequence[str] = ("main",),
    empty: Sequence[int] = (),
    stored_mean: float | None = None,
) -> Path:
    """Writes a run folder. values (cases,) or (cases, classes): scores of `metric`, NaN if undefined; each further predictor
    gets .1 less. groups: one per case (default: its own). split: ids of the test cases (default: `cases`). empty: indices
    of cases with an empty prediction. stored_mean: a mean that contradicts the cases."""
    spec = spec or spec_of()
    folder = runs / spec.key[:SHORT]
    folder.mkdir(parents=True, exist_ok=True)

    def put(name: str, record: Mapping[str, Any]) -> None:
        (folder / name).write_text(json.dumps(record), encoding="utf-8")

    put("spec.json", spec.model_dump(mode="json"))
    put(
        "status.json",
        {"state": state, "error": error, "started": "2026-01-01T00:00:00+00:00", "ended": ended, "process": 4_000_000},
    )
    source = {"name": "x", "distribution": "semibench", "version": "0", "source": code}
    put(
        "provenance.json",
        {"plugins": {"method": source}, "versions": {"numerics": str(NUMERICS)}, "machine": {"device_name": device}},
    )
    if values is None:
        return folder
    table = np.asarray(values, dtype=float)
    table = table[:, None] if table.ndim == 1 else table
    ids = list(cases) if cases is not None else [f"case-{i:02d}" for i in range(len(table))]
    of = list(groups) if groups is not None else ids
    training = [["tus", f"train-{i}", f"train-{i}", "d"] for i in range(6)]
    few = training[:3] if spec.track.protocol.options.get("labeled") != 1.0 else training
    rest = few if spec.entry.is_control else training[len(few) :]
    test = [["tus", name, name, "d"] for name in (split if split is not None else ids)]
    put("split.json", {"labeled": few, "unlabeled": rest, "test": test})
    classes = [f"class-{k + 1}" for k in range(table.shape[1])]
    rows: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    for number, predictor in enumerate(predictors):
        shown = table - 0.1 * number
        for k, name in enumerate(classes):
            rows += [
                {
                    "checkpoint": "last", "dataset": "tus", "case": ids[i], "group": of[i], "domain": "d", "predictor": predictor,
                    "convention": "semibench-1", "class": name, "label": k + 1, "empty_truth": False,
                    "empty_prediction": i in empty, "metric": metric, "value": shown[i, k], "unit": "",
                }
                for i in range(len(shown))
            ]  # fmt: skip
        means = [float(np.nanmean(shown[:, k])) for k in range(shown.shape[1])]
        scores.append(
            {
                "checkpoint": "last", "predictor": predictor, "convention": "semibench-1", "metric": metric, "unit": "",
                "main": True, "higher": higher, "own_mean": False,
                "mean": stored_mean if stored_mean is not None else float(np.mean(means)),
                "std_over_cases": 0.0, "per_class": dict(zip(classes, means, strict=True)), "n": len(shown),
                "defined": int(np.isfinite(shown).sum()), "empty_truth": 0, "empty_prediction": len(empty), "missing": 0,
            }
        )  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "scores.parquet", index=False)
    put(
        "result.json",
        {
            "key": spec.key, "row": spec.row, "scores": scores,
            "training": {"seconds": 10.0 + spec.replicate.seed, "peak_memory_mb": 100.0},
            "model": {"parameters": 1000, "inference_parameters": 500, "gflops": 0.5}, "inference": {"seconds_per_case": 0.01},
            "label_budget": 7,
        },
    )  # fmt: skip
    return folder


def three_seeds(runs: Path, method: str, values: Sequence[Any], **more: Any) -> None:
    """Writes runs of one row with seeds 0, 1, 2 ..., one list of values each."""
    options = more.pop("spec", {})
    for seed, mine in enumerate(values):
        write_run(runs, mine, spec_of(method, seed=seed, **options), **more)
