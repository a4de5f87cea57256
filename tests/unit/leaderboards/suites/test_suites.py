"""Suites: every published value has its place, every suite expands, errors name their line, runs are found and set beside."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.command_line import bench
from support.places import DOCS

from semibench.contracts.errors import SemibenchError, UnknownNameError, UsageError
from semibench.contracts.identity import RunSpec
from semibench.discovery.registry import registry
from semibench.protocols.single import published
from semibench.run.request import merge_settings
from semibench.runfolder.records import ModelFigures, ScoreSummary
from semibench_leaderboards.published import ValueSearch, find, papers, values
from semibench_leaderboards.published.values import by_id
from semibench_leaderboards.suites import Overrides, expand, load, names
from semibench_leaderboards.suites.coverage import coverage
from semibench_leaderboards.suites.expansion import SuiteCell, check_chosen
from semibench_leaderboards.suites.for_matrix import as_matrix_file, cells_of
from semibench_leaderboards.suites.layout import records, status_table, value_text
from semibench_leaderboards.suites.matching import SpecResolver, fingerprint
from semibench_leaderboards.suites.status import status

OWN = """name: mine
grids:
  - name: a
    protocol: [self, ssmis]
    dataset: [busi, tus]
    methods: [cps, mean-teacher]
    seeds: [0, 1, 2]
    set: [labeled=0.5]
"""


def test_there_is_a_suite_for_every_table() -> None:
    wanted = [f"{paper.name}-{number.lower()}" for paper in papers().values() for number in paper.tables]
    assert list(names()) == wanted and len(wanted) == 31


def test_every_published_value_is_filled_once_or_excused() -> None:
    seen: Counter[str] = Counter()
    excused: dict[str, str] = {}
    for name in names():
        found = coverage(load(name))
        assert not found.open, f"{name}: nothing fills {found.open[:3]}"
        assert not found.repeated, f"{name}: filled twice: {found.repeated}"
        seen.update(list(found.owners))
        excused |= found.reasons
    assert seen == Counter(value.id for value in values())
    assert len(excused) < 60 and all(len(reason) > 20 for reason in excused.values())


@pytest.mark.slow
def test_every_method_of_every_table_is_a_row() -> None:
    for name in names():
        suite = load(name)
        assert suite.published is not None
        cells = expand(suite)
        filled = {value for cell in cells for value in cell.fills} | set(coverage(suite).reasons)
        printed = find(ValueSearch(paper=suite.published.paper, table=suite.published.table))
        assert {value.method for value in printed} == {by_id()[key].method for key in filled}


def test_a_suite_says_where_its_paper_selected() -> None:
    for name in names():
        suite = load(name)
        paper = papers()[suite.published.paper] if suite.published else None
        if suite.selection is not None and paper is not None:
            assert suite.selection.by == paper.selection and len(suite.selection.note) > 10


def test_adaptation_has_both_directions_and_both_references() -> None:
    cells = [cell for cell in expand(load("dtlp-vii")) if cell.row in ("v-net", "source-only") and cell.seed == 0]
    asked = {(cell.row, frozenset(cell.settings)) for cell in cells}
    ways = [frozenset({f"source={a}", f"target={b}", f"split={a}2{b}"}) for a, b in (("mr", "ct"), ("ct", "mr"))]
    assert asked == {("source-only", way) for way in ways} | {("v-net", way | {"labels=target"}) for way in ways}
    assert all(cell.method == "supervised" for cell in cells)
    groups = {by_id()[value].setting for cell in cells for value in cell.fills if cell.row == "v-net"}
    assert groups == {"supervised-full"} and not coverage(load("dtlp-vii")).open


def test_generalisation_leaves_each_domain_out_at_both_amounts_of_labels() -> None:
    """Every row: A, B, C and D unseen, 2 % and 5 % labeled; on the phantom, too."""
    suite = load("dtlp-viii")
    of_row: dict[str, set[tuple[str, ...]]] = {}
    for cell in expand(suite):
        drawn = tuple(setting for setting in cell.settings if setting.startswith(("target=", "split=")))
        of_row.setdefault(cell.row, set()).add(drawn)
    wanted = {(f"target={name}", f"split=to-{name}-{percent}pct") for name in "ABCD" for percent in (2, 5)}
    assert set(of_row) == set(suite.methods)
    assert all(found == wanted for found in of_row.values())
    stand_in = {(cell.grid, cell.part) for cell in expand(suite, Overrides(phantom=True, methods=("saml",)))}
    assert len(stand_in) == 8


def test_replicates_and_parts_become_cells() -> None:
    cells = expand(load("mgcc-i"))
    assert len(cells) == 9 * 2 * 3
    mine = [cell for cell in cells if cell.grid == "busi" and cell.row == "mgcc"]
    assert [cell.settings for cell in mine] == [("source=mgcc-41",), ("source=mgcc-64",), ("source=mgcc-1337",)]
    assert all(len(cell.fills) == 4 for cell in mine)
    assert {(cell.draw, cell.seed) for cell in cells if cell.grid == "tus" and cell.row == "cps"} == {
        (0, 0),
        (1, 0),
        (2, 0),
    }
    domains = [cell for cell in expand(load("dtlp-viii")) if cell.row == "dtlp-net" and cell.grid == "labeled-2pct"]
    assert Counter(cell.part for cell in domains) == {f"domain-{name}": 3 for name in "abcd"}
    groups = {by_id()[value].group for cell in domains if cell.part == "domain-b" for value in cell.fills}
    assert groups == {"domain-b", "mean"}
    folds = [cell for cell in expand(load("csc-pa-1")) if cell.grid == "busi-1-2" and cell.row == "csc-pa"]
    assert [cell.fold for cell in folds] == [0, 1, 2, 3, 4] and len({cell.settings for cell in folds}) == 1
    assert len({cell.name for cell in domains}) == len(domains)


@pytest.fixture
def of_another_package(tmp_path: Path) -> Path:
    """A suite with a method that isn't installed."""
    path = tmp_path / "theirs.yaml"
    path.write_text(
        "{name: theirs, title: T, methods: {cps: {}, of-another-package: {}}, grids: [{name: g, protocol: self, dataset: tus}]}",
        encoding="utf-8",
    )
    return path


