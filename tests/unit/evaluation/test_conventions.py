"""Conventions with the worked numbers of the published code, the per-case table and its summary."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from semibench import (
    Case,
    CaseError,
    CaseRef,
    Convention,
    Frame,
    Inference,
    PluginError,
    Truth,
    UnsupportedError,
)
from semibench.contracts.metric import undeclared
from semibench.discovery.registry import registry
from semibench.evaluation.geometry import window_starts
from semibench.evaluation.network import Network
from semibench.evaluation.overlap_check import SMOOTHING
from semibench.evaluation.predictions import same_shape
from semibench.evaluation.run_scores import conventions_for
from semibench.evaluation.scoring import (
    COUNTS,
    KEYS,
    applicable,
    evaluating,
    score_cases,
    score_prediction,
    validate,
)
from semibench.evaluation.summary import MEAN, TableError, check_table, summarise
from semibench_plugins.conventions import cards
from semibench_plugins.conventions.csc_pa import CscPa
from semibench_plugins.conventions.cube_sliding import Brats19Sliding, PancreasSliding
from semibench_plugins.conventions.la_sliding import LaSliding
from semibench_plugins.conventions.mgcc_2023 import Mgcc2023
from semibench_plugins.conventions.semibench_1 import Semibench1
from semibench_plugins.conventions.semibench_2 import Semibench2
from semibench_plugins.conventions.ssl4mis import Ssl4mis

ALL: dict[str, Convention] = {
    "semibench-1": Semibench1(),
    "semibench-2": Semibench2(),
    "mgcc-2023": Mgcc2023(),
    "ssl4mis": Ssl4mis(),
    "la-sliding": LaSliding(),
    "csc-pa": CscPa(),
    "pancreas-sliding": PancreasSliding(),
    "brats19-sliding": Brats19Sliding(),
}


def some(shape: tuple[int, ...], *box: slice) -> np.ndarray:
    labels = np.zeros(shape, dtype=np.uint8)
    labels[box] = 1
    return labels


EMPTY = some((8, 8), slice(0), slice(0))
SQUARE = some((8, 8), slice(2, 6), slice(2, 6))  # 16 of 64 pixels


# --- single conventions ---


def test_mgcc_worked_numbers() -> None:
    score = Mgcc2023().score
    both_empty = score(EMPTY, EMPTY, None, 2)[1]
    assert both_empty == {"iou": 1.0, "f1": 0.0, "recall": 0.0, "precision": 0.0, "accuracy": 0.0}
    invented = score(SQUARE, EMPTY, None, 2)[1]
    assert invented["iou"] == pytest.approx(0, abs=1e-6)
    assert [invented[n] for n in ("precision", "recall", "f1", "accuracy")] == pytest.approx(
        [1, 0.25, 0.4, 0.25], abs=1e-5
    )
    assert invented["f1"] > invented["iou"]


def test_mgcc_is_ordinary_where_there_is_a_lesion() -> None:
    shifted = np.roll(SQUARE, 1, axis=0)
    values, plain = Mgcc2023().score(shifted, SQUARE, None, 2)[1], Semibench1().score(shifted, SQUARE, None, 2)[1]
    for name in ("iou", "f1", "recall", "precision"):
        assert values[name] == pytest.approx(plain[name], abs=1e-5)
    assert values["iou"] == (12 + 1e-5) / (20 + 1e-5) and values["recall"] == 12 / (16 + 1e-6)
    assert values["accuracy"] == pytest.approx(56 / 64)
    missed = Mgcc2023().score(EMPTY, SQUARE, None, 2)[1]
    assert missed["iou"] == pytest.approx(1e-5 / (16 + 1e-5)) and missed["f1"] == 0 and missed["accuracy"] == 0.75


@pytest.mark.parametrize("name", ["ssl4mis", "la-sliding", "pancreas-sliding", "brats19-sliding"])
def test_published_volume_conventions(name) -> None:
    medpy = pytest.importorskip("medpy.metric.binary")
    convention = ALL[name]
    truth = some((6, 8, 8), slice(1, 5), slice(2, 6), slice(2, 6))
    prediction = np.roll(truth, (1, 2), axis=(0, 2))
    oracle = {"dice": medpy.dc, "iou": medpy.jc, "hd95_voxel": medpy.hd95, "asd_voxel": medpy.asd}
    values = convention.score(prediction, truth, (10.0, 1.0, 1.0), 2)[1]
    assert values == pytest.approx({m: oracle[m](prediction, truth) for m in convention.metrics}, abs=1e-6)
    empty = np.zeros_like(truth)
    assert set(convention.score(empty, truth, None, 2)[1].values()) == {0.0}
    assert set(convention.score(empty, empty, None, 2)[1].values()) == {0.0}
    invented = convention.score(truth, empty, None, 2)[1]
    assert invented["dice"] == 0 and math.isnan(invented["hd95_voxel"])


@pytest.mark.parametrize(
    ("name", "stride", "size", "patch", "starts"),
    [
        ("la-sliding", (18, 18, 4), 150, 112, [0, 18, 36, 38]),
        ("pancreas-sliding", (16, 16, 16), 130, 96, [0, 16, 32, 34]),
        ("brats19-sliding", (64, 64, 64), 170, 96, [0, 64, 74]),
    ],
)
def test_strides_are_the_printed_ones(name, stride, size, patch, starts) -> None:
    inference = ALL[name].inference
    assert (inference.mode, inference.stride, inference.blend) == ("window", stride, "constant")
    assert window_starts(size, patch, stride[0]) == starts


def test_semibench_1_empties_and_units() -> None:
    convention = Semibench1()
    values = convention.score(EMPTY, EMPTY, (0.5, 0.5), 2)[1]
    assert values["dice"] == values["iou"] == values["f1"] == 1 and math.isnan(values["hd95_mm"])
    assert convention.score(SQUARE, EMPTY, None, 2)[1]["dice"] == 0
    values = convention.score(np.roll(SQUARE, 1, axis=0), SQUARE, (0.5, 0.5), 2)[1]
    assert values["hd95_mm"] == pytest.approx(0.5 * values["hd95_voxel"]) and values["hd95_voxel"] > 0
    assert tuple(values) == tuple(convention.metrics)


def test_cards_and_classes_belong_together() -> None:
    found = {card.name: card for card in cards.semibench_conventions()}
    assert set(found) == set(ALL)
    for name, convention in ALL.items():
        assert convention.card is found[name]
        assert found[name].load == f"{type(convention).__module__}:{type(convention).__name__}"
        assert undeclared(type(convention)) is None


def test_cards_import_nothing_heavy() -> None:
    code = (
        "import sys, semibench_plugins.conventions.cards as c; c.semibench_conventions();"
        "print([m for m in ('torch', 'numpy', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_applicable_gives_the_reason() -> None:
    assert applicable(ALL["semibench-1"], dims=2, case_dims=3) is None
    assert applicable(ALL["la-sliding"], dims=3, case_dims=3) is None
    assert "2D cases; these are 3D" in (applicable(ALL["mgcc-2023"], dims=3, case_dims=3) or "")
    assert "needs a 2D network on volumes" in (applicable(ALL["ssl4mis"], dims=3, case_dims=3) or "")
    assert "needs a 3D network" in (applicable(ALL["la-sliding"], dims=2, case_dims=3) or "")


def test_conventions_made_for_a_data_set_are_asked_for_elsewhere() -> None:
    cubes = {"la-sliding", "pancreas-sliding", "brats19-sliding"}
    for dataset, wanted in (("la", {"la-sliding"}), ("brats19", {"brats19-sliding"}), ("mmwhs", set())):
        found, skipped = conventions_for(registry(), (), dims=3, case_dims=3, dataset=dataset)
        assert set(found) & cubes == wanted and "semibench-1" in found
        assert sum("ask for it with --convention" in reason for reason in skipped) >= 3 - len(wanted)
    asked, _ = conventions_for(registry(), ["la-sliding"], dims=3, case_dims=3, dataset="mmwhs")
    assert list(asked) == ["la-sliding"]


# --- the table ---


def threshold(images: Tensor) -> Tensor:
    """Foreground where the image is bright."""
    return torch.cat([torch.zeros_like(images), images * 20 - 10], dim=1)


def nothing(images: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(images), torch.full_like(images, -9)], dim=1)


class Counting(nn.Module):
    """Counts forward calls; has modules in both modes."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.drop = nn.Dropout(0.5)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training and not self.norm.training and not torch.is_grad_enabled()
        self.calls += 1
        return threshold(self.drop(self.norm(images)))

    def predict(self, images: Tensor) -> Tensor:
        return self(images)


