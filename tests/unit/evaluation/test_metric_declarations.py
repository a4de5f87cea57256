"""Direction, unit and range of metrics: declared by every convention, believed by boards, refused where they lack."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.command_line import bench, in_one_line

from semibench import Metric, hookimpl
from semibench.blocks import declared_metrics
from semibench.contracts.cards import ConventionCard
from semibench.contracts.errors import PluginError
from semibench.contracts.metric import Convention
from semibench.discovery.registry import Registry, Source, also_registered, installed, registry
from semibench.evaluation.run_scores import conventions_for
from semibench.evaluation.summary import TableError, check_table
from semibench_leaderboards.reading import directions
from semibench_plugins.conventions.semibench_1 import Semibench1
from semibench_plugins.conventions.semibench_2 import Semibench2


class Bare(Convention):
    """Names its metrics only, as conventions once did."""

    card = ConventionCard(name="bare", title="Bare", load=f"{__name__}:Bare", api=1)
    metrics = ("nsd",)  # type: ignore[assignment]

    def score(self, prediction: Any, truth: Any, spacing: Any, classes: int) -> Any:
        return {k: {"nsd": 1.0} for k in range(1, classes)}


class Own(Bare):
    """Declares that more of its NSD is better, and less of its error."""

    card = ConventionCard(name="own", title="Own", load=f"{__name__}:Own", api=1)
    metrics = {"nsd": Metric(higher=True, high=1), "error": Metric(higher=False, unit="%", high=100)}
    main = "nsd"


class Hooks:
    @hookimpl
    def semibench_conventions(self) -> list[ConventionCard]:
        return [Bare.card, Own.card]


@pytest.fixture
def with_hooks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules[Bare.__module__])
    with also_registered(Source("some-lab", "1", "conventions", __name__, Hooks)):
        directions._declared.cache_clear()
        yield registry()
    directions._declared.cache_clear()


def test_every_built_in_convention_declares_its_metrics() -> None:
    for item in registry().cards("conventions"):
        cls = item.resolve()
        for name, metric in cls.metrics.items():
            distance = name.startswith(("hd95", "asd", "assd"))
            assert metric.higher is not distance and metric.low == 0
            assert metric.high == (math.inf if distance else 1)
            assert metric.unit == (name.rpartition("_")[2] if distance else "")
    assert tuple(Semibench1.metrics) == (
        "dice", "iou", "precision", "recall", "f1",
        "hd95_mm", "hd95_voxel", "asd_mm", "asd_voxel", "assd_mm", "assd_voxel",
    )  # fmt: skip


def test_a_convention_without_declarations_is_refused_with_what_to_write(with_hooks: Registry) -> None:
    with pytest.raises(PluginError) as caught:
        with_hooks.get("conventions", "bare").resolve()
    assert "every metric must say whether more or less of it is better, its unit and its range" in str(caught.value)
    assert 'metrics = {"nsd": Metric(higher=True, unit="", low=0, high=1), ...}' in str(caught.value)
    shown = bench("show", "convention", "bare")
    assert shown.exit_code == 1 and "found only the names nsd" in in_one_line(shown.output)
    _, skipped = conventions_for(with_hooks, (), dims=2, case_dims=2, dataset="tus")
    assert any(text.startswith("bare: ") for text in skipped), "runs go on without it"


def test_boards_believe_the_declaration_and_not_the_name(with_hooks: Registry) -> None:
    assert directions.more_is_better("own", "nsd", None) is True
    assert directions.more_is_better("own", "error", None) is False
    assert directions.more_is_better("own", "nsd", False) is True, "a run recorded a guess once"
    assert directions.more_is_better("elsewhere", "nsd", True) is True, (
        "where it isn't installed, the run's record counts"
    )
    with pytest.raises(PluginError, match="whether more or less nsd is better isn't known"):
        directions.more_is_better("elsewhere", "nsd", None)


def test_show_prints_direction_unit_and_range(with_hooks: Registry) -> None:
    text = in_one_line(bench("show", "convention", "own").output)
    assert "nsd more is better – 0 to 1" in text and "error less is better % 0 to 100" in text
    built_in = in_one_line(bench("show", "convention", "semibench-1").output)
    assert "hd95_mm less is better mm 0 or more" in built_in


def test_values_beyond_the_declared_range_are_an_error() -> None:
    frame = pd.DataFrame(
        {"case": ["toy/a"], "group": "a", "domain": "d", "predictor": "main", "convention": "own", "class": "one", "label": 1,
         "empty_truth": False, "empty_prediction": False, "truth_voxels": 1, "prediction_voxels": 1, "common_voxels": 1,
         "error": [101.0]}
    )  # fmt: skip
    with pytest.raises(TableError, match=r"error of 'toy/a' is 101\.0, out of its range: 0 to 100"):
        check_table(frame, None, {"own": Own()})
    check_table(frame.assign(error=99.0), None, {"own": Own()})


def test_metrics_are_declared_in_words_that_make_sense() -> None:
    with pytest.raises(TypeError, match="higher"):
        Metric(higher="yes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="low < high"):
        Metric(higher=True, low=1, high=0)
    with pytest.raises(ValueError, match="no standard metric is called 'nsd'"):
        declared_metrics(["nsd"])
    assert Metric(higher=True, low=-math.inf).range == "any"


# ---- semibench-2 ---------------------------------------------------------------------------------------------------


def test_semibench_2_is_semibench_1_with_the_surface_dice() -> None:
    random = np.random.default_rng(3)
    truth, prediction = np.zeros((12, 14, 6), dtype=np.uint8), np.zeros((12, 14, 6), dtype=np.uint8)
    truth[2:9, 3:10, 1:5], prediction[3:10, 3:10, 1:5] = 1, 1
    prediction[random.random(prediction.shape) > 0.97] = 2
    spacing = (1.0, 0.5, 3.0)
    first, second = (cls().score(prediction, truth, spacing, 3) for cls in (Semibench1, Semibench2))
    for index in (1, 2):
        more = dict(second[index])
        mm, voxels = more.pop("nsd_2mm"), more.pop("nsd_2voxel")
        assert {name: repr(value) for name, value in more.items()} == {n: repr(v) for n, v in first[index].items()}
        assert (mm, voxels) == (0, 0) if index == 2 else mm > 0.9
    assert tuple(second[1]) == tuple(Semibench2.metrics)


def test_semibench_2_without_spacing_and_without_masks() -> None:
    empty = np.zeros((6, 6), dtype=np.uint8)
    values = Semibench2().score(empty, empty, None, 2)[1]
    assert math.isnan(values["nsd_2mm"]) and values["nsd_2voxel"] == 1
    assert Semibench2().score(empty, empty, (1.0, 1.0), 2)[1]["nsd_2mm"] == 1


def test_semibench_2_scores_when_asked_and_ranks_nothing_unasked() -> None:
    plugins = Registry(installed())
    by_default, skipped = conventions_for(plugins, (), dims=2, case_dims=2, dataset="tus")
    assert "semibench-2" not in by_default and "semibench-2: ask for it with --convention semibench-2" in skipped
    asked, _ = conventions_for(plugins, ("semibench-2",), dims=2, case_dims=2, dataset="tus")
    assert list(asked) == ["semibench-2"] and asked["semibench-2"].main == "dice"


def test_a_subclass_may_have_another_tolerance() -> None:
    class Narrow(Semibench2):
        options = Semibench2.Options(tolerance=0.5)

    truth, moved = np.zeros((9, 9), dtype=np.uint8), np.zeros((9, 9), dtype=np.uint8)
    truth[2:6, 2:6], moved[3:7, 2:6] = 1, 1
    assert Narrow().score(moved, truth, (1.0, 1.0), 2)[1]["nsd_0.5mm"] == 0.5
    assert Semibench2().score(moved, truth, (1.0, 1.0), 2)[1]["nsd_2mm"] == 1
    assert set(Narrow.metrics) - set(Semibench1.metrics) == {"nsd_0.5mm", "nsd_0.5voxel"}