def test_methods_that_are_not_installed_are_kept_and_named(of_another_package: Path) -> None:
    cells = {cell.row: cell for cell in expand(load(of_another_package))}
    assert cells["of-another-package"].missing == ("method 'of-another-package'",)
    assert {row: cell.runnable for row, cell in cells.items()} == {"cps": True, "of-another-package": False}
    lacking = [cell for cell in expand(load("csc-pa-3")) if cell.lacking]
    assert lacking and not any(cell.runnable for cell in lacking)


def test_overrides() -> None:
    suite = load("csc-pa-1")
    cells = expand(
        suite, Overrides(recipe="quick", phantom=True, folds=(0,), methods=("supervised",), datasets=("busi",))
    )
    assert len(cells) == 6, "three label budgets, on two networks"
    for cell in cells:
        assert cell.recipe == "quick" and cell.phantom and cell.fold == 0
        assert not any(text.startswith("recipe.") for text in cell.settings) and "source=drawn" in cell.settings
    assert merge_settings(("a=1", "b=2"), ("a=3",)) == ("a=3", "b=2")
    with pytest.raises(UnknownNameError, match="Did you mean 'supervised'"):
        check_chosen(suite, Overrides(methods=("supervisd",)))
    with pytest.raises(UnknownNameError, match="busi, udiat"):
        check_chosen(suite, Overrides(datasets=("la",)))


