"""Scores of a run: the checkpoints, and weights that both of them hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from semibench import Case, CaseRef, Frame, Truth
from semibench.discovery.registry import registry
from semibench.evaluation.network import Network
from semibench.evaluation.run_scores import same_weights, score_run
from semibench.reporting import Reporter

REFS = [CaseRef("toy", f"{n}", f"{n}", "a", True) for n in range(3)]


class Shifted(nn.Module):
    """Finds pixels above a threshold that is a weight, in a way that a buffer and an extra state may change, too."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.zeros(()))
        self.register_buffer("shift", torch.zeros(()))
        self.extra = {"factor": 1.0}
        self.calls = 0

    def get_extra_state(self) -> dict[str, float]:
        return dict(self.extra)

    def set_extra_state(self, state: dict[str, float]) -> None:
        self.extra = dict(state)

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        found = images * self.extra["factor"] - self.threshold - self.shift
        return torch.cat([-found, found], 1)

    def predictors(self) -> dict[str, Any]:
        return {"main": self}


class Store:
    """Stands for the store of cases and for the data set."""

    def case(self, ref: CaseRef) -> Case:
        image = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(int(ref.id)))
        return Case(ref, image, (image[0] > 0.3).to(torch.uint8), None, Frame((8, 8)))

    def shape(self, ref: CaseRef) -> tuple[int, ...]:
        return (1, 8, 8)

    def truth(self, ref: CaseRef) -> Truth:
        label = self.case(ref).label
        assert label is not None
        return Truth(label, None)


def scores(states: dict[str, Any], folder: Path | None = None) -> tuple[pd.DataFrame, list[Any], int]:
    """Returns table, records and number of passes for checkpoints by name."""
    method, store = Shifted(), Store()
    given: Any = {"method": method, "store": store, "datasets": {"toy": store}}

    def load(name: str) -> bool:
        if name in states:
            method.load_state_dict(states[name])
        return name in states

    convention = registry().get("conventions", "semibench-1").resolve()()
    table, records, _ = score_run(
        **given, load=load, refs=REFS, classes=("background", "object"), network=Network(2, (8, 8), batch=8),
        conventions={"semibench-1": convention}, reporter=Reporter(), predictions=folder,
    )  # fmt: skip
    return table, records, method.calls


def state(**changes: Any) -> dict[str, Any]:
    return {**Shifted().state_dict(), **changes}


def test_equal_weights_are_scored_once(tmp_path: Path) -> None:
    table, records, calls = scores({"last": state(), "best": state()}, tmp_path)
    alone, _, calls_alone = scores({"last": state()})
    assert calls == calls_alone == 1
    last, best = (table[table["checkpoint"] == name].reset_index(drop=True) for name in ("last", "best"))
    pd.testing.assert_frame_equal(last, alone)
    pd.testing.assert_frame_equal(best.drop(columns="checkpoint"), last.drop(columns="checkpoint"))
    assert [record.checkpoint for record in records] == ["last"] * (len(records) // 2) + ["best"] * (len(records) // 2)
    kept = [sorted((tmp_path / name).rglob("*.npz")) for name in ("last", "best")]
    assert len(kept[0]) == len(REFS)
    for one, other in zip(*kept, strict=True):
        assert np.array_equal(np.load(one)["label"], np.load(other)["label"])


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": torch.tensor(0.4)},
        {"shift": torch.tensor(0.4)},
        {"_extra_state": {"factor": 0.5}},
        {"threshold": torch.tensor(float("nan"))},
    ],
)
def test_weights_that_differ_anywhere_are_scored_apart(changes) -> None:
    """Parameters, buffers and extra states count; the table is that of each checkpoint by itself."""
    table, _, calls = scores({"last": state(), "best": state(**changes)})
    assert calls == 2
    alone = scores({"best": state(**changes)})[0]
    pd.testing.assert_frame_equal(table[table["checkpoint"] == "best"].reset_index(drop=True), alone)


def test_states_that_are_the_same() -> None:
    given = {"a": torch.ones(2), "b": {"c": [1, None, "x"], "d": (torch.zeros(1, dtype=torch.int64),)}}
    assert same_weights(
        given, {"a": torch.ones(2), "b": {"c": [1, None, "x"], "d": (torch.zeros(1, dtype=torch.int64),)}}
    )
    for other in (
        {**given, "a": torch.ones(3)},
        {**given, "a": torch.ones(2, dtype=torch.float64)},
        {**given, "b": {"c": [1, None, "y"], "d": given["b"]["d"]}},  # type: ignore[call-overload, index]
        {**given, "b": {"c": [1, None], "d": given["b"]["d"]}},  # type: ignore[call-overload, index]
        {"a": given["a"]},
        {**given, "b": object()},
    ):
        assert not same_weights(given, other)
    assert not same_weights({"a": object()}, {"a": object()})