def case(
    name: str, label: np.ndarray, *, factor: int = 1, spacing: tuple[float, ...] | None = None
) -> tuple[Case, Truth]:
    """A case whose image is its label; the native grid is `factor` times finer."""
    image = torch.from_numpy(label.astype(np.float32))[None]
    native = label
    for axis in range(label.ndim):
        native = native.repeat(factor, axis=axis)
    ref = CaseRef("toy", name, f"patient-{name}", "machine", True)
    frame = Frame(shape=native.shape, spacing=spacing)
    return Case(ref, image, torch.from_numpy(label), spacing, frame), Truth(torch.from_numpy(native), spacing)


IMAGES = [case("a", SQUARE), case("b", EMPTY), case("c", np.roll(SQUARE, 2, axis=1), spacing=(0.5, 0.5))]
CLASSES = ("background", "lesion")
NET = Network(dims=2, patch=(8, 8), batch=2)
FLAT = {name: ALL[name] for name in ("semibench-1", "mgcc-2023")}


def table(predictors=None, cases=None, conventions=None, network=NET, **more) -> pd.DataFrame:
    return score_cases(
        predictors or {"main": threshold, "none": nothing},
        IMAGES if cases is None else cases,
        conventions or FLAT,
        classes=CLASSES,
        network=network,
        **more,
    )