def test_a_cell_is_a_request_and_a_command() -> None:
    cell = next(cell for cell in expand(load("mgcc-iv")) if cell.grid == "busi" and cell.row == "ua-mt")
    request = cell.request(runs=Path("elsewhere"))
    assert (request.protocol, request.method, request.preset, request.phantom) == (
        "synthetic",
        "ua-mt",
        "mgcc-2023",
        "never",
    )
    words = cell.to_command().split()
    assert words[:8] == ["bench", "run", "-p", "synthetic", "-d", "busi", "-m", "ua-mt"] and "labels=all" in words


@pytest.mark.slow
@pytest.mark.parametrize("phantom", [False, True])
def test_every_row_resolves(phantom: bool) -> None:
    """All names, options, terms and presets of the rows whose plug-ins are here are right."""
    asked, plugins = SpecResolver(), registry()
    problems = []
    for name in names():
        seen = set()
        for cell in expand(load(name), Overrides(phantom=phantom), plugins):
            if cell.runnable and (cell.dataset, cell.row) not in seen:
                seen.add((cell.dataset, cell.row))
                try:
                    asked.spec(cell)
                except SemibenchError as error:
                    problems.append(f"{cell.name}: {error}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("seeds: [0, 1, 2]", "seed: [0, 1, 2]"), ":7: unknown key 'seed'; did you mean 'seeds'?"),
        (("name: mine", "nam: mine"), ":1: unknown key 'nam'"),
        (("protocol: [self, ssmis]", "methods: [cps]"), "given twice"),
        (("seeds: [0, 1, 2]", "seeds: [a]"), ":7: grids.0.seeds.0"),
        (("methods: [cps, mean-teacher]", "without: [cps]"), "takes all methods, but `methods` lists none"),
        (
            ("grids:\n", "methods: {cps: {backbon: unet}}\ngrids:\n"),
            ":2: unknown key 'backbon'; did you mean 'backbone'?",
        ),
        (("grids:\n", "methods: {dct: }\ngrids:\n"), "which `methods` doesn't list: dct"),
        (("    set: [labeled=0.5]\n", "    set: [labeled=0.5\n"), ":"),
        (("    set", "    phantom: {sets: []}\n    set"), ":8: unknown key 'sets'; did you mean 'set'?"),
    ],
)
def test_a_wrong_key_names_file_and_line(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(OWN.replace(*change, 1))
    with pytest.raises(UsageError) as caught:
        load(file)
    assert f"{file}:" in str(caught.value) and told in str(caught.value)


def test_a_suite_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(OWN)
    cells = expand(load(str(file)))
    assert len(cells) == 2 * 2 * 2 * 3 and all(cell.recipe == "quick" and not cell.fills for cell in cells)
    with pytest.raises(UnknownNameError, match="Did you mean 'mgcc-"):
        load("mgcc-x")
    with pytest.raises(UsageError, match="the file does not exist"):
        load(tmp_path / "none.yaml")
    assert load("MGCC-I").name == "mgcc-i"


@pytest.mark.slow
def test_the_matrix_takes_suites(tmp_path: Path) -> None:
    from semibench.documents import parse_document
    from semibench.matrix.cells import MatrixFile

    stand_in = {"phantom": True, "recipe": "smoke"}
    for name, changes in (("mgcc-i", {}), ("dtlp-viii", stand_in), ("csc-pa-1", {})):
        cells = expand(load(name), Overrides(**changes))  # type: ignore[arg-type]
        file = parse_document(as_matrix_file(load(name), cells), MatrixFile, "made.yaml")
        runnable = [cell for cell in cells if cell.runnable]
        mine = {_plain(cell) for cell in runnable}
        assert {_plain(cell) for cell in file.expand()} == mine
        assert {_plain(cell) for cell in cells_of(name, **changes)} == mine
        assert len(file.expand()) == len(mine) <= len(runnable)
    done = bench("matrix", "mgcc-v", "--phantom", "--recipes", "smoke", "--plan", "--json", "--runs", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)) == 6


def _plain(cell: Any) -> tuple[Any, ...]:
    from semibench.run.settings import parse

    who = (cell.protocol, cell.dataset, cell.method, cell.backbone, cell.recipe, cell.preset, cell.dims)
    return (*who, cell.draw, cell.fold, cell.seed, json.dumps(parse(cell.settings), sort_keys=True))


