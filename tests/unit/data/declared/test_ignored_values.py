"""Values under `ignore` are neither trained nor scored: label 255 in cases, batches and references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.command_line import bench
from support.own_folders import (
    decathlon,
    declare,
    picture,
    picture_folders,
    save_nifti,
    save_picture,
    volume,
    write_json,
)

from semibench import IGNORE, CaseError, Split, Stream
from semibench.blocks import supervised_loss
from semibench.conformance import DatasetSubject
from semibench.conformance.datasets import check_labels_are_classes, check_truth_is_on_the_native_grid
from semibench.contracts.cases import Dataset
from semibench.contracts.recipe import Recipe
from semibench.data.cache import CaseStore, check_case
from semibench.data.declared.declaration import Declaration
from semibench.data.declared.look import look_at
from semibench.data.declared.naming import find_dataset
from semibench.data.declared.survey import survey
from semibench.data.foreground import Foreground
from semibench.data.pool import case_pool
from semibench.data.training import TrainingData
from semibench.data.verify import verify
from semibench.discovery.registry import registry
from semibench.evaluation.scoring import score_prediction

SIDE = 32
BAND = slice(24, None)
"""Rows that nobody drew."""


def banded(folder: Path, value: int = 9, cases: int = 6, **fields: Any) -> Path:
    """Pictures with a disc of value 1, and a band of rows of another value."""
    for number in range(cases):
        image, disc = picture(number, SIDE)
        label = disc.astype(np.uint8)
        label[BAND] = value
        save_picture(folder / f"images/p{number}.png", image)
        save_picture(folder / f"masks/p{number}.png", label)
    return declare(folder, **({"classes": {0: "background", 1: "lesion"}, "ignore": [value]} | fields))


def opened(folder: Path, **options: Any) -> Dataset:
    cls = find_dataset(registry(), str(folder)).resolve()
    dataset: Dataset = cls(folder, cls.Options(**options))
    return dataset


def test_ignored_pixels_are_no_class_on_both_grids(tmp_path: Path) -> None:
    dataset = opened(banded(tmp_path), size=(16, 16))
    assert dataset.card.classes == ("background", "lesion")
    ref = dataset.index()[2]
    case, truth = dataset.read(ref), dataset.truth(ref)
    check_case(case, ref, dataset)
    assert case.label is not None and truth is not None
    assert (truth.label == IGNORE).sum(1).tolist() == [0] * 24 + [SIDE] * 8
    assert (case.label == IGNORE).sum(1).tolist() == [0] * 12 + [16] * 4
    assert np.array_equal(truth.label[:24].numpy(), picture(2, SIDE)[1][:24])


def test_the_checks_of_a_data_set_accept_them_where_they_are_declared(tmp_path: Path) -> None:
    folder = banded(tmp_path / "mine")
    assert verify(opened(folder)) == []
    item = find_dataset(registry(), str(folder))
    subject = DatasetSubject(item.resolve(), item.card, root=folder)
    check_labels_are_classes(subject)
    check_truth_is_on_the_native_grid(subject)
    picture_folders(tmp_path / "plain", ["a", "b"])
    plain = opened(tmp_path / "plain")
    case = plain.read(plain.index()[0])
    assert case.label is not None
    case.label[0, 0] = IGNORE
    with pytest.raises(CaseError, match="found 255"):
        check_case(case, case.ref, plain)


def batches(dataset: Dataset) -> TrainingData:
    refs = dataset.index()
    store = CaseStore.build({dataset.card.name: dataset}, refs)
    recipe = Recipe(name="here", dims=2, iterations=4, labeled_batch=4, unlabeled_batch=2, patch=(24, 24))
    streams = {"labeled": Stream("labeled"), "unlabeled": Stream("unlabeled")}
    split = Split(tuple(refs[:4]), tuple(refs[4:]), (), ())
    return TrainingData(split, store, card=dataset.card, recipe=recipe, dims=2, streams=streams, seed=0)


def test_batches_hold_them_like_padding(tmp_path: Path) -> None:
    data = batches(opened(banded(tmp_path)))
    ignored = 0
    for iteration in range(4):
        labeled = data.batch(iteration)["labeled"]
        assert torch.equal(labeled.valid, labeled.target != IGNORE)
        assert set(labeled.target.unique().tolist()) <= {0, 1, IGNORE}
        ignored += int((~labeled.valid).sum())
        logits = torch.randn(4, 2, 24, 24, generator=torch.Generator().manual_seed(iteration))
        other = torch.where(labeled.valid[:, None], logits, 50 * logits)
        assert float(supervised_loss(logits, labeled.target)) == float(supervised_loss(other, labeled.target))
        assert bool(data.batch(iteration)["unlabeled"].valid.all()), "who has no label may be used everywhere"
    assert ignored > 0
    assert data.pools.class_voxels().sum() == 4 * SIDE * 24


def test_crops_are_never_placed_on_them() -> None:
    label = torch.zeros(8, 8, dtype=torch.uint8)
    label[6:] = IGNORE
    drawn = label.clone()
    drawn[2, 3] = 1
    images = [torch.zeros(1, 8, 8)] * 2
    found = Foreground(case_pool(images, [label, drawn], torch.device("cpu"), 2**20))
    assert not found.has(0)
    assert [points.tolist() for points in found.points(1)] == [[[2, 3]]]


@pytest.mark.parametrize("name", [item.name for item in registry().cards("conventions") if 2 in item.card.dims])
def test_scores_do_not_see_them(name: str, tmp_path: Path) -> None:
    dataset = opened(banded(tmp_path), size=(SIDE, SIDE))
    convention = registry().get("conventions", name).resolve()()
    ref = dataset.index()[1]
    case, truth = dataset.read(ref), dataset.truth(ref)
    disc = picture(1, SIDE)[1]
    assert truth is not None and disc[:24].any()
    guess = np.roll(disc, 2, axis=1).astype(np.uint8)
    rows = []
    for band in (0, 1):
        guess[BAND] = band
        rows.append(score_prediction(case, truth, guess, convention, dataset.card.classes))
    assert str(rows[0]) == str(rows[1])
    inside, drawn = guess[:24] == 1, disc[:24]
    counts = [int(rows[0][0][f"{what}_voxels"]) for what in ("common", "prediction", "truth")]
    assert counts == [int((inside & drawn).sum()), int(inside.sum()), int(drawn.sum())]


def test_shares_leave_them_out_and_the_picture_shows_them(tmp_path: Path) -> None:
    folder = banded(tmp_path / "mine")
    (folder / "semibench.yaml").unlink()
    declaration = Declaration(classes={0: "background", 1: "lesion"}, ignore=(9,))
    item = find_dataset(registry(), str(banded(tmp_path / "other")))
    look = look_at(folder, declaration, read_labels=True)
    dataset = item.resolve()(folder, item.resolve().Options())
    shares = survey(dataset, look).shares
    drawn = sum(picture(number, SIDE)[1][:24].sum() for number in range(6))
    assert shares["lesion"] == pytest.approx(drawn / (6 * 24 * SIDE)) and sum(shares.values()) == pytest.approx(1)


def test_255_beside_1_and_nnunets_ignore_label_are_ignored(tmp_path: Path) -> None:
    folder = banded(tmp_path / "pictures", 255)
    (folder / "semibench.yaml").unlink()
    answer = bench("data", "new", str(folder), width=None)
    assert answer.exit_code == 0 and "neither trained nor scored" in answer.stderr and "ignore: [255]" in (
        folder / "semibench.yaml"
    ).read_text(encoding="utf-8")  # fmt: skip
    volumes = decathlon(tmp_path / "volumes", 4)
    labels = {"background": 0, "head": 1, "ignore": 2}
    write_json(volumes / "dataset.json", {
        "channel_names": {"0": "MR"}, "labels": labels, "numTraining": 4, "file_ending": ".nii.gz",
    })  # fmt: skip
    save_nifti(volumes / "labelsTr/case00.nii.gz", volume(0)[1])
    dataset = opened(volumes)
    truth = dataset.truth(dataset.index()[0])
    assert dataset.card.classes == ("background", "head") and truth is not None
    stored = volume(0)[1].transpose(2, 1, 0)
    assert np.array_equal(truth.label.numpy(), np.where(stored == 2, IGNORE, stored))