def test_one_row_per_case_predictor_convention_and_class() -> None:
    frame = table()
    assert len(frame) == 3 * 2 * 2
    assert list(frame.columns[: len(KEYS) + len(COUNTS)]) == [*KEYS, *COUNTS]
    main = frame[(frame.predictor == "main") & (frame.convention == "semibench-1")].set_index("case")
    assert list(main.index) == ["toy/a", "toy/b", "toy/c"]
    assert main["dice"].tolist() == [1, 1, 1] and main["group"].iloc[0] == "patient-a"
    assert main["empty_truth"].tolist() == [False, True, False]
    assert main["truth_voxels"].tolist() == [16, 0, 16] == main["common_voxels"].tolist()
    assert main["hd95_voxel"].isna().tolist() == [False, True, False]
    assert main["hd95_mm"].isna().tolist() == [True, True, False]
    none = frame[(frame.predictor == "none") & (frame.convention == "semibench-1")]
    assert none["dice"].tolist() == [0, 1, 0] and none["empty_prediction"].all()
    check_table(frame, ["toy/a", "toy/b", "toy/c"])


def test_conventions_with_one_inference_share_one_prediction() -> None:
    net = Counting()
    seen: list[tuple[str, str, tuple[str, ...]]] = []
    frame = table({"main": net}, keep=lambda c, p, names, *labels: seen.append((c.ref.id, p, names)))
    assert net.calls == 2  # 3 cases in batches of 2; both conventions read the same prediction
    assert seen == [(name, "main", ("semibench-1", "mgcc-2023")) for name in "abc"]
    assert len(frame) == 6


def test_evaluation_leaves_no_trace() -> None:
    net = Counting().train()
    net.drop.training = False
    net.drop.requires_grad_(False)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    random = torch.get_rng_state()
    for predictors, model in (({"main": net}, None), ({"main": net.predict}, None), ({"f": lambda x: net(x)}, net)):
        table(predictors, model=model)
        assert (net.training, net.norm.training, net.drop.training) == (True, True, False)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert torch.equal(random, torch.get_rng_state()) and torch.is_grad_enabled()
    with pytest.raises(RuntimeError, match="inside"), evaluating(net):
        raise RuntimeError("inside")
    assert net.training and not net.drop.training


def test_a_predictor_that_draws_gives_the_same_digits_twice() -> None:
    def noisy(images: Tensor) -> Tensor:
        return threshold(images + torch.randn_like(images))

    pd.testing.assert_frame_equal(table({"main": noisy}), table({"main": noisy}))


def test_grids_and_largest_component() -> None:
    class Working(Semibench1):
        grid = "working"

    class Largest(Semibench1):
        largest_component = True

    spots = SQUARE.copy()
    spots[0, 0] = 1
    pair = case("d", spots, factor=3, spacing=(1.0, 1.0))
    pair[0].frame  # native 24 x 24
    native: list[np.ndarray] = []
    working: list[np.ndarray] = []

    def keep(kept: Case, predictor: str, names: tuple[str, ...], one: np.ndarray, other: np.ndarray) -> None:
        native.append(one)
        working.append(other)

    frame = table(
        {"main": threshold},
        [pair],
        {"native": Semibench1(), "working": Working(), "largest": Largest()},
        keep=keep,
    ).set_index("convention")
    assert native[0].shape == (24, 24) and len(native) == 1
    assert frame.loc["working", "truth_voxels"] == 17 and frame.loc["native", "truth_voxels"] == 17 * 9
    assert frame.loc["working", "dice"] == 1 and frame.loc["native", "dice"] > 0.9
    assert frame.loc["largest", "prediction_voxels"] < frame.loc["native", "prediction_voxels"]
    again = score_prediction(*pair, working[0], Working(), CLASSES)
    assert working[0].shape == (8, 8) and again[0]["dice"] == frame.loc["working", "dice"]
    stored = score_prediction(*pair, native[0], Semibench1(), CLASSES)
    assert stored[0]["dice"] == frame.loc["native", "dice"]