# ---- runs beside values ------------------------------------------------------------------------------------------------
def run_for(cell: SuiteCell, spec: RunSpec, mean: float, **more: Any) -> Any:
    """A finished run as `read_runs` gives it, with one number for every metric of MGCC."""
    scores = [
        ScoreSummary(checkpoint=checkpoint, predictor="main", convention="mgcc-2023", metric=metric, mean=mean)
        for checkpoint in ("last", "best")
        for metric in ("iou", "f1", "recall")
    ]
    given = {
        "spec": spec, "state": "done", "stale": False, "counts": True, "scores": scores, "device": "cpu", "ended": "2026",
        "started": "2026", "key": spec.key, "model": ModelFigures(inference_parameters=34_527_041, gflops=131.0),
    }  # fmt: skip
    return SimpleNamespace(**(given | more))


@pytest.fixture(scope="module")
def asked() -> SpecResolver:
    return SpecResolver()


def test_status_sets_runs_beside(asked: SpecResolver) -> None:
    suite = load("mgcc-i")
    cells = expand(suite, Overrides(datasets=("busi",), methods=("mgcc", "cps")))
    mine = [cell for cell in cells if cell.row == "mgcc"]
    runs = [run_for(cell, asked.spec(cell), mean) for cell, mean in zip(mine, (0.60, 0.66, 0.69), strict=True)]
    found = status(suite, cells, runs)
    entries = {entry.value.id: entry for entry in found.entries}
    iou = entries["mgcc/I/busi/self/263-263/mgcc/mean/iou"]
    assert iou.reproduced == pytest.approx(65.0) and iou.std == pytest.approx(4.5825757)  # of 60, 66, 69
    assert iou.difference == pytest.approx(65.0 - 68.06) and iou.complete
    assert value_text(iou) == "68.06 ✗ | 65.00 ± 4.58 | -3.06"
    precision = entries["mgcc/I/busi/self/263-263/mgcc/mean/precision"]
    assert precision.reproduced is None and precision.reason == "the runs have no precision of mgcc-2023"
    other = entries["mgcc/I/busi/self/263-263/cps/mean/iou"]
    assert (other.reason, other.n, other.wanted) == ("not run", 0, 3)
    assert len(found.missing) == 3 and any("selected on test" in told for told in found.warnings)
    two = status(suite, cells, runs[:2])
    assert (
        value_text(next(e for e in two.entries if e.value.id == iou.value.id)) == "68.06 ✗ | 63.00 ± 4.24 (2/3) | -5.06"
    )
    assert not any("different bytes" in told for told in found.warnings)
    other_bytes = runs[0].spec.model_copy(update={"track": runs[0].spec.track.model_copy(update={"data": "other"})})
    mixed = status(suite, cells, [run_for(mine[0], other_bytes, 0.6), *runs[1:]])
    assert "busi/mgcc: its runs were made on different bytes of the data" in mixed.warnings
    rows = status_table(found).rows
    assert len(rows) == 2 and rows[1][-1] == "3/3 [2]"
    told = records(found)
    assert len(told["missing"]) == 3 and told["rows"][1]["states"] == {"done": 3}


def test_runs_of_another_recipe_or_on_a_phantom_do_not_count(asked: SpecResolver) -> None:
    suite = load("mgcc-i")
    choice = {"datasets": ("busi",), "methods": ("mgcc",)}
    cells = expand(suite, Overrides(**choice))  # type: ignore[arg-type]
    quick = expand(suite, Overrides(recipe="quick", **choice))  # type: ignore[arg-type]
    phantom = expand(suite, Overrides(phantom=True, **choice))  # type: ignore[arg-type]
    runs = [run_for(cell, asked.spec(cell), 0.5) for cell in (*quick, *phantom)]
    assert all(entry.reproduced is None for entry in status(suite, cells, runs).entries)
    shown = status(suite, phantom, runs)
    assert shown.phantom and "PHANTOM" in shown.warnings[0]
    assert sum(entry.reproduced is not None for entry in shown.entries) == 3
    stale = [run_for(cells[0], asked.spec(cells[0]), 0.5, stale=True, counts=False)]
    found = status(suite, cells, stale)
    assert found.rows[0].states == {"stale": 1, "missing": 2} and len(found.missing) == 3


