"""The page as files: what is in it, what is escaped, where it may be written, and the line that makes a run again."""

from __future__ import annotations

import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import bench
from support.leaderboard_toys import spec_of, three_seeds, write_run
from support.site_toys import EVIL, WORSE, phantom_runs

from semibench.cli import build as build_cli
from semibench.contracts.errors import UsageError
from semibench.contracts.identity import RunSpec
from semibench.run.request import Request
from semibench.run.resolve import resolve
from semibench_leaderboards.ranking.boards import boards
from semibench_leaderboards.ranking.ranks import rank
from semibench_leaderboards.ranking.score_request import ScoreRequest
from semibench_leaderboards.reading.records import read_runs
from semibench_leaderboards.showing.case_pictures import on_working, stored_prediction
from semibench_leaderboards.site import render, write
from semibench_leaderboards.site.command_line import cell_of
from semibench_leaderboards.site.content import Ranked
from semibench_leaderboards.site.gallery import chosen_cases, colours, gallery, lengths
from semibench_leaderboards.site.pages import distinctions, embedded
from semibench_leaderboards.site.published_values import published_of
from semibench_leaderboards.site.writing import MARKER, write_files

BASE = np.linspace(0.3, 0.7, 12)


def ranked(runs: Path, view: ScoreRequest | None = None) -> list[Ranked]:
    return [(board, rank(board)) for board in boards(read_runs(runs), view)]


class Elements(HTMLParser):
    """Elements of a page with their attributes, and the text of each <script>."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "script" and self.scripts:
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows with names that try to be markup, and a failed run with such an error."""
    runs = tmp_path_factory.mktemp("evil") / "runs"
    three_seeds(runs, EVIL, [BASE + 0.1, BASE + 0.11, BASE + 0.12])
    three_seeds(runs, WORSE, [BASE, BASE + 0.01, BASE - 0.01])
    write_run(runs, state="failed", error=f"DivergedError: {WORSE}", spec=spec_of(EVIL, seed=3))
    return runs


# ---- what is in the page -------------------------------------------------------------------------------------------


def test_names_are_text_everywhere(evil: Path) -> None:
    pages = render(ranked(evil))
    for name, text in pages.items():
        page = Elements(text)
        assert not [attributes for tag, attributes in page.found if tag == "img" and attributes.get("src") == "x"], name
        kinds = [attributes.get("type") for tag, attributes in page.found if tag == "script"]
        assert kinds == ([None, None] if name == "index.html" else [None, "application/json", None])
        assert not [key for tag, attributes in page.found for key in attributes if key.startswith("on")]
    board = next(text for name, text in pages.items() if name != "index.html")
    data = json.loads(Elements(board).scripts[1])
    assert {row["name"] for row in data["rows"]} == {EVIL, WORSE}
    assert data["rows"][0]["runs"][3]["error"] == f"DivergedError: {WORSE}"
    assert f"-m '{EVIL}'" in data["rows"][0]["command"]


def test_embedded_json_can_not_end_its_element() -> None:
    text = str(embedded({"a": "</script><!--<script>& \u2028"}))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--<script>& \u2028"}


