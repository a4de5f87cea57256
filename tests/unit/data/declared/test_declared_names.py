"""How a data set of one's own is called, what stands in the key of its runs, and the commands `bench data new` and `register`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.command_line import bench, in_one_line
from support.own_folders import decathlon, declare, picture_folders, save_picture, write_json

from semibench.cli.tune_command import make_spec
from semibench.cli.tune_options import Search
from semibench.contracts.errors import IdentityError, LayoutError, UnknownNameError, UsageError
from semibench.data.declared.declaration import read_declaration
from semibench.data.declared.naming import find_dataset
from semibench.discovery.registry import registry
from semibench.run.prepare import draw_split
from semibench.run.request import Cell, Request
from semibench.run.resolve import Resolved, resolve
from semibench.tuning.study import Study

NAMES = [f"p{number:02d}" for number in range(12)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, with private places for the user's configuration, and for the cache, which remembers the folders of
    names: other tests have data sets of the same names."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def resolved(dataset: str, **more: Any) -> Resolved:
    fields = {"protocol": "ssmis", "method": "mean-teacher", "recipe": "smoke", **more}
    return resolve(Request(dataset=dataset, **fields))


def test_the_key_depends_on_content_and_declaration_and_on_no_path(here: Path) -> None:
    picture_folders(here / "mine", NAMES)
    shutil.copytree(here / "mine", here / "elsewhere" / "mine")
    spec = resolved("./mine").spec
    assert spec.track.dataset.name == "local:mine" and str(here) not in spec.model_dump_json()
    assert resolved("./elsewhere/mine").spec.key == spec.key
    assert bench("data", "new", "./mine").exit_code == 0
    assert resolved("./mine").spec.key == spec.key, "the file says what was decided without it"
    declare(here / "mine", scale="z-score")
    assert resolved("./mine").spec.key != spec.key
    declare(here / "mine", groups="(p.).")
    assert resolved("./mine").spec.key not in (spec.key, resolved("./elsewhere/mine", seed=1).spec.key)
    (here / "mine/semibench.yaml").unlink()
    save_picture(here / "mine/images/p00.png", __import__("numpy").zeros((24, 24), "uint8"))
    assert resolved("./mine").spec.track.data != spec.track.data


def test_a_stored_spec_resolves_to_its_own_key(here: Path) -> None:
    decathlon(here / "scans", 10, labeled=8)
    first = resolved("./scans", settings=("labeled=3",))
    again = resolve(Request.from_spec(first.spec))
    assert again.spec.key == first.spec.key and again.names.dataset.full_name == "local:scans"
    declare(here / "scans", scale="none")
    with pytest.raises(UsageError, match="expected the declaration of the run, scale='z-score', found scale='none'"):
        resolve(Request.from_spec(first.spec))


def test_a_changed_list_is_another_data_set(here: Path) -> None:
    picture_folders(here / "mine", NAMES)
    rows = [
        "image,label,patient",
        *(f"images/{name}.png,masks/{name}.png,a{number // 2}" for number, name in enumerate(NAMES)),
    ]
    (here / "mine/cases.csv").write_text("\n".join(rows), encoding="utf-8")
    declare(here / "mine", list="cases.csv")
    spec = resolved("./mine").spec
    (here / "mine/cases.csv").write_text("\n".join(rows).replace("a5", "a4"), encoding="utf-8")
    assert resolved("./mine").spec.key != spec.key
    with pytest.raises(UsageError, match="found others, or other groups"):
        resolve(Request.from_spec(spec))


def test_a_registered_name_and_its_path_are_one_data_set(here: Path) -> None:
    picture_folders(here / "data/Mine 2", NAMES)
    assert find_dataset(registry(), "./data/Mine 2").name == "mine-2"
    answer = bench("data", "register", "clinic", "data/Mine 2")
    assert answer.exit_code == 0 and "12 cases" in answer.stdout
    assert (here / "semibench.toml").read_text() == '[data.paths]\n"clinic" = "./data/Mine 2"\n'
    assert find_dataset(registry(), "./data/Mine 2").full_name == "local:clinic"
    assert resolved("clinic").spec.key == resolved("./data/Mine 2").spec.key
    assert bench("data", "register", "clinic", "data/Mine 2").exit_code == 0, "twice is once"
    picture_folders(here / "other", NAMES)
    again = bench("data", "register", "clinic", "other")
    assert again.exit_code == 2 and "take another name" in in_one_line(again.stderr)


def test_a_study_is_one_whether_its_folder_is_named_by_path_or_by_name(here: Path) -> None:
    picture_folders(here / "folder", NAMES)
    assert bench("data", "register", "mine", "./folder").exit_code == 0
    cells = [
        Cell(protocol="self", dataset=name, method="mean-teacher", recipe="smoke") for name in ("./folder", "mine")
    ]
    first, second = (make_spec(cell, Search(), name=None, storage=None) for cell in cells)
    assert first == second and first.name == "self-mine-mean-teacher" and first.request.dataset == "local:mine"
    Study.open(first, here / "studies")
    other = make_spec(cells[0].model_copy(update={"draw": 1}), Search(), name=None, storage=None)
    with pytest.raises(IdentityError) as caught:
        Study.open(other, here / "studies")
    assert str(caught.value).endswith("choose --study NAME:\n  request.draw: 0 there, 1 here")


def test_show_lists_the_options_of_a_folder_in_words(here: Path) -> None:
    picture_folders(here / "mine", NAMES)
    shown = in_one_line(bench("show", "dataset", "./mine", width=200).stdout)
    assert "size tuple[int, ...] | None – " in shown and "0x" not in shown and "FieldInfo" not in shown


def test_registering_keeps_what_a_configuration_file_says(here: Path) -> None:
    picture_folders(here / "mine", NAMES)
    text = (
        '# my machine\n[data]\nroot = "/data"  # all\n[data.paths]  # single ones\nbusi = "/busi"\n\n[other]\nx = 1\n'
    )
    (here / "semibench.toml").write_text(text)
    assert bench("data", "register", "clinic", "./mine").exit_code == 0
    new = (here / "semibench.toml").read_text()
    assert new == text.replace("# single ones\n", '# single ones\n"clinic" = "./mine"\n')
    (here / "semibench.toml").write_text('data = { paths = { busi = "/busi" } }\n')
    answer = bench("data", "register", "clinic", "./mine")
    assert answer.exit_code == 2 and "by hand" in in_one_line(answer.stderr)
    user = bench("data", "register", "for-all", "./mine", "--user", "--json")
    assert user.exit_code == 0 and Path(json.loads(user.stdout)["file"]).is_file()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("Clinic One", "./mine"), "lower case letters, digits and single dashes, e.g. 'clinic-one'"),
        (("busi", "./mine"), "take another one"),
        (("clinic", "./nothing"), "found nothing there"),
        (("clinic", "./empty"), "found an empty folder"),
    ],
)
def test_what_cannot_be_registered_is_one_line(here: Path, words: tuple[str, str], expected: str) -> None:
    picture_folders(here / "mine", NAMES)
    (here / "empty").mkdir()
    answer = bench("data", "register", *words)
    assert answer.exit_code in (1, 2) and expected in in_one_line(answer.stderr) and "Traceback" not in answer.stderr
    assert not (here / "semibench.toml").exists()


def test_a_folder_named_like_a_built_in_data_set_is_another_one(here: Path) -> None:
    picture_folders(here / "busi", NAMES)
    item = find_dataset(registry(), "./busi")
    assert item.full_name == "local:busi-local"
    with pytest.raises(UnknownNameError, match=r"write -d \./mine"):
        picture_folders(here / "mine", NAMES)
        find_dataset(registry(), "mine")
    with pytest.raises(UsageError, match="bench data register lost FOLDER"):
        find_dataset(registry(), "local:lost")
    with pytest.raises(LayoutError, match="found a file there"):
        write_json(here / "notes.txt", {})
        find_dataset(registry(), "./notes.txt")


def test_no_phantom_stands_in(here: Path) -> None:
    picture_folders(here / "mine", NAMES)
    with pytest.raises(UsageError, match="has no phantom"):
        resolved("./mine", phantom="always")
    assert not resolved("./mine").data.phantom


def test_the_defaults_of_protocols_follow_the_folder(here: Path) -> None:
    decathlon(here / "plain", 20)
    split, _ = draw_split(resolved("./plain"))
    assert [len(refs) for refs in split.roles().values()] == [2, 12, 2, 4]
    decathlon(here / "bare", 20, labeled=10)
    run = resolved("./bare")
    split, _ = draw_split(run)
    assert run.data.protocol_options.labeled == 1.0
    assert [len(refs) for refs in split.roles().values()] == [7, 10, 1, 2]
    assert not any(ref.has_label for ref in split.unlabeled)
    ids = [f"case{number:02d}" for number in range(10)]
    folds = [{"train": ids[:5], "val": ids[5:]}, {"train": ids[5:], "val": ids[:5]}]
    write_json(here / "bare/splits_final.json", folds)
    run = resolved("./bare", fold=1)
    split, _ = draw_split(run)
    assert run.data.protocol_options.source == "fold{fold}-all" and run.spec.replicate.fold == 1
    assert [ref.id for ref in split.test] == ids[:5] and len(split.labeled) == 5 and len(split.unlabeled) == 10
    assert resolved("./bare", protocol="self").data.protocol_options.source == "drawn"


def test_data_new_writes_what_it_understood(here: Path) -> None:
    picture_folders(
        here / "mine", [f"anna{n}_l" for n in range(4)] + [f"anna{n}_r" for n in range(4)], bare=["u1_l", "u2_l"]
    )
    answer = bench("data", "new", "./mine")
    out, err = in_one_line(answer.stdout), in_one_line(answer.stderr)
    assert answer.exit_code == 0, answer.output
    assert "10: 8 with label, 2 without" in out and "24 x 24 (10)" in out and "0 in 8 cases, 255 in 8 cases" in out
    assert "names look like several images of one patient" in err
    assert (here / "mine/semibench_look.png").read_bytes().startswith(b"\x89PNG")
    declaration = read_declaration(here / "mine")
    assert declaration.name == "mine" and declaration.classes == {0: "background", 1: "foreground", 255: "foreground"}
    suggested = err.partition("groups: '")[2].partition("'")[0]
    text = (here / "mine/semibench.yaml").read_text()
    assert f"# groups: {json.dumps(suggested)}" in text
    (here / "mine/semibench.yaml").write_text(text.replace("# groups:", "groups:"))
    dataset = find_dataset(registry(), "./mine").resolve()
    assert {case.group for case in dataset.found.cases} == {"anna0", "anna1", "anna2", "anna3", "u1", "u2"}
    again = bench("data", "new", "./mine")
    assert again.exit_code == 2 and "--force" in again.stderr
    assert bench("data", "new", "./mine", "--force", "--name", "clinic", "--json").exit_code == 0
    assert read_declaration(here / "mine").name == "clinic"


WARNINGS: dict[str, tuple[dict[str, Any], str]] = {
    "few labels": ({"bare": [f"u{n}" for n in range(30)]}, "only 12 of 42 images have a label"),
    "few groups": ({"names": ["a", "b"]}, "only 2 groups have a label"),
    "empty labels": ({"white": 0}, "no label holds the class foreground"),
}


@pytest.mark.parametrize("what", WARNINGS)
def test_data_new_warns_of_suspicious_folders(here: Path, what: str) -> None:
    fields, expected = WARNINGS[what]
    picture_folders(here / "mine", fields.pop("names", NAMES), **fields)
    answer = bench("data", "new", "./mine")
    assert answer.exit_code == 0 and expected in in_one_line(answer.stderr)


def test_data_new_warns_of_what_a_declaration_does(here: Path) -> None:
    folder = decathlon(here / "mine", 6)
    declare(folder, classes={0: "background", 1: "all", 2: "all"}, groups="(case)")
    warned = warnings_of("./mine")
    assert "all cases are in one group (case)" in warned and "the label values 1 and 2 are one class, all" in warned
    shutil.copy(folder / "labelsTr/case03.nii.gz", folder / "imagesTr/case03.nii.gz")
    assert "the label has the same bytes as its image" in warnings_of("./mine")


def warnings_of(folder: str) -> str:
    """What is suspicious about a folder whose declaration is there."""
    from semibench.data.declared.declaration import read_declaration
    from semibench.data.declared.look import look_at
    from semibench.data.declared.survey import survey

    item = find_dataset(registry(), folder)
    home = Path(folder)
    cls = item.resolve()
    look = look_at(home, read_declaration(home), read_labels=True)
    return " | ".join(survey(cls(home, cls.Options()), look).warnings)


def test_data_commands_work_on_a_folder(here: Path) -> None:
    picture_folders(here / "mine", NAMES)
    shutil.copy(here / "mine/images/p00.png", here / "mine/images/p01.png")
    assert "(from its declaration)" in bench("data", "where", "./mine").stdout
    assert bench("data", "verify", "./mine").exit_code == 0
    audited = bench("data", "audit", "./mine", "--write")
    assert audited.exit_code == 0 and "1 identical" in audited.stdout
    groups = {case.id: case.group for case in _index(here / "mine")}
    assert groups["p00"] == groups["p01"] == "p00" and groups["p02"] == "p02"


def _index(folder: Path) -> Any:
    cls = find_dataset(registry(), str(folder)).resolve()
    return cls(folder, cls.Options()).index()