def test_an_average_over_domains_needs_all_of_them(asked: SpecResolver) -> None:
    suite = load("dtlp-viii")
    cells = expand(suite, Overrides(methods=("bcp",), seeds=(0,)))
    mine = [cell for cell in cells if cell.grid == "labeled-2pct"]
    scores = [
        [ScoreSummary(checkpoint="last", predictor="main", convention="semibench-1", metric="dice", mean=dice)]
        for dice in (0.5, 0.6, 0.7, 0.9)
    ]
    runs = [run_for(cell, asked.spec(cell), 0, scores=given) for cell, given in zip(mine, scores, strict=True)]
    whole = {e.value.id: e for e in status(suite, cells, runs).entries}
    assert whole["dtlp/VIII/mnms/labeled-2pct/_-_/bcp/mean/dice"].reproduced == pytest.approx(67.5)
    assert whole["dtlp/VIII/mnms/labeled-2pct/_-_/bcp/domain-c/dice"].reproduced == pytest.approx(70.0)
    part = {e.value.id: e for e in status(suite, cells, runs[:3]).entries}
    assert part["dtlp/VIII/mnms/labeled-2pct/_-_/bcp/mean/dice"].reason == "runs of 3 of 4 domains"


def test_figures_outside_the_scores(asked: SpecResolver) -> None:
    suite = load("mgcc-vii")
    cells = expand(suite, Overrides(methods=("u-net",)))
    found = status(suite, cells, [run_for(cells[0], asked.spec(cells[0]), 0.5)])
    numbers = {entry.value.metric: entry for entry in found.entries if entry.value.method == "u-net"}
    assert value_text(numbers["params"]) == "34.53 | 34.53 | -0.00"
    assert numbers["gflops"].reproduced == 65.5 and "RTX 4090" in numbers["inference_time"].reason


def test_a_run_on_files_is_found_without_them(asked: SpecResolver, tmp_path: Path) -> None:
    """The spec of a real request and that of the cell (resolved on the phantom) agree but for the bytes of the data."""
    import numpy as np
    from PIL import Image

    from semibench.run.resolve import resolve

    for kind in ("benign", "malignant", "normal"):
        folder = tmp_path / "busi" / "Dataset_BUSI_with_GT" / kind
        folder.mkdir(parents=True)
        for number in range(1, 4):
            picture = Image.fromarray(np.full((32, 32), 40 * number, dtype=np.uint8))
            picture.save(folder / f"{kind} ({number}).png")
            picture.point(lambda level: 255 if level > 50 else 0).save(folder / f"{kind} ({number})_mask.png")
    cell = next(cell for cell in expand(load("mgcc-i")) if cell.grid == "busi" and cell.row == "cps")
    spec = resolve(cell.request(data_root=tmp_path)).spec
    assert spec.track.dataset.options["phantom"] is None
    assert fingerprint(spec) == fingerprint(asked.spec(cell)) and spec.key != asked.spec(cell).key


def test_all_labels_of_a_published_split() -> None:
    from semibench.contracts.cases import CaseRef, Split

    refs = [CaseRef("toy", str(number), str(number), "default", number != 2) for number in range(5)]
    split = Split((refs[0],), (refs[1], refs[2]), (refs[3],), (refs[4],), "official")
    catalog: Any = SimpleNamespace(splits=lambda: {"toy-1": split}, card=SimpleNamespace(name="toy"))
    whole = published(catalog, "toy-1+all")
    assert whole.labeled == (refs[0], refs[1]) and whole.unlabeled == ()
    assert (whole.validation, whole.test) == (split.validation, split.test)
    with pytest.raises(UsageError, match="no published split 'toy-2'"):
        published(catalog, "toy-2+all")