def test_volumes_by_slices_and_by_window() -> None:
    volume = some((6, 10, 12), slice(1, 5), slice(2, 7), slice(3, 9))
    pair = case("v", volume, spacing=(5.0, 1.0, 1.0))
    flat = {name: ALL[name] for name in ("semibench-1", "ssl4mis")}
    frame = table({"main": threshold}, [pair], flat, Network(dims=2, patch=(16, 16), slice_axis=0))
    frame = frame.set_index("convention")
    assert frame.loc["semibench-1", "dice"] > 0.9 and frame.loc["ssl4mis", "dice"] > 0.9
    assert frame.loc["ssl4mis"].notna()["hd95_voxel"] and math.isnan(frame.loc["ssl4mis", "hd95_mm"])
    solid = {name: ALL[name] for name in ("semibench-1", "la-sliding")}
    frame = table({"main": threshold}, [pair, pair], solid, Network(dims=3, patch=(8, 8, 8)))
    assert frame["dice"].tolist() == [1, 1, 1, 1] and frame["hd95_voxel"].tolist() == [0, 0, 0, 0]
    with pytest.raises(UnsupportedError):
        table({"main": threshold}, [pair], flat, Network(dims=3, patch=(8, 8, 8)))


def test_ignored_voxels_count_for_nothing() -> None:
    pair, label = case("i", SQUARE), SQUARE.copy()
    label[5] = 255
    frame = table({"main": threshold}, [(pair[0], Truth(torch.from_numpy(label), None))], {"s": Semibench1()})
    assert frame["dice"].item() == 1 and frame["truth_voxels"].item() == 12 == frame["prediction_voxels"].item()


def test_wrong_cases_are_named() -> None:
    good, truth = case("x", SQUARE)
    for wrong, message in (
        (None, "needs a reference"),
        (Truth(torch.zeros(4, 4, dtype=torch.uint8), None), "describe the same grid"),
        (Truth(torch.full((8, 8), 7, dtype=torch.uint8), None), "expected labels 0..1, found 7"),
    ):
        with pytest.raises(CaseError, match=f"toy/x.*{message}"):
            table({"main": threshold}, [(good, wrong)], {"s": Semibench1()})
    with pytest.raises(PluginError, match="'main' returns 2 classes; the task has 3"):
        score_cases({"main": threshold}, [(good, truth)], FLAT, classes=("a", "b", "c"), network=NET)


def test_chunks_hold_one_shape_and_keep_the_order() -> None:
    wide = case("w", np.zeros((8, 10), dtype=np.uint8))
    chunks = list(same_shape([*IMAGES, wide, wide], 2))
    assert [[c.ref.id for c, _ in chunk] for chunk in chunks] == [["a", "b"], ["c"], ["w", "w"]]
    volume = case("v", np.zeros((4, 4, 4), dtype=np.uint8))
    assert [len(chunk) for chunk in same_shape([volume, volume], 8)] == [1, 1]


def test_validation_is_the_mean_dice_of_semibench_1() -> None:
    images = [*IMAGES, case("d", SQUARE, factor=3)]
    found = validate({"main": threshold, "none": nothing}, images, classes=CLASSES, network=NET)
    means = summarise(table(cases=images), FLAT)
    means = means[(means.convention == "semibench-1") & (means.metric == "dice") & (means["class"] == MEAN)]
    assert found == pytest.approx(dict(zip(means["predictor"], means["mean"], strict=True)))
    assert Semibench1.inference == Inference() and Semibench1.grid == "native"
    assert math.isnan(validate({"main": threshold}, [], classes=CLASSES, network=NET)["main"])


def test_progress_counts_cases() -> None:
    seen: list[int] = []
    table(progress=seen.append)
    assert seen == [1, 2, 3]


# --- reading and averaging ---


