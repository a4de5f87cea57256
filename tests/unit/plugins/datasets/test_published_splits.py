"""Published splits: the packaged lists and rules against the counts that the papers and repositories give."""

from __future__ import annotations

from pathlib import Path

import pytest

from semibench import CaseRef, LayoutError
from semibench.blocks import IdSplit, PublishedLists, half_of_groups
from semibench_plugins.datasets.breast import published_splits as breast_splits
from semibench_plugins.datasets.heart import published_splits as heart_splits
from semibench_plugins.datasets.heart.la import LA


def refs_of(names: list[str], dataset: str = "busi") -> list[CaseRef]:
    return [CaseRef(dataset, name, name, "default", True) for name in names]


ALL_BUSI = breast_splits.busi_ids(("benign", "malignant", "normal"))


def test_mgcc_rules_have_the_printed_counts() -> None:
    for seed in (41, 64, 1337):
        split = breast_splits.mgcc(ALL_BUSI, seed)
        assert (len(split.labeled), len(split.unlabeled), len(split.test)) == (263, 263, 254)
        assert sorted([*split.labeled, *split.unlabeled, *split.test]) == sorted(ALL_BUSI)
        assert breast_splits.mgcc(ALL_BUSI[::-1], seed) == split  # file order doesn't matter
    assert breast_splits.mgcc(ALL_BUSI, 41).test != breast_splits.mgcc(ALL_BUSI, 64).test


def test_mgcc_code_rule_is_scikit_learns() -> None:
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(sorted(ALL_BUSI, key=breast_splits.natural), test_size=0.3, random_state=41)
    split = breast_splits.mgcc_code(ALL_BUSI, 41)
    assert [*split.labeled, *split.unlabeled] == train and list(split.test) == test
    assert (len(split.labeled), len(split.unlabeled), len(split.test)) == (273, 273, 234)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_benchmark_647_lists(number: int) -> None:
    split = breast_splits.benchmark_647(number)
    assert (len(split.labeled), len(split.unlabeled), len(split.test)) == (226, 226, 195)
    lesions = [name for name in ALL_BUSI if not name.startswith("normal")]
    assert sorted([*split.labeled, *split.unlabeled, *split.test]) == sorted(lesions)


def test_csc_pa_folds_are_stratified_and_nested() -> None:
    classes = {name: name.split(" ")[0] for name in ALL_BUSI if not name.startswith("normal")}
    tests: list[str] = []
    for fold in range(5):
        sets = [breast_splits.csc_pa(classes, fold, m) for m in (64, 129, 258)]
        assert [len(s.labeled) for s in sets] == [64, 129, 258]
        assert set(sets[0].labeled) < set(sets[1].labeled) < set(sets[2].labeled)
        assert len(sets[0].labeled) + len(sets[0].unlabeled) in (517, 518)
        assert 87 <= sum(classes[name] == "benign" for name in sets[0].test) <= 88
        tests += sets[0].test
    assert sorted(tests) == sorted(classes)


def test_published_lists_build_splits_of_present_cases() -> None:
    rules = {"one": lambda: IdSplit(["a"], ["b"], ["c"]), "two": lambda: IdSplit(["a"], [], ["d"])}
    lists = PublishedLists("busi", refs_of(["a", "b", "c"]), rules)
    split = lists["one"]
    assert [r.id for r in split.labeled + split.unlabeled + split.test] == ["a", "b", "c"]
    assert list(lists) == ["one"] and len(lists) == 1 and "two" in lists and "three" not in lists
    with pytest.raises(LayoutError, match=r"1 of which are not among the 3 that were found: d"):
        lists["two"]
    assert half_of_groups("abcde", "s") == half_of_groups("edcba", "s") and len(half_of_groups("abcde", "s")) == 3


def test_la_published_lists(tmp_path: Path) -> None:
    four, eight, sixteen = (heart_splits.la(n) for n in (4, 8, 16))
    assert set(four.labeled) < set(eight.labeled) < set(sixteen.labeled)
    for count, split in ((4, four), (8, eight), (16, sixteen)):
        assert (len(split.labeled), len(split.unlabeled), len(split.test)) == (count, 80 - count, 20)
        assert len({*split.labeled, *split.unlabeled, *split.test}) == 100
    assert four.labeled[-1] == "1GU15S0GJ6PFNARO469W" and eight.labeled[-1] == "38CWS74285MFGZZXR09Z"
    (tmp_path / "h5").mkdir()
    for name in eight.labeled:
        (tmp_path / "h5" / f"{name}.h5").touch()
    splits = LA(tmp_path, LA.Options()).splits()
    assert not list(splits)
    with pytest.raises(LayoutError, match="names 100 cases, 92 of which are not among the 8 that were found"):
        splits["la-4"]
    for name in four.every():
        (tmp_path / "h5" / f"{name}.h5").touch()
    splits = LA(tmp_path, LA.Options()).splits()
    assert list(splits) == ["la-8", "la-4", "la-16"] and [r.id for r in splits["la-4"].labeled] == list(four.labeled)
    assert splits["la-4"].validation_from == "none" and len(splits["la-8"].unlabeled) == 72


def test_mmwhs_published_lists() -> None:
    for source, target in (("mr", "ct"), ("ct", "mr")):
        split = heart_splits.mmwhs(source, target)
        sizes = [len(part) for part in (split.labeled, split.unlabeled, split.validation, split.test)]
        assert sizes == [16, 13, 3, 4] and split.validation_from == "official"
        assert all(name.startswith(source) for name in split.labeled)
        rest = [*split.unlabeled, *split.validation, *split.test]
        assert all(name.startswith(target) for name in rest) and len(set(rest)) == 20


def test_mnms_published_lists() -> None:
    sizes = {("A", 2): (10, 440, 190), ("A", 5): (26, 424, 190), ("B", 2): (8, 382, 250), ("B", 5): (22, 368, 250),
             ("C", 2): (12, 528, 100), ("C", 5): (30, 510, 100), ("D", 2): (12, 528, 100), ("D", 5): (30, 510, 100)}  # fmt: skip
    vendors = {code: vendor for code, (vendor, _) in heart_splits.mnms_frames().items()}
    for (target, percent), counts in sizes.items():
        split = heart_splits.mnms_genericssl(target, percent)
        assert (len(split.labeled), len(split.unlabeled), len(split.test)) == counts  # as the sheet gives them
        every = [*split.labeled, *split.unlabeled, *split.test]
        assert len(set(every)) == len(every) == 640
        assert {vendors[name.split("_")[0]] for name in split.test} == {target}
        assert target not in {vendors[name.split("_")[0]] for name in (*split.labeled, *split.unlabeled)}
        other = heart_splits.mnms_dgnet(target, percent)
        assert len(other.labeled) + len(other.unlabeled) == 640 - counts[2] and len(other.labeled) % 2 == 0
    assert len(heart_splits.mnms_dgnet("A", 2).labeled) == 2 * (3 + 3 + 2 + 2)  # B: three of each centre
