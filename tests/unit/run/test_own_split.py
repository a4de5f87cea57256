"""Splits of one's own: every format says the same, what is wrong is one line, and the content stands in the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.command_line import bench, in_one_line
from support.own_folders import decathlon, picture_folders, write_json

from semibench.contracts.cases import Split
from semibench.contracts.errors import UsageError
from semibench.run.changes import split_name
from semibench.run.prepare import draw_split
from semibench.run.request import Request
from semibench.run.resolve import Resolved, resolve

SETTINGS = ("phantom.cases=24", "phantom.scale=0.1")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resolved(dataset: str = "tus", **more: Any) -> Resolved:
    fields = {"protocol": "self", "method": "supervised", "recipe": "smoke", **more}
    if dataset == "tus":
        fields = {"settings": SETTINGS, "phantom": "always", **fields}
    return resolve(Request(dataset=dataset, **fields))


def ids(split: Split) -> dict[str, list[str]]:
    return {role: [ref.id for ref in refs] for role, refs in split.roles().items()}


@pytest.mark.parametrize("protocol", ["self", "ssmis", "umda", "semi-mdg", "similar", "synthetic"])
@pytest.mark.parametrize("ending", ["json", "csv"])
def test_what_bench_split_writes_is_read_as_the_same_split(here: Path, protocol: str, ending: str) -> None:
    data = ("-p", protocol, "-d", "tus", "--phantom", *(word for text in SETTINGS for word in ("--set", text)))
    answer = bench("split", *data, "--recipe", "smoke", "--out", f"own.{ending}")
    assert answer.exit_code == 0, answer.output
    drawn, _ = draw_split(resolved(protocol=protocol))
    own = resolved(protocol=protocol, split=here / f"own.{ending}")
    given, _ = draw_split(own)
    assert {role: set(refs) for role, refs in given.roles().items()} == {
        role: set(r) for role, r in drawn.roles().items()
    }
    assert own.spec.replicate.draw is None and "own" in split_name(own.spec.track.protocol.options)


def test_all_formats_have_one_key_and_other_content_another(here: Path) -> None:
    picture_folders(here / "mine", [f"p{n}" for n in range(8)])
    roles = {"labeled": ["p0", "p1"], "unlabeled": ["p2", "p3"], "validation": ["p4"], "test": ["p5", "p6"]}
    write_json(here / "roles.json", roles)
    write_json(here / "names.json", {name: role for role, names in roles.items() for name in names})
    lines = ["Case,Split", *(f"{name},{role}" for role, names in reversed(roles.items()) for name in names)]
    (here / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    write_json(
        here / "full.json", {"roles": {r: [["mine", name, name, "default"] for name in n] for r, n in roles.items()}}
    )
    files = ["roles.json", "names.json", "rows.csv", "full.json"]
    runs = [resolved("./mine", split=Path(file)) for file in files]
    assert len({run.spec.key for run in runs}) == 1 and runs[0].spec.key != resolved("./mine").spec.key
    split, warnings = draw_split(runs[0])
    assert ids(split) == roles and not warnings and split.excluded == {"mine/p7": "not in the split file"}
    assert str(here) not in runs[0].spec.model_dump_json()
    write_json(here / "roles.json", roles | {"unlabeled": ["p2", "p7"]})
    assert resolved("./mine", split=Path("roles.json")).spec.key != runs[0].spec.key


def test_a_stored_spec_finds_its_split_again(here: Path) -> None:
    picture_folders(here / "mine", [f"p{n}" for n in range(8)])
    write_json(here / "own.json", {"labeled": ["p0", "p1"], "unlabeled": ["p2"], "test": ["p5"]})
    first = resolved("./mine", split=Path("own.json"))
    (here / "own.json").unlink()
    again = resolve(Request.from_spec(first.spec))
    assert again.spec.key == first.spec.key and ids(draw_split(again)[0]) == ids(draw_split(first)[0])
    with pytest.raises(UsageError, match="give its file: --split FILE"):
        resolved("./mine", settings=(f"protocol.own_split={'0' * 64}",))


def test_groups_bring_all_their_cases(here: Path) -> None:
    picture_folders(
        here / "mine", ["anna/1", "anna/2", "ben/1", "carl/1", "dora/1"], bare=["anna/3", "carl/2", "eve/1"]
    )
    (here / "own.csv").write_text(
        "patient,role\nanna,labeled\nben,validation\ncarl,test\neve,unlabeled\n", encoding="utf-8"
    )
    split, _ = draw_split(resolved("./mine", split=Path("own.csv")))
    assert ids(split) == {
        "labeled": ["anna_1", "anna_2"], "unlabeled": ["anna_3", "eve_1"], "validation": ["ben_1"], "test": ["carl_1"],
    }  # fmt: skip


def test_nnunets_folds(here: Path) -> None:
    decathlon(here / "mine", 10, labeled=8)
    names = [f"case{n:02d}" for n in range(8)]
    write_json(here / "folds.json", [{"train": names[2:], "val": names[:2]}, {"train": names[:6], "val": names[6:]}])
    one = resolved("./mine", split=Path("folds.json"), fold=1, settings=("labeled=0.5",))
    split, _ = draw_split(one)
    assert one.spec.replicate.fold == 1 and one.spec.replicate.draw == 0
    assert ids(split)["test"] == names[6:] and len(split.labeled) == 3
    assert {ref.id for ref in (*split.labeled, *split.unlabeled)} == {*names[:6], "case08", "case09"}
    other, _ = draw_split(resolved("./mine", split=Path("folds.json"), fold=1, settings=("labeled=0.5",), draw=3))
    assert set(other.labeled) != set(split.labeled)
    tracks = {resolved("./mine", split=Path("folds.json"), fold=fold).spec.row for fold in (0, 1)}
    assert len(tracks) == 1, "folds of one file are one row"
    with pytest.raises(UsageError, match="expected one of the 2 folds"):
        draw_split(resolved("./mine", split=Path("folds.json"), fold=2))


WRONG: dict[str, tuple[Any, str]] = {
    "unknown": ({"labeled": ["p0"], "test": ["px"]}, "found 'px'"),
    "two roles": ({"labeled": ["p0"], "test": ["p0"]}, "expected one role for 'p0', found labeled and test"),
    "torn group": ({"labeled": ["p0"], "test": ["p1"]}, "expected whole groups, found group 'g0'"),
    "torn training group": ({"labeled": ["p0"], "unlabeled": ["p1"], "test": ["p2", "p3"]}, "found group 'g0'"),
    "no label": ({"labeled": ["p0", "p1"], "test": ["u0"]}, "found none for 'u0'"),
    "no test": ({"labeled": ["p0", "p1"]}, "expected test cases, found none"),
    "no training": ({"test": ["p0", "p1"]}, "expected labeled (or train) cases"),
    "odd role": ({"labeled": ["p0", "p1"], "tset": ["p2"]}, "found 'tset'"),
    "odd names": ({"labeled": [{"a": 1}], "test": ["p2"]}, "expected a name under 'labeled'"),
    "a number": (7, "expected an object or a list"),
    "nothing": ({}, "found neither"),
    "names alone": (["p0"], "expected a list of folds"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_split_that_cannot_be_used_is_one_line(here: Path, what: str) -> None:
    content, expected = WRONG[what]
    picture_folders(here / "mine", [f"p{n}" for n in range(8)], bare=["u0"])
    rows = [
        "case,image,label,group",
        *(f"p{n},images/p{n}.png,masks/p{n}.png,g{n // 2}" for n in range(8)),
        "u0,images/u0.png,,",
    ]
    (here / "mine/cases.csv").write_text("\n".join(rows), encoding="utf-8")
    (here / "mine/semibench.yaml").write_text("list: cases.csv\n", encoding="utf-8")
    write_json(here / "own.json", content)
    answer = bench("split", "-p", "self", "-d", "./mine", "--split", "own.json")
    error = in_one_line(answer.stderr).rpartition("error: ")[2]
    assert answer.exit_code == 2 and expected in error and "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("own.json", "{", "expected JSON, found in line 1"),
        ("own.csv", "name\np0\n", "expected the columns case (or group) and role"),
        ("own.csv", "case,role\n,labeled\n", "line 2: expected a name"),
        ("own.csv", "case,role\np0,tset\n", "in line 2, found 'tset'"),
        ("lost.json", None, "found none"),
    ],
)
def test_a_file_that_is_no_split_is_one_line(here: Path, name: str, text: str | None, expected: str) -> None:
    if text is not None:
        (here / name).write_text(text, encoding="utf-8")
    words = ("--phantom", *(word for setting in SETTINGS for word in ("--set", setting)))
    answer = bench("split", "-p", "self", "-d", "tus", *words, "--split", name)
    assert answer.exit_code == 2 and expected in in_one_line(answer.stderr) and "Traceback" not in answer.stderr


def test_train_needs_a_protocol_that_draws_labels(here: Path) -> None:
    decathlon(here / "mine", 6)
    rows = [f"case0{n},imagesTr/case0{n}.nii.gz,labelsTr/case0{n}.nii.gz,s{n % 2}" for n in range(6)]
    (here / "mine/cases.csv").write_text("\n".join(["case,image,label,site", *rows]), encoding="utf-8")
    (here / "mine/semibench.yaml").write_text("list: cases.csv\n", encoding="utf-8")
    write_json(here / "own.json", {"train": ["case00", "case01"], "test": ["case02"]})
    answer = bench("split", "-p", "umda", "-d", "./mine", "--split", "own.json")
    assert answer.exit_code == 2 and "no option `labeled`" in in_one_line(answer.stderr)


def test_out_takes_json_and_csv_only(here: Path) -> None:
    words = ("split", "-p", "self", "-d", "tus", "--phantom", *(word for text in SETTINGS for word in ("--set", text)))
    for name, expected in (("own.txt", ".json or .csv"), ("nowhere/own.json", "make the folder first")):
        answer = bench(*words, "--out", name)
        assert answer.exit_code == 2 and expected in in_one_line(answer.stderr)
    assert (
        bench(*words, "--out", "own.json", "--json").exit_code == 0
        and json.loads((here / "own.json").read_text())["test"]
    )
