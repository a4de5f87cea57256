"""Published splits of ACDC, LA, MM-WHS and M&Ms, from the lists in the authors' repositories."""

from __future__ import annotations

from functools import partial

from semibench.blocks import IdSplit, SplitRules, read_id_list, read_packaged_table, read_split_roles

LISTS = "semibench_plugins.datasets.heart"
ACDC_LABELED = (7, 3, 1, 14, 21, 28, 35)
VENDORS = ("A", "B", "C", "D")


def acdc(labeled: int) -> IdSplit:
    """Returns SSL4MIS's split of 70, 10 and 20 patients with two volumes each; the first `labeled` training patients are
    labeled."""
    lists = read_split_roles(LISTS, "lists/acdc/ssl4mis.txt")
    train = _frames([token.split(":")[0] for token in lists["train"]])
    return IdSplit(
        labeled=train[: 2 * labeled],
        unlabeled=train[2 * labeled :],
        test=_frames(lists["test"]),
        validation=_frames(lists["val"]),
        validation_from="official",
    )


def _frames(patients: list[str]) -> list[str]:
    return [f"patient{number}_frame{frame:02d}" for number in patients for frame in (1, 2)]


def la(labeled: int) -> IdSplit:
    """Returns UA-MT's split of 80 and 20 volumes, with the first `labeled` lines of train.list labeled. It has no validation
    set."""
    train = read_id_list(LISTS, "lists/la/train.list")
    return IdSplit(labeled=train[:labeled], unlabeled=train[labeled:], test=read_id_list(LISTS, "lists/la/test.list"))


def mmwhs(source: str, target: str) -> IdSplit:
    """Returns GenericSSL's split: 16 labeled source volumes; 13 unlabeled target volumes, 3 for selection (with labels!) and
    4 for testing."""
    way = f"{source}2{target}"
    return IdSplit(
        labeled=read_id_list(LISTS, f"lists/mmwhs/train_{way}_labeled.txt"),
        unlabeled=read_id_list(LISTS, f"lists/mmwhs/train_{way}_unlabeled.txt"),
        validation=read_id_list(LISTS, f"lists/mmwhs/eval_{way}.txt"),
        test=read_id_list(LISTS, f"lists/mmwhs/test_{target}.txt"),
        validation_from="official",
    )


def mnms_frames() -> dict[str, tuple[str, tuple[int, int]]]:
    """Returns patient code -> (vendor, (frame at end diastole, frame at end systole)) for the 345 published patients."""
    return {
        row["code"]: (row["vendor"], (int(row["ED"]), int(row["ES"])))
        for row in read_packaged_table(LISTS, "lists/mnms/frames.csv")
    }


def mnms_case(code: str, frame: int) -> str:
    """Returns the id of a volume as in GenericSSL's lists: code_sa_frame."""
    return f"{code}_sa_{frame}"


def mnms_ids(vendors: tuple[str, ...]) -> list[str]:
    """Returns the labeled volumes of some vendors. The 25 unlabeled patients, whose two frame numbers are equal, don't count."""
    table = mnms_frames()
    return [
        mnms_case(code, frame)
        for code, (vendor, (first, second)) in sorted(table.items())
        if vendor in vendors and first != second
        for frame in sorted((first, second))
    ]


def mnms_genericssl(target: str, percent: int) -> IdSplit:
    """Returns GenericSSL's labeled list for a target vendor. All other source volumes are unlabeled; the target is the test
    set."""
    labeled = read_id_list(LISTS, f"lists/mnms/train_to{target}_labeled_0.{percent:02d}.txt")
    return _generalise(target, labeled)


def mnms_dgnet(target: str, percent: int) -> IdSplit:
    """Returns a split in which the patients labeled by DGNet, vMFNet and EPL (the first codes of each centre) are labeled, both
    at ED and ES."""
    codes = {row["code"] for row in read_packaged_table(LISTS, f"lists/mnms/labeled_patients_{percent}p.csv")}
    labeled = [name for name in mnms_ids(tuple(v for v in VENDORS if v != target)) if name.split("_")[0] in codes]
    return _generalise(target, labeled)


def mnms_rules() -> SplitRules:
    """Returns to-<vendor>-<2|5>pct (GenericSSL's lists) and dgnet-to-<vendor>-<2|5>pct (the patients that DGNet and EPL label)."""
    rules = {}
    for percent in (2, 5):
        for target in VENDORS:
            rules[f"to-{target}-{percent}pct"] = partial(mnms_genericssl, target, percent)
            rules[f"dgnet-to-{target}-{percent}pct"] = partial(mnms_dgnet, target, percent)
    return dict(sorted(rules.items(), reverse=True))


def _generalise(target: str, labeled: tuple[str, ...] | list[str]) -> IdSplit:
    labeled_ids = set(labeled)
    sources = mnms_ids(tuple(vendor for vendor in VENDORS if vendor != target))
    return IdSplit(
        labeled=labeled, unlabeled=[name for name in sources if name not in labeled_ids], test=mnms_ids((target,))
    )