@pytest.mark.slow
def test_the_command(tmp_path: Path, of_another_package: Path) -> None:

    def run(*words: str) -> str:
        done = bench("suite", *words, width=200)
        assert done.exit_code == 0, done.output
        return done.stdout

    listed = json.loads(run("list", "--json"))
    assert len(listed) == 31 and sum(row["values"] for row in listed) == 1803
    assert "SELECTED ON TEST" in run("show", "semsim-i")
    assert "not in the harness: method 'of-another-package'" in run("show", str(of_another_package))
    assert run("show", "mgcc-vii", "--commands").startswith("bench run -p self -d busi -m supervised")
    assert len(json.loads(run("show", "mgcc-v", "--json"))) == 12
    empty = run("status", "csc-pa-3", "--runs", str(tmp_path / "none"))
    assert "no files found for udiat" in empty and "not run" in empty and "runs: 0 of 20 done, 5 missing" in empty
    assert len(run("status", "mgcc-vii", "--missing", "--runs", str(tmp_path)).splitlines()) == 3
    assert "✗" in run("status", "mgcc-v", "--format", "markdown", "--runs", str(tmp_path))
    assert "PHANTOM" in run("status", "mgcc-vii", "--phantom", "-r", "smoke", "--runs", str(tmp_path))
    assert json.loads(run("status", "mgcc-vii", "--format", "json", "--runs", str(tmp_path)))["suite"] == "mgcc-vii"
    file = tmp_path / "file.yaml"
    run("export", "mgcc-vi", str(file), "--phantom", "-r", "smoke")
    assert "phantom: always" in file.read_text()
    mine = tmp_path / "mine.yaml"
    mine.write_text(OWN)
    assert "12 missing" in run("status", str(mine), "--runs", str(tmp_path))
    wrong = bench("suite", "status", "mgcc-ix", width=200)
    assert wrong.exit_code == 2 and "Did you mean" in wrong.stderr


def test_the_examples_of_the_pages_work(tmp_path: Path) -> None:
    import re

    docs = DOCS
    (example,) = re.findall(r"^```yaml\n(.*?)^```", (docs / "suites.md").read_text(encoding="utf-8"), re.M | re.S)
    file = tmp_path / "my.yaml"
    file.write_text(example)
    cells = expand(load(file))
    assert len(cells) == 12 and {cell.method for cell in cells} == {"cps", "mean-teacher"}
    SpecResolver().spec(next(cell for cell in cells if cell.row == "mt-slow"))
    for page, known in (("suites.md", {}), ("published.md", {"scores": []})):
        (code,) = re.findall(r"^```python\n(.*?)^```", (docs / page).read_text(encoding="utf-8"), re.M | re.S)
        exec(compile(code, page, "exec"), {"Path": Path, **known})


@pytest.mark.slow
def test_controls_of_a_suite(tmp_path: Path) -> None:
    """A suite, or a grid of it, asks for the controls too; they fill no published value and are rows of their own."""
    file = tmp_path / "mine.yaml"
    file.write_text(OWN.replace("methods: [cps, mean-teacher]", "methods: [cps, supervised]\n    control: both"))
    cells = expand(load(str(file)))
    rows = Counter((cell.row, cell.control) for cell in cells)
    assert rows == {("cps", False): 12, ("cps (control)", True): 12, ("supervised", False): 12}
    assert not any(cell.fills for cell in cells if cell.control)
    assert "control: true" in as_matrix_file(load(str(file)), cells)
    file.write_text(OWN.replace("grids:", "control: true\ngrids:"))
    assert all(cell.control and "--control" in cell.to_command() for cell in expand(load(str(file))))
    assert not any(cell.control for name in names() for cell in expand(load(name)))
