"""Cells and their files: products, numbers, line numbers of errors, the command that does the same by hand, states of a plan."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from semibench import UsageError
from semibench.discovery.registry import registry
from semibench.documents import parse_document
from semibench.files import read_json, write_json
from semibench.matrix.cells import Group, MatrixFile, as_groups, numbers, without_needless_controls
from semibench.matrix.planning import JOURNAL, plan_cells, to_run
from semibench.run.execute import execute
from semibench.run.prepare import prepare
from semibench.run.request import Cell
from semibench.runfolder.format import write_spec

YAML = """\
title: two groups
cells:
  - protocols: self
    datasets: [tus, busi]
    methods: [supervised, cps]
    seeds: 0-2
    set: {labeled: 0.25, term.consistency: [0.1, 2], dataset.edition: default}
  - protocols: ssmis
    datasets: la
    draws: [0, 1]
    folds: "0,2"
    phantom: always
"""


def test_a_file_is_the_sum_of_its_products() -> None:
    cells = parse_document(YAML, MatrixFile, "x.yaml").expand()
    assert len(cells) == 2 * 2 * 3 + 2 * 2
    assert cells[0] == Cell(
        protocol="self", dataset="tus", method="supervised", seed=0,
        settings=("labeled=0.25", "term.consistency=[0.1, 2]", "dataset.edition=default"),
    )  # fmt: skip
    assert [cell.seed for cell in cells[:3]] == [0, 1, 2]
    assert {(cell.draw, cell.fold, cell.method) for cell in cells[12:]} == {
        (d, f, None) for d in (0, 1) for f in (0, 2)
    }
    twice = YAML.replace("- protocols: ssmis", "- protocols: self").replace("datasets: la", "datasets: tus")
    assert len(parse_document(twice, MatrixFile, "x.yaml").expand()) == 16  # cells that differ are all kept


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "methods:",
            "method:",
            r"x\.yaml:5: unknown key 'method'; did you mean 'methods'\? Known: protocols, datasets, methods",
        ),
        ("seeds: 0-2", "seeds: 2-0", r"x\.yaml:6: cells\.0\.seeds: .*0-2 or 0,3,5.*'2-0'"),
        ("    draws: [0, 1]\n", "", ""),
        ("datasets: la", "dataset: la", r"x\.yaml:9: unknown key 'dataset'"),
        ("    folds:", "    draws:", r"x\.yaml:11: the key 'draws' is given twice"),
        ("title: two groups", "title: [", r"x\.yaml:\d+: not valid YAML"),
        ("title: two groups", "titel: two groups", r"x\.yaml:1: unknown key 'titel'; did you mean 'title'\?"),
    ],
)
def test_errors_name_file_and_line(old: str, new: str, message: str) -> None:
    text = YAML.replace(old, new, 1)
    if not message:
        assert len(parse_document(text, MatrixFile, "x.yaml").expand()) == 14
        return
    with pytest.raises(UsageError, match=message):
        parse_document(text, MatrixFile, "x.yaml")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"x\.yaml:1: expected keys and values"):
        parse_document(text, MatrixFile, "x.yaml")


def test_numbers() -> None:
    assert numbers("0-2") == [0, 1, 2]
    assert numbers("0,3,5-6,3") == [0, 3, 5, 6]
    assert numbers(4) == [4] and numbers([1, "2-3"]) == [1, 2, 3] and numbers(None) == [None]
    for wrong in ("a", "3-1", "-1", 1.5):
        with pytest.raises(ValueError, match="expected numbers"):
            numbers(wrong)


def test_a_label_tells_cells_of_one_file_apart() -> None:
    plain = Cell(protocol="ssmis", dataset="la", method="diff-cl", seed=1)
    assert plain.label == "ssmis/la/diff-cl seed 1"
    other = plain.model_copy(update={"recipe": "smoke", "preset": "la-8", "fold": 2, "settings": ("labeled=0.1",)})
    assert other.label == "ssmis/la/diff-cl fold 2 seed 1 recipe=smoke preset=la-8 labeled=0.1"


def test_the_command_by_hand_is_the_same_request(monkeypatch: pytest.MonkeyPatch) -> None:
    import semibench.cli.run_command as module
    from semibench.cli.app import build

    seen: list[Any] = []
    monkeypatch.setattr(module, "_one", lambda request, *_, **__: seen.append(request))
    cell = Cell(
        protocol="self", dataset="tus", method="cps", backbone="unet", recipe="smoke", dims=2, fold=1, draw=2, seed=3,
        phantom="always",
        settings=("labeled=0.25", "recipe.patch=[32, 32]"), conventions=("semibench-1",),
    )  # fmt: skip
    words = shlex.split(cell.to_command())
    build()(args=words[1:], standalone_mode=False)
    wanted_request = cell.request(resume=True)
    assert seen == [wanted_request]


FEW: dict[str, Any] = {
    "set": {"phantom.cases": 80, "iterations": 2, "patch": [32, 32]},
    "recipes": "smoke",
    "phantom": "always",
}


@pytest.mark.slow
def test_states_of_a_plan(tmp_path: Path) -> None:
    group = Group.model_validate(
        {"protocols": "self", "datasets": "tus", "methods": "supervised", "seeds": "0-6", **FEW}
    )
    cells = group.cells()
    runs = tmp_path / "runs"
    planned = plan_cells(cells, runs)
    assert {item.state for item in planned} == {"missing"}
    execution: dict[str, Any] = {"runs": runs, "track": False, "threads": 1, "keep_predictions": False}
    execute(prepare(cells[0].request(**execution), estimate=False))
    execute(prepare(cells[1].request(**execution), estimate=False))

    provenance = planned[1].folder / "provenance.json"  # type: ignore[operator]
    record = read_json(provenance)
    for plugin in record["plugins"].values():
        plugin["source"] = "0" * 64
    write_json(provenance, record)
    write_json(runs / JOURNAL / planned[2].short / "outcome.json", {"ending": "timeout", "reason": "passed 3 s"})
    for number, status in ((3, {"state": "failed", "error": "it broke"}), (4, {"state": "running", "process": 1})):
        folder = planned[number].folder
        assert folder is not None
        plan = prepare(cells[number].request(**execution), estimate=False)
        write_spec(folder, plan.spec)
        plan.record.to_disk(folder)
        write_json(folder / "status.json", status)
    write_json(runs / JOURNAL / planned[5].short / "outcome.json", {"ending": "interrupted", "reason": "stopped"})

    found = plan_cells([*cells, cells[0].model_copy(update={"dataset": "nodata", "phantom": "never"})][:7], runs)
    assert [item.state for item in found] == [
        "done",
        "stale",
        "failed",
        "failed",
        "interrupted",
        "interrupted",
        "missing",
    ]
    assert found[1].reason and "it broke" in found[3].reason and "passed 3 s" in found[2].reason
    assert found[0].seconds is not None and found[0].seconds > 0  # measured by the runs above
    assert [item.state for item in to_run(found)] == ["stale", "interrupted", "interrupted", "missing"]
    assert [item.state for item in to_run(found, retry=True)].count("failed") == 2
    assert len(to_run(found, force=True)) == 7


def test_what_cannot_be_done_is_skipped_and_one_run_is_planned_once(tmp_path: Path) -> None:
    base = {
        "protocols": "umda",
        "datasets": "mmwhs",
        "methods": ["adaoutput", "saml"],
        "phantom": "always",
        "recipes": "smoke",
    }
    planned = plan_cells(Group.model_validate(base).cells(), tmp_path)
    assert [item.state for item in planned] == ["missing", "skipped"]
    assert "supports the protocols semi-mdg" in planned[1].reason
    official = Group.model_validate(
        {"protocols": "umda", "datasets": "mmwhs", "methods": "adaoutput", "draws": "0-1", **FEW, "set": {}}
    )
    both = plan_cells(official.cells(), tmp_path)
    assert len(both) + sum(len(item.duplicates) for item in both) == 2
    with pytest.raises(UsageError, match=r"self/tus/cpss seed 0.*'cpss'"):
        plan_cells([Cell(protocol="self", dataset="tus", method="cpss")], tmp_path)


def test_controls_of_a_group() -> None:
    def cells(control: object) -> list[Cell]:
        return Group(
            protocols="self", datasets="tus", methods=["supervised", "cps"], seeds="0-1", control=control
        ).cells()

    plain, only, both = cells(False), cells(True), cells("both")
    assert [cell.control for cell in plain] == [False] * 4 and [cell.control for cell in only] == [True] * 4
    assert both == plain + only
    left = without_needless_controls(both, registry())
    assert left == plain + only[2:], "supervised training has no control"
    assert without_needless_controls(only, registry()) == only, (
        "asked for alone, it is planned and skipped with the reason"
    )
    groups = MatrixFile(cells=as_groups(left)).expand()
    assert sorted(map(str, groups)) == sorted(map(str, left))
    with pytest.raises(UsageError, match="control"):
        parse_document(YAML.replace("seeds: 0-2", "seeds: 0-2\n    control: twice"), MatrixFile, "x.yaml")


def test_a_product_without_end_and_an_empty_list_are_refused() -> None:
    axes = {"protocols": "self", "datasets": "tus", "seeds": "0-999", "draws": "0-999"}
    with pytest.raises(ValidationError, match="expected at most 100000 cells, found a product of 1000000"):
        Group(**axes)
    assert len(Group(**{**axes, "draws": "0-9"}).cells()) == 10_000
    with pytest.raises(ValidationError, match="at least 1 item"):
        MatrixFile(cells=())
