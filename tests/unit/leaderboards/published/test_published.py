"""The papers' tables as data: loaded whole, checked, their anomalies recomputed, put beside boards in the right unit."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from support.command_line import bench

from semibench.contracts.errors import UnknownNameError, UsageError
from semibench.runfolder.records import ScoreSummary
from semibench_leaderboards.published import ValueSearch, anomalies, counterparts, find, marks, papers, values
from semibench_leaderboards.published.anomalies import read as read_anomalies
from semibench_leaderboards.published.groups import class_of
from semibench_leaderboards.published.marks import least_iou, recompute, recomputed
from semibench_leaderboards.published.reproduced import figure
from semibench_leaderboards.published.sources import PublishedDataError
from semibench_leaderboards.published.tables import as_csv, as_markdown, cell_text, pieces, printed_tables, record
from semibench_leaderboards.published.values import COLUMNS, Value, by_id, parse_note, read

HEAD = ",".join(COLUMNS)
ROW = "mgcc,I,ssmis,busi,self,263,263,cps,CPS,baseline,mean,iou,percent,65.97,1.46,higher,"


def test_all_values_are_there_and_named_once() -> None:
    assert len(values()) == len(by_id()) == 1803
    assert Counter(value.paper for value in values()) == {
        "mgcc": 283, "diff-cl": 308, "csc-pa": 172, "semsim": 354, "dtlp": 686,
    }  # fmt: skip
    assert len({(value.paper, value.table) for value in values()}) == 31
    for paper in papers().values():
        assert {value.table for value in values() if value.paper == paper.name} == set(paper.tables)
    assert sum(value.value is None for value in values()) == 40
    assert all(value.remarks for value in values() if value.value is None)


def test_a_value_as_printed() -> None:
    value = by_id()["mgcc/I/busi/self/263-263/mgcc/mean/iou"]
    assert (value.value, value.std, value.unit, value.share, value.rounding) == (68.06, 2.45, "percent", 0.6806, 0.005)
    assert value.role == "proposed" and value.anomalies == ("mgcc-01",)
    bound = by_id()["mgcc/I/tus/supervised-full/1359-0/u-net/mean/iou@self"]
    assert bound.role == "upper-bound" and bound.block == "self"
    fraction = by_id()["semsim/I/acdc/labeled-10pct/7-_/semsim/mean/dice"]
    assert fraction.share == fraction.value == 0.896


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (ROW.replace("65.97", "65,97").replace("65,97", '"65,97"'), "line 2: value is '65,97'"),
        (ROW.replace("65.97", ""), "line 2: an empty value needs a note"),
        (ROW + "anomaly 7", "line 2: note: 'anomaly 7'"),
        (ROW + "printed_delta=1.5", "line 2: note: printed_delta='1.5'"),
        (ROW.replace("iou", "jaccard"), "line 2: metric"),
        (ROW.replace("mgcc", "dtlp"), "line 2: paper is 'dtlp'"),
        (f"{ROW}\n{ROW}", "line 3: mgcc/I/busi/self/263-263/cps/mean/iou is in line 2 too"),
        (ROW[:-1], "line 2: expected 17 cells, found 16"),
    ],
)
def test_a_damaged_file_names_its_line(row: str, told: str) -> None:
    with pytest.raises(PublishedDataError, match=r"some\.csv, ") as caught:
        read(f"{HEAD}\n{row}\n", "some.csv", "mgcc")
    assert told in str(caught.value)


def test_a_wrong_header_names_the_columns() -> None:
    with pytest.raises(PublishedDataError, match="line 1: expected the columns paper,table"):
        read("a,b\n", "some.csv", "mgcc")


def test_notes_are_taken_apart() -> None:
    note = "protocol=self; printed_delta=?0.06 (arrow lost in extraction); anomaly mgcc-15: sign lost; category=general; more"
    assert parse_note(note) == {
        "protocol": "self",
        "printed_delta": "?0.06",
        "category": "general",
        "anomalies": ("mgcc-15",),
        "anomaly_texts": ("sign lost",),
        "remarks": ("arrow lost in extraction", "more"),
    }


def test_anomalies_are_all_there_and_every_tag_has_one() -> None:
    known = anomalies()
    assert len(known) == 93 and sum(len(item.found) for item in known.values()) == 243
    assert Counter(item.severity for item in known.values()) == {
        "text": 32, "extraction": 18, "remark": 18, "inconsistent": 12, "impossible": 7, "doubtful": 6,
    }  # fmt: skip
    for value in values():
        for name in value.anomalies:
            assert known[name].paper == value.paper
            assert value.table in known[name].tables or not known[name].tables
    with pytest.raises(PublishedDataError, match="entry 1"):
        read_anomalies("- {id: nonsense}", "some.yaml")


def test_impossible_values_are_exactly_the_known_ones() -> None:
    """The two overlap laws, recomputed from the digits, find the rows that the anomalies of that kind tag, and no other."""
    laws = {key for key, found in recomputed().items() if any(mark.severity == "impossible" for mark in found)}
    tagged = {value.id for value in values() for name in value.anomalies if anomalies()[name].severity == "impossible"}
    assert tagged <= laws
    partners = {by_id()[key] for key in laws - tagged}
    for value in partners:  # an anomaly tags the IoU alone; the law can't tell which of the two is wrong
        iou = value.id.replace("/dice", "/iou")
        assert value.metric == "dice" and iou in tagged
    assert len({key.rsplit("/", 1)[0] for key in laws if key.startswith("mgcc")}) == 41


def test_averages_and_bounds_are_recomputed() -> None:
    wrong = {key for key, found in recomputed().items() if any("mean of its" in mark.reason for mark in found)}
    assert wrong == {value.id for value in values() if {"dtlp-04", "dtlp-05"} & set(value.anomalies)}
    exceeded = {
        (by_id()[key].table, by_id()[key].dataset)
        for key, found in recomputed().items()
        for mark in found
        if "called upper bound" in mark.reason
        and (by_id()[key].paper, by_id()[key].group, by_id()[key].metric) == ("dtlp", "mean", "dice")
    }
    assert exceeded == {("II", "la"), ("IV", "synapse"), ("VII", "mmwhs-mr2ct")}  # dtlp-36


def _pair(iou: str, dice: str) -> list[Value]:
    like = by_id()["diff-cl/3/la/labeled-5pct/4-76/dtc/mean/dice"]
    return [
        like.model_copy(update={"metric": metric, "printed": text, "value": float(text), "method": "made-up"})
        for metric, text in (("iou", iou), ("dice", dice))
    ]


@pytest.mark.parametrize(
    ("iou", "dice", "wrong"),
    [
        ("66.67", "80.00", False),  # all cases alike: J = D / (2 - D) = 2/3
        ("66.66", "80.00", False),  # .79995 / 1.20005 = .666597, and 66.66 may be 66.665
        ("66.65", "80.00", True),  # 66.655 is below it
        ("80.00", "80.00", False),  # half the cases perfect, the others missed: both means are equal
        ("80.02", "80.00", True),
        ("80.01", "80.00", False),  # rounding
    ],
)
def test_the_overlap_laws_on_made_up_rows(iou: str, dice: str, wrong: bool) -> None:
    found = recompute(_pair(iou, dice))
    assert bool(found) == wrong
    assert least_iou(0.8) == pytest.approx(2 / 3)


def test_search_knows_aliases_and_suggests() -> None:
    assert {value.method for value in find(ValueSearch(method="CTBCT"))} == {"ctct"}
    assert {value.dataset for value in find(ValueSearch(dataset="mmwhs"))} == {"mmwhs-mr2ct", "mmwhs-ct2mr"}
    assert {value.metric for value in find(ValueSearch(paper="dtlp", metric="Jaccard"))} == {"iou"}
    assert {value.block for value in find(ValueSearch(paper="semsim", setting="labeled-5pct"))} == {"labeled-5pct"}
    with pytest.raises(UnknownNameError, match="Did you mean 'mgcc'"):
        find(ValueSearch(method="mgc"))
    with pytest.raises(UnknownNameError, match="I, II, III"):
        find(ValueSearch(paper="mgcc", table="9"))
    with pytest.raises(UsageError, match="busi, tus"):
        find(ValueSearch(paper="mgcc", dataset="la"))


INSTALLED = ("semibench-1", "mgcc-2023", "ssl4mis", "la-sliding")


def test_beside_a_board() -> None:
    found = counterparts(
        protocol="self", dataset="busi", options={"labeled": 0.5, "source": "drawn"}, metric="iou",
        convention="semibench-1", conventions=INSTALLED,
    )  # fmt: skip
    assert [item.value.method for item in found] == [
        "u-net", "cmu-net", "mean-teacher", "ua-mt", "dct", "cps", "ctct", "cct", "mgcc",
    ]  # fmt: skip
    assert found[-1].shown == 0.6806 and found[-1].convention == "mgcc-2023"
    assert "mgcc-2023" in found[-1].remarks[0] and found[-1].marks[0].severity == "impossible"
    assert not counterparts(
        protocol="self", dataset="busi", options={"labeled": 0.1}, metric="iou", convention="semibench-1"
    )


@pytest.mark.parametrize(
    ("protocol", "dataset", "options", "metric", "group", "expected"),
    [
        ("ssmis", "la", {"source": "la-4"}, "dice", "mean", {"diff-cl", "dtlp"}),
        ("ssmis", "la", {"source": "la-8"}, "hd95_voxel", "mean", {"diff-cl", "dtlp"}),
        ("ssmis", "isic2018", {"source": "isic2018-55"}, "dice", "mean", {"semsim"}),
        ("ssmis", "busi", {"source": "csc-pa-fold{fold}-129"}, "iou", "mean", {"csc-pa"}),
        ("ssmis", "synapse", {"source": "genericssl-20pct"}, "dice", "spleen", {"dtlp"}),
        ("ssmis", "amos22", {"source": "amos22-2pct"}, "dice", "mean", {"dtlp"}),
        ("umda", "mmwhs", {"source": "mr", "target": "ct", "split": "mr2ct"}, "dice", "myocardium", {"dtlp"}),
        ("semi-mdg", "mnms", {"target": "B", "split": "to-B-2pct"}, "dice", "mean", {"dtlp"}),
        ("synthetic", "tus", {"labels": "all", "labeled": 0.5}, "f1", "mean", {"mgcc"}),
        ("ssmis", "hc18", {"source": "drawn", "labeled": 0.1}, "dice", "mean", set()),
    ],
)  # fmt: skip
def test_beside_finds_the_setting(protocol, dataset, options, metric, group, expected) -> None:  # type: ignore[no-untyped-def]
    found = counterparts(
        protocol=protocol, dataset=dataset, options=options, metric=metric, convention="semibench-1", group=group
    )
    assert {item.value.paper for item in found} == expected
    domains = {item.value.group for item in found if item.value.group.startswith("domain")}
    assert domains == ({"domain-b"} if protocol == "semi-mdg" else set())
    if expected and metric == "dice":
        assert all(item.shown is None or 0 <= item.shown <= 1 for item in found)


def test_the_number_under_the_papers_own_convention() -> None:
    def score(checkpoint: str, predictor: str, convention: str, mean: float) -> ScoreSummary:
        return ScoreSummary(
            checkpoint=checkpoint, predictor=predictor, convention=convention, metric="iou", mean=mean,
            per_class={"spleen": 0.5, "liver": 0.25},
        )  # fmt: skip

    scores = [
        score("last", "student", "semibench-1", 0.7),
        score("best", "student", "mgcc-2023", 0.65),
        score("last", "student", "mgcc-2023", 0.64),
        score("last", "teacher", "mgcc-2023", 0.6),
    ]
    item = counterparts(
        protocol="self", dataset="busi", options={"labeled": 0.5}, metric="iou", convention="semibench-1",
        conventions=INSTALLED,
    )[-1]  # fmt: skip
    assert item.own(scores) == 0.64
    assert item.own(scores, checkpoint="best") == 0.65
    assert item.own(scores, predictor="teacher") == 0.6
    assert item.own(scores[:1]) is None
    assert figure(scores, "iou", convention="semibench:semibench-1", group="spleen") == 0.5
    assert figure(scores, "iou", convention="semibench-1", group="liver") == 0.25


def test_conventions_named_for_papers_are_installed() -> None:
    from semibench.discovery.registry import registry

    installed = {item.name for item in registry().cards("conventions")}
    for paper in papers().values():
        assert {name for names in paper.conventions.values() for name in names} <= installed


def test_columns_of_classes_are_classes_of_the_data_sets() -> None:
    from semibench.discovery.registry import registry

    for dataset, prefix in (("synapse", "synapse"), ("mmwhs", "mmwhs-")):
        classes = set(registry().get("datasets", dataset).card.classes)
        columns = {value for value in values() if value.dataset.startswith(prefix) and value.group != "mean"}
        assert {class_of(value) for value in columns} == classes - {"background"}


def test_tables_show_units_roles_spreads_and_marks() -> None:
    made = printed_tables(find(ValueSearch(paper="mgcc", table="I", dataset="busi")))[0]
    assert made.columns == ["IoU [%]", "recall [%]", "precision [%]", "F1 [%]"]
    assert made.rows[0][:3] == ["busi", "self: supervised-full [526/0]", "U-Net (upper bound)"]
    assert made.rows[-1][2:5] == ["MGCC (Ours) *", "68.06 ± 2.45 ✗[1]", "61.49 ± 2.82"]
    assert made.notes == ["[1] mgcc-01: IoU above F1: the columns use different averaging"]
    assert as_markdown([made]).count("\n| ") == 11
    lines = as_csv(find(ValueSearch(paper="mgcc", table="I"))).splitlines()
    assert len(lines) == 73 and lines[0].startswith("id,paper,table")
    assert record(by_id()["mgcc/I/busi/self/263-263/mgcc/mean/iou"])["impossible"].startswith("IoU above F1")
    ua_mt = by_id()["dtlp/IV/synapse/labeled-20pct/_-_/ua-mt/mean/dice"]
    assert cell_text(ua_mt) == "20.26 ± 2.2" and "20.26,2.2," in as_csv([ua_mt])
    wide = printed_tables(find(ValueSearch(paper="dtlp", table="IV")))[0]
    parts = pieces(wide, 6)
    assert [len(head) for head, _ in parts] == [9, 9, 6] and [
        name for head, _ in parts for name in head[3:]
    ] == wide.columns
    assert all(len(row) == len(head) for head, rows in parts for row in rows)
    assert marks(by_id()["mgcc/I/tus/self/679-680/mgcc/mean/iou"]) == ()


def test_the_command() -> None:

    def run(*words: str) -> str:
        done = bench("published", *words, width=None)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "SemSim" in run("--paper", "semsim", "--table", "III", "--method", "semsim")
    assert len(json.loads(run("--paper", "mgcc", "--table", "VII", "--format", "json"))) == 9
    assert all(row["impossible"] for row in json.loads(run("--impossible", "--format", "json")))
    assert run("--method", "w2spc", "--format", "markdown").startswith("### DTLP-Net")
    assert "URPC, brats19" in run("--anomaly", "diff-cl-02")
    assert len(json.loads(run("--anomaly", "all", "--format", "json"))) == 93
    assert len(run("--anomaly", "all", "--paper", "csc-pa", "--format", "csv").splitlines()) == 5
    wrong = bench("published", "--dataset", "bussi", width=None)
    assert wrong.exit_code == 2 and "Did you mean 'busi'" in wrong.stderr