def test_summary_means_counts_and_spread() -> None:
    rows = summarise(table(), FLAT).set_index(["predictor", "convention", "metric", "class"]).sort_index()
    row = rows.loc[("none", "semibench-1", "dice", "lesion")]
    assert row["mean"] == pytest.approx(1 / 3) and row["std"] == pytest.approx(np.std([0, 1, 0], ddof=1))
    assert (row["n"], row["defined"], row["empty_truth"], row["empty_prediction"], row["empty_both"]) == (3, 3, 1, 3, 1)
    row = rows.loc[("none", "semibench-1", "hd95_voxel", MEAN)]
    assert math.isnan(row["mean"]) and row["defined"] == 0 and row["n"] == 3
    assert rows.loc[("main", "semibench-1", "hd95_mm", "lesion")]["defined"] == 1
    assert rows.loc[("main", "mgcc-2023", "f1", "lesion")]["mean"] == pytest.approx(2 / 3, abs=1e-5)
    assert ("main", "mgcc-2023", "dice", "lesion") not in rows.index


def test_class_means_come_before_the_mean_over_classes() -> None:
    frame = pd.DataFrame(
        {
            "case": ["p", "q", "p", "q"],
            "group": "g",
            "domain": "d",
            "predictor": "main",
            "convention": "s",
            "class": ["one", "one", "two", "two"],
            "label": [1, 1, 2, 2],
            "empty_truth": False,
            "empty_prediction": False,
            "truth_voxels": 1,
            "prediction_voxels": 1,
            "common_voxels": 1,
            "hd95_voxel": [1.0, 3.0, 10.0, math.nan],
        }
    )
    means = summarise(frame).set_index("class")
    assert means.loc["one", "mean"] == 2 and means.loc["two", "mean"] == 10 and means.loc[MEAN, "mean"] == 6
    assert means.loc[MEAN, "defined"] == 3 and means.loc[MEAN, "n"] == 2
    check_table(frame)


def test_table_invariants() -> None:
    frame = table()
    for change, message in (
        (lambda f: f.assign(dice=f["dice"] * 0.9), "Dice = 2 IoU"),
        (lambda f: f.drop(index=0), "missing"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "twice"),
        (lambda f: f.assign(recall=1.5), "recall"),
        (lambda f: f.assign(hd95_voxel=-1.0), "hd95_voxel"),
        (lambda f: f.drop(columns="group"), "missing: group"),
    ):
        with pytest.raises(TableError, match=message):
            check_table(change(frame.copy()))
    with pytest.raises(TableError, match="expected 4 cases, found 3"):
        check_table(frame, ["toy/a", "toy/b", "toy/c", "toy/z"])


def test_the_table_survives_parquet(tmp_path) -> None:
    frame = table()
    frame.to_parquet(tmp_path / "cases.parquet")
    again = pd.read_parquet(tmp_path / "cases.parquet")
    pd.testing.assert_frame_equal(frame, again, check_dtype=False)
    check_table(again)


def test_csc_pa_worked_numbers() -> None:
    score = CscPa().score
    assert score(EMPTY, EMPTY, None, 2)[1] == {"dice": 1.0, "iou": 1.0}
    shifted = score(np.roll(SQUARE, 1, axis=0), SQUARE, None, 2)[1]
    assert shifted == {"dice": (24 + 1e-5) / (32 + 1e-5), "iou": (12 + 1e-5) / (20 + 1e-5)}
    missed, invented = score(EMPTY, SQUARE, None, 2)[1], score(SQUARE, EMPTY, None, 2)[1]
    assert missed == invented == {"dice": 1e-5 / (16 + 1e-5), "iou": 1e-5 / (16 + 1e-5)}
    plain = Semibench1().score(SQUARE, SQUARE, None, 2)[1]
    assert score(SQUARE, SQUARE, None, 2)[1] == {"dice": plain["dice"], "iou": plain["iou"]}
    assert set(score(np.full((2, 2), 2, dtype=np.uint8), np.zeros((2, 2), dtype=np.uint8), None, 4)) == {1, 2, 3}


def test_csc_pa_rows_keep_the_invariant_for_a_mask_of_one_pixel() -> None:
    """The 1e-5 moves Dice away from 2 IoU / (1 + IoU), but by less than the table's check allows."""
    one = some((8, 8), slice(3, 4), slice(3, 4))
    for prediction in (EMPTY, one, SQUARE):
        values = CscPa().score(prediction, one, None, 2)[1]
        assert abs(values["dice"] - 2 * values["iou"] / (1 + values["iou"])) < SMOOTHING
