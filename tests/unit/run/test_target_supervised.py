"""The upper bound of adaptation, `labels=target`: who is trained, who is refused, and where boards show it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.leaderboard_toys import spec_of, write_run

from semibench import UnsupportedError
from semibench.contracts.identity import Part, RunSpec
from semibench.run.prepare import draw_split, prepare
from semibench.run.request import Cell, Request
from semibench.run.resolve import resolve
from semibench_leaderboards.ranking.boards import boards
from semibench_leaderboards.ranking.ranks import rank
from semibench_leaderboards.reading.records import read_runs

UMDA = {"source": "mr", "target": "ct", "split": "drawn"}


def request(method: str, *settings: str, **more: Any) -> Request:
    given = ("source=mr", "target=ct", "phantom.cases=40", "phantom.scale=0.25", *settings)
    return Request(
        protocol="umda", dataset="mmwhs", method=method, recipe="smoke", phantom="always", settings=given, **more
    )


def test_supervised_is_source_only_and_with_target_labels_the_bound() -> None:
    adapted = draw_split(resolve(request("adaoutput")))[0]
    alone, bound = (resolve(request("supervised", f"labels={name}")) for name in ("source", "target"))
    assert draw_split(alone)[0] == adapted
    assert {ref.domain for ref in adapted.labeled} == {"mr"} and {ref.domain for ref in adapted.unlabeled} == {"ct"}
    split = draw_split(bound)[0]
    assert (split.labeled, split.unlabeled) == (adapted.unlabeled, ())
    assert (split.validation, split.test) == (adapted.validation, adapted.test)
    assert alone.spec == resolve(request("supervised")).spec
    assert bound.spec.track.digest() != alone.spec.track.digest(), "never ranked together"
    assert bound.spec.entry == alone.spec.entry and bound.spec.track.data == alone.spec.track.data
    assert resolve(Cell.from_spec(bound.spec).request()).spec == bound.spec


def test_methods_that_need_unlabeled_cases_refuse_the_targets_labels() -> None:
    with pytest.raises(UnsupportedError, match="'adaoutput' needs unlabeled cases, but this split has none"):
        prepare(request("adaoutput", "labels=target"))


def spec(method: str, seed: int, **options: str) -> RunSpec:
    base = spec_of(method, seed=seed)
    protocol = Part(name="semibench:umda", options={**UMDA, **options})
    return base.model_copy(update={"track": base.track.model_copy(update={"protocol": protocol})})


@pytest.mark.slow
def test_boards_show_the_bound_beside_the_ranks(tmp_path: Path) -> None:
    gains = np.random.default_rng(0).uniform(0.3, 0.5, 12)
    for seed in range(3):
        write_run(tmp_path, gains, spec("supervised", seed))
        write_run(tmp_path, gains + 0.1, spec("cps", seed))
        folder = write_run(tmp_path, gains + 0.3, spec("supervised", seed, labels="target"))
        path = folder / "split.json"
        split = json.loads(path.read_text(encoding="utf-8")) | {"unlabeled": []}
        path.write_text(json.dumps(split), encoding="utf-8")
    (board,) = boards(read_runs(tmp_path))
    assert rank(board).order == ("cps",)
    roles = {row.name: (row.identity.role, row.identity.borrowed) for row in board.rows}
    assert roles == {
        "cps": ("", False), "supervised": ("labels alone", False), "supervised (all labels)": ("all labels", True)
    }  # fmt: skip
