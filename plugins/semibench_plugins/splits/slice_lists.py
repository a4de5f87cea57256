"""Published splits of the SemSim paper's data sets: ACDC and PROMISE12 (volumes, trained by slices) and ISIC 2018."""

from __future__ import annotations

from semibench_plugins.splits.id_lists import read_ids
from semibench_plugins.splits.published_lists import IdSplit

ACDC_LABELED = (7, 3, 1, 14, 21, 28, 35)
PROMISE12_LABELED = (2, 1, 3, 4, 7)
ISIC2018_LABELED = (181, 55)


def roles(name: str) -> dict[str, list[str]]:
    """A list file with a line for each role, "train: 099:32 038:16" -> {"train": ["099:32", "038:16"]}."""
    lines = (line.split(":", 1) for line in read_ids(name) if not line.startswith("#"))
    return {role: rest.split() for role, rest in lines}


def slices(name: str) -> dict[str, int]:
    """Training slices of each training patient or case, in the order of labeling."""
    return {token.split(":")[0]: int(token.split(":")[1]) for token in roles(name)["train"]}


def acdc(labeled: int) -> IdSplit:
    """SSL4MIS's 70, 10 and 20 patients, two volumes each; the first `labeled` training patients are labeled."""
    lists = roles("acdc/ssl4mis.txt")
    train = _frames([token.split(":")[0] for token in lists["train"]])
    return IdSplit(
        labeled=train[: 2 * labeled],
        unlabeled=train[2 * labeled :],
        test=_frames(lists["test"]),
        validation=_frames(lists["val"]),
        validation_from="official",
    )


def promise12(labeled: int) -> IdSplit:
    """The 35, 5 and 10 cases of CV-SSL-MIS; the first `labeled` training cases are labeled."""
    lists = roles("promise12/cvsslmis.txt")
    train = [f"Case{token.split(':')[0]}" for token in lists["train"]]
    return IdSplit(
        labeled=train[:labeled],
        unlabeled=train[labeled:],
        test=[f"Case{number}" for number in lists["test"]],
        validation=[f"Case{number}" for number in lists["val"]],
        validation_from="official",
    )


def isic2018(labeled: int) -> IdSplit:
    """MedicalMatch's 1838 and 756 images in the order of their ids; the first `labeled` are labeled. The paper selects and
    reports on the 756; here they are the test, and there is no validation."""
    lists = roles("isic2018/medicalmatch.txt")
    train, test = ([f"ISIC_{int(number):07d}" for number in lists[role]] for role in ("train", "val"))
    return IdSplit(labeled=train[:labeled], unlabeled=train[labeled:], test=test)


def _frames(patients: list[str]) -> list[str]:
    return [f"patient{number}_frame{frame:02d}" for number in patients for frame in (1, 2)]