def test_nothing_is_loaded_from_elsewhere(evil: Path) -> None:
    for text in render(ranked(evil)).values():
        loads = [
            a.get("src") or a.get("href")
            for tag, a in Elements(text).found
            if tag in ("link", "img", "script", "iframe", "object")
        ]
        assert [item for item in loads if item and not item.startswith("data:")] == []
        assert "default-src 'none'" in text
        assert not re.search(
            r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|innerHTML|insertAdjacentHTML|document\.write|\beval\(",
            text,
        )


@pytest.mark.slow
def test_same_runs_same_bytes(evil: Path) -> None:
    assert render(ranked(evil)) == render(ranked(evil))


def test_the_data_of_a_board(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    three_seeds(runs, "best", [BASE + 0.2 + 0.002 * np.arange(12)] * 3)
    three_seeds(runs, "middle", [BASE + 0.1 - 0.003 * np.arange(12)] * 3)
    three_seeds(runs, "last", [BASE] * 3)
    three_seeds(runs, "few", [BASE + 0.3])
    ((board, ranking),) = ranked(runs)
    (text,) = [text for name, text in render([(board, ranking)]).items() if name != "index.html"]
    data = json.loads(Elements(text).scripts[1])
    assert [(row["name"], row["rank"]) for row in data["rows"]] == [
        ("best", 1),
        ("middle", 2),
        ("last", 3),
        ("few", None),
    ]
    assert data["order"] == [row["id"] for row in data["rows"][:3]]
    names = {row["id"]: row["name"] for row in data["rows"]}
    pairs = [(names[a], names[b]) for i, a in enumerate(data["order"]) for b in data["order"][i + 1 :]]
    for pair, p in zip(pairs, data["adjusted"], strict=True):
        assert p == pytest.approx(ranking.adjusted.get(pair, ranking.adjusted.get(pair[::-1])), rel=5e-3)
    assert data["rows"][2]["cases"] == pytest.approx(BASE.tolist(), abs=1e-4)
    assert data["cases"] == [f"tus/case-{i:02d}" for i in range(12)]
    assert data["rows"][0]["metrics"]["dice"][0] == pytest.approx(board.rows[1].statistics.mean)


def test_a_row_without_any_score(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", state="failed", error="no", spec=spec_of("alpha"))
    pages = render(ranked(tmp_path / "runs"))
    assert "No pictures: no finished run of this board" in next(
        text for name, text in pages.items() if name != "index.html"
    )


def test_amounts_of_labels_stand_in_one_plot(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for labeled, gain in ((0.25, 0.0), (0.5, 0.1)):
        for seed in range(3):
            spec = spec_of("alpha", seed=seed)
            options = {**spec.track.protocol.options, "labeled": labeled}
            protocol = spec.track.protocol.model_copy(update={"options": options})
            spec = spec.model_copy(update={"track": spec.track.model_copy(update={"protocol": protocol})})
            folder = write_run(runs, BASE + gain, spec)
            result = json.loads((folder / "result.json").read_text())
            (folder / "result.json").write_text(json.dumps(result | {"label_budget": int(40 * labeled)}))
    pages = {name: text for name, text in render(ranked(runs)).items() if name != "index.html"}
    assert len(pages) == 2
    for text in pages.values():
        family = json.loads(Elements(text).scripts[1])["family"]
        assert [(point["name"], point["labels"]) for point in family] == [("alpha", 10), ("alpha", 20)]
        assert [point["mean"] for point in family] == pytest.approx([0.5, 0.6])


def test_tracks_that_look_alike_say_what_differs(tmp_path: Path) -> None:
    for lr in (0.01, 0.02):
        three_seeds(tmp_path / "runs", "alpha", [BASE], spec={"lr": lr})
    three_seeds(tmp_path / "runs", "alpha", [BASE], spec={"dataset": "busi"})
    found = distinctions([board for board, _ in ranked(tmp_path / "runs")])
    assert sorted(found.values()) == ["", "lr 0.01", "lr 0.02"]


# ---- published numbers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phantom", [False, True])
def test_published_beside_reproduced(tmp_path: Path, phantom: bool) -> None:
    for method in ("mean-teacher", "cps"):
        three_seeds(tmp_path / "runs", method, [BASE] * 3, metric="iou", spec={"phantom": phantom})
    ((board, _),) = ranked(tmp_path / "runs")
    found = published_of(board)
    assert [group.metric for group in found] == ["iou"]
    line = next(line for line in found[0].lines if line.method == "mean-teacher")
    assert (line.printed, line.n) == ("80.10 ± 0.61 %", 3)
    assert line.here == pytest.approx(50)  # as the paper prints: in percent
    if phantom:
        assert line.difference is None
    else:
        assert line.difference == pytest.approx(50 - 80.10)
    other = next(line for line in found[0].lines if line.method == "mgcc")
    assert other.here is None and other.difference is None and other.printed
    assert "scored with semibench-1" in found[0].remarks[0]


# ---- the viewer ----------------------------------------------------------------------------------------------------


def test_chosen_cases() -> None:
    values = [{f"c{i}": i / 10 for i in range(10)}, {f"c{i}": i / 10 + (0.5 if i == 6 else 0) for i in range(10)}]
    found = chosen_cases(values, True, 6)
    assert len(found) == len(set(found)) == 6
    assert found[:2] == [("c0", "hard"), ("c1", "hard")]
    assert found[2] == ("c6", "rows differ")
    assert found[-1] == ("c9", "easy")
    assert chosen_cases(values, False, 6)[0] == ("c9", "hard")
    assert len(chosen_cases(values, True, 50)) == 10
    assert chosen_cases([], True, 3) == []


def test_lengths_say_the_whole_map() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (7, 9)).astype(np.uint8)
    runs = lengths(labels)
    assert np.array_equal(np.repeat(runs[::2], runs[1::2]).reshape(labels.shape), labels)


def test_every_class_has_a_colour_of_its_own() -> None:
    assert len(set(colours(16))) == 16
    assert all(re.fullmatch("#[0-9a-f]{6}", tint) for tint in colours(16))


def test_pictures_are_those_of_the_runs(tmp_path: Path) -> None:
    ids = phantom_runs(tmp_path / "runs")["cases"]
    ((board, ranking),) = ranked(tmp_path / "runs")
    pictures, reason = gallery(board, ranking, count=4)
    assert reason == "" and pictures is not None
    assert [row["name"] for row in pictures["rows"]] == ["alpha", "beta"]
    assert {case["key"] for case in pictures["cases"]} <= {f"tus/{name}" for name in ids} and len(
        pictures["cases"]
    ) == 4
    case = pictures["cases"][0]
    record = next(run for row in board.rows if row.name == "alpha" for run in row.states.runs if run.replicate[2] == 1)
    assert pictures["rows"][0]["run"] == "draw 0, seed 1"  # nearest to the row's mean
    from semibench_leaderboards.showing.case_pictures import Viewer

    viewer = Viewer(record)
    ref = viewer.refs[case["key"]]
    native = stored_prediction(record, "last", "main", ref)
    wanted = on_working(native, viewer.dataset.read(ref).frame, (64, 64))
    runs = case["rows"][pictures["rows"][0]["id"]]["map"]
    assert np.array_equal(np.repeat(runs[::2], runs[1::2]).reshape(64, 64), wanted)
    assert case["image"].startswith("data:image/png;base64,")


def test_why_there_are_no_pictures(tmp_path: Path) -> None:
    three_seeds(tmp_path / "runs", "alpha", [BASE] * 3)
    ((board, ranking),) = ranked(tmp_path / "runs")
    assert gallery(board, ranking, count=0) == (None, "the viewer is turned off (--viewer 0)")
    assert gallery(board, ranking, count=4)[1] == "no finished run of this board kept its predictions"


# ---- where it is written -------------------------------------------------------------------------------------------


def test_only_into_an_empty_folder_or_its_own(tmp_path: Path) -> None:
    out = tmp_path / "site"
    write_files({"index.html": "a", "old.html": "b"}, out)
    (out / "CNAME").write_text("mine")
    write_files({"index.html": "c", "new.html": "d"}, out)
    assert sorted(path.name for path in out.iterdir()) == ["CNAME", "index.html", "new.html", MARKER]
    assert (out / "index.html").read_text() == "c"
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"isn't empty and has no earlier page \(thesis.tex\)"):
        write_files({"index.html": "a"}, other)
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match="is a file"):
        write_files({"index.html": "a"}, other / "thesis.tex")
    (other / MARKER).write_text("{}")
    with pytest.raises(UsageError, match="was not written by `bench leaderboard`"):
        write_files({"index.html": "a"}, other)


def test_the_marker_can_not_reach_outside(tmp_path: Path) -> None:
    victim = tmp_path / "victim.html"
    victim.write_text("x")
    out = tmp_path / "site"
    write_files({"index.html": "a"}, out)
    (out / MARKER).write_text(json.dumps({"kind": "semibench leaderboards", "files": ["../victim.html", "index.html"]}))
    write_files({"index.html": "b"}, out)
    assert victim.read_text() == "x"


def test_an_interrupted_writing_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from semibench_leaderboards.site import writing

    real = writing.write_atomically
    calls: list[str] = []

    def stop(path: Path, draft: Any) -> None:
        calls.append(path.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(path, draft)

    monkeypatch.setattr(writing, "write_atomically", stop)
    with pytest.raises(KeyboardInterrupt):
        write_files({"a.html": "1", "b.html": "2", "index.html": "3"}, tmp_path / "site")
    monkeypatch.setattr(writing, "write_atomically", real)
    write_files({"a.html": "1", "index.html": "3"}, tmp_path / "site")
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == ["a.html", "index.html", MARKER]


@pytest.mark.slow
def test_the_command(evil: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    words = ["leaderboard", "--runs", str(evil), "--format", "html", "--out", str(out), "--viewer", "0"]
    result = bench(*words, width=None)
    assert result.exit_code == 0, result.output
    assert (out / "index.html").is_file() and "written:" in result.stderr
    assert write(ranked(evil), out, runs=evil, cases=0) == out / "index.html"


# ---- the line that makes a run again -------------------------------------------------------------------------------


FEW = ("phantom.cases=20",)


@pytest.mark.parametrize(
    "fields",
    [
        {"protocol": "self", "dataset": "tus", "method": "mean-teacher", "recipe": "smoke", "settings": FEW},
        {
            "protocol": "self", "dataset": "tus", "method": "cps", "backbone": "unet", "recipe": "quick",
            "settings": (*FEW, "lr=0.05", "recipe.weak.flip=0.25", "labeled=0.25", "term.cross.weight=0.3", "width=0.5"),
        },
        {
            "protocol": "ssmis", "dataset": "la", "method": "supervised", "recipe": "smoke",
            "settings": ("phantom.cases=8", "labeled=2"),
        },
        {
            "protocol": "umda", "dataset": "mmwhs", "method": "supervised", "recipe": "smoke",
            "settings": ("phantom.cases=12", "source=mr", "target=ct"),
        },
        {"protocol": "synthetic", "dataset": "tus", "method": "mean-teacher", "recipe": "smoke", "settings": FEW},
        {
            "protocol": "self", "dataset": "tus", "method": "mgcc", "recipe": "own", "preset": "paper",
            "settings": (*FEW, "labeled=0.25"),
        },
        {"protocol": "ssmis", "dataset": "acdc", "method": "semsim", "recipe": "own", "preset": "acdc-1"},
        {
            "protocol": "self", "dataset": "tus", "method": "cps", "recipe": "own", "preset": "ssl4mis",
            "settings": (*FEW, "lr=0.02", "term.cross=0.3"),
        },
    ],
    ids=["plain", "changed", "volumes", "domains", "synthetic", "own", "own-of-data-set", "own-changed"],
)  # fmt: skip
def test_the_line_makes_the_same_run(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        spec: RunSpec = resolve(Request(**fields, phantom="always")).spec
    except UsageError as error:  # a term or option that was renamed: the test must follow
        pytest.fail(str(error))
    seen: list[Request] = []
    monkeypatch.setattr("semibench.cli.run_command._one", lambda request, *_, **__: seen.append(request))
    build_cli()(args=shlex.split(cell_of(spec).to_command())[1:], standalone_mode=False)
    assert resolve(seen[0]).spec.key == spec.key


@pytest.mark.slow
def test_references_on_the_page(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    three_seeds(runs, "cps", [BASE + 0.10, BASE + 0.11, BASE + 0.12])
    three_seeds(runs, "cps", [BASE + 0.08, BASE + 0.09, BASE + 0.10], spec={"control": True})
    three_seeds(runs, "supervised", [BASE, BASE, BASE])
    three_seeds(runs, "supervised", [BASE + 0.3, BASE + 0.3, BASE + 0.3], spec={"labeled": 1.0})
    ((board, ranking),) = ranked(runs)
    pages = render([(board, ranking)], cases=0)
    page = next(text for name, text in pages.items() if name != "index.html")
    elements = Elements(page)
    heads = {attrs.get("data-key"): attrs.get("title") or "" for tag, attrs in elements.found if tag == "th"}
    assert "what the unlabeled images are worth" in heads["unlabeled_worth"] and "all labels" in heads["gap_closed"]
    data = next(json.loads(script) for script in elements.scripts if script.startswith("{"))
    rows = {row["name"]: row for row in data["rows"]}
    assert rows["cps"]["unlabeled_worth"] == pytest.approx(0.02) and rows["cps"]["gap_closed"] == pytest.approx(
        0.11 / 0.3
    )
    assert {name: row["role"] for name, row in rows.items()} == {
        "cps": None, "supervised": "labels alone", "supervised (all labels)": "all labels", "cps (control)": "control",
    }  # fmt: skip
    lines = [attrs for tag, attrs in elements.found if tag == "line" and (attrs.get("class") or "").startswith("bound")]
    assert len(lines) == 2 * len(rows), "the two bounds stand in the interval of every row"
    assert "--control" in rows["cps (control)"]["command"] and "--control" not in rows["cps"]["command"]
    assert "2 rows" not in page and "3 rows, 9 runs" in page, "lent rows are another track's"
