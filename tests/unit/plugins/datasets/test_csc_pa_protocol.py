"""The protocol of CSC-PA: five folds and three labeled fractions on BUSI's lesions and UDIAT, published rule and phantom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semibench import CaseRef, DatasetCard, Split, UsageError
from semibench.contracts.cases import PhantomOptions
from semibench.protocols.checks import check
from semibench.protocols.single import Ssmis
from semibench.run.prepare import draw_split, prepare
from semibench.run.request import Request
from semibench_plugins.datasets.breast import published_splits as breast_splits
from semibench_plugins.datasets.breast.busi import BUSI, BUSIOptions
from semibench_plugins.datasets.breast.udiat import UDIAT


class OneSet:
    """A catalogue of one data set."""

    def __init__(self, dataset: BUSI | UDIAT) -> None:
        self.card: DatasetCard = dataset.card
        self.dataset = dataset

    def cases(self, dataset: str | None = None) -> tuple[CaseRef, ...]:
        return tuple(self.dataset.index())

    def splits(self) -> object:
        return self.dataset.splits()


def folds(dataset: BUSI | UDIAT, source: str) -> list[Split]:
    options = Ssmis.Options(source=source)
    return [Ssmis().draw(OneSet(dataset), options, None, fold) for fold in range(5)]  # type: ignore[arg-type]


def busi(root: Path) -> BUSI:
    for name in breast_splits.busi_ids(("benign", "malignant")):
        folder = root / name.split(" ")[0]
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.png").touch()
        (folder / f"{name}_mask.png").touch()
    return BUSI(root, BUSIOptions(include=("benign", "malignant")))


@pytest.mark.parametrize("labeled", [258, 129, 64])
def test_five_folds_of_the_647_lesions(tmp_path: Path, labeled: int) -> None:
    data = busi(tmp_path)
    everyone = set(data.index())
    assert len(everyone) == 647
    tested: list[CaseRef] = []
    for split in folds(data, f"csc-pa-fold{{fold}}-{labeled}"):
        check(split, published=True)
        assert len(split.labeled) == labeled and len(split.labeled) + len(split.unlabeled) in (517, 518)
        assert not split.validation and {*split.labeled, *split.unlabeled, *split.test} == everyone
        tested += split.test
    assert sorted(tested) == sorted(everyone), "each image is tested once"


@pytest.mark.parametrize("labeled", [66, 33, 16])
def test_five_folds_of_udiat(tmp_path: Path, labeled: int) -> None:
    pixel = Image.fromarray(np.zeros((2, 2), np.uint8))
    for folder in ("original", "GT"):
        (tmp_path / folder).mkdir()
        for number in range(1, 164):
            pixel.save(tmp_path / folder / f"{number:06d}.png")
    data = UDIAT(tmp_path, UDIAT.Options())
    splits = folds(data, f"csc-pa-fold{{fold}}-{labeled}")
    assert [len(s.labeled) for s in splits] == [labeled] * 5
    assert sorted(len(s.labeled) + len(s.unlabeled) for s in splits) == [130, 130, 130, 131, 131]
    assert sorted(ref for s in splits for ref in s.test) == sorted(data.index())


def test_the_folds_of_a_published_split_are_an_axis_of_their_own(tmp_path: Path) -> None:
    assert Ssmis().replicate(Ssmis.Options(source="csc-pa-fold{fold}-258")) == (False, True)
    assert Ssmis().replicate(Ssmis.Options(source="csc-pa-fold2-258")) == (False, False)
    data = busi(tmp_path)
    named = Ssmis().draw(OneSet(data), Ssmis.Options(source="csc-pa-fold2-258"), None, None)  # type: ignore[arg-type]
    assert folds(data, "csc-pa-fold{fold}-258")[1] == named
    with pytest.raises(UsageError, match=r"no published split 'csc-pa-fold6-258'; it has: .*csc-pa-fold1-258"):
        Ssmis().draw(OneSet(data), Ssmis.Options(source="csc-pa-fold{fold}-258"), None, 5)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "settings"), [("busi", ("lesions_only=true", "phantom.cases=120")), ("udiat", ())])
@pytest.mark.parametrize("labeled", [0.5, 0.25, 0.125])
def test_five_folds_on_the_phantoms(dataset: str, settings: tuple[str, ...], labeled: float) -> None:
    tested: list[CaseRef] = []
    rows, keys = set(), set()
    for fold in range(5):
        request = Request(
            protocol="ssmis", dataset=dataset, method="csc-pa", recipe="smoke", phantom="always", device="cpu", threads=1,
            fold=fold,
            settings=("source=drawn", "folds=5", f"labeled={labeled}", *settings),
        )  # fmt: skip
        plan = prepare(request, estimate=False)
        split, _ = draw_split(plan.resolved)
        groups = len({ref.group for ref in (*split.labeled, *split.unlabeled, *split.validation)})
        assert len({ref.group for ref in split.labeled}) == pytest.approx(labeled * groups, abs=0.51)
        tested += split.test
        rows.add(plan.spec.row)
        keys.add(plan.spec.key)
    assert sorted(tested) == sorted(plan.resolved.data.catalog.cases(dataset)) and len(rows) == 1 and len(keys) == 5


def test_lesions_only_leaves_no_empty_image() -> None:
    data = BUSI.phantom(BUSIOptions(include=("benign", "malignant")), PhantomOptions(cases=24))
    truths = [data.truth(ref) for ref in data.index()]
    assert all(truth is not None and bool(truth.label.any()) for truth in truths) and 0 < len(truths) < 24
