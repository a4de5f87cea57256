"""The command line: fast, plain about what is wrong, the same as text and as JSON, and open to plugins' commands."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from pydantic import Field
from support.command_line import bench as run_bench
from support.command_line import in_one_line as without_frames
from support.forked import Forked
from support.leaderboard_toys import spec_of, write_run
from support.places import with_tests
from typer.testing import Result

from semibench import CommandCard, MethodCard, MethodOptions, SemibenchError, hookimpl
from semibench.cli import data_command, results, ui_command
from semibench.cli.console import Output, cell, duration, emit
from semibench.cli.describe import describe, fields
from semibench.cli.progress import Bars, Lines, Phase, figures, reporter_for
from semibench.cli.run_command import seeds_of
from semibench.contracts.errors import LayoutError, UsageError
from semibench.data.audit import Audit, Crossing, GroupedCase, SimilarPair
from semibench.discovery.registry import Registry, Source, installed
from semibench.files import read_json, write_json
from semibench.runfolder.records import ScoreSummary

LIGHT = {
    "annotated_doc", "annotated_types", "attr", "click", "lazy_loader", "markdown_it", "mdurl", "packaging", "platformdirs",
    "pluggy", "pydantic", "pydantic_core", "pygments", "rich", "semibench", "semibench_leaderboards", "semibench_plugins",
    "shellingham", "typer", "typing_extensions", "typing_inspection",
}  # fmt: skip
"""All that an answer may import beside the standard library: the command line's own libraries. What reads data, trains or draws
isn't among them, and so the answer is quick on any machine."""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `bench` in this process, in an empty folder, with no data configured."""
    for name in ("SEMIBENCH_DATA", "MLFLOW_TRACKING_URI", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Result:
        return run_bench(*words, width=None)

    return call


# ---- fast ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["--help"], ["list"], ["list", "methods"], ["run", "--help"], ["data", "where", "tus"]]
)
def test_nothing_heavy_is_imported(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nbefore = set(sys.modules)\nfrom semibench.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit as end:\n    assert end.code in (0, None), end.code\n"
        "found = {name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
        f"more = [name for name in sorted(found - {LIGHT!r}) if not name.startswith('_')]\nassert not more, more\n"
        "from semibench.discovery.registry import KINDS, registry\n"
        "loads = {getattr(i.card, 'load', '').split(':')[0] for kind in KINDS for i in registry().cards(kind)}\n"
        "loads = {name for name in loads if name.startswith('semibench_plugins.')}\n"
        "assert len(loads) > 40 and not loads & set(sys.modules), loads & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


# ---- list and show -------------------------------------------------------------------------------------------------


def test_list_shows_all_kinds_and_one_kind(bench: Callable[..., Result]) -> None:
    every = json.loads(bench("list", "--json").stdout)
    assert "mean-teacher" in every["methods"]
    assert set(every["protocols"]) >= {"self", "similar", "synthetic", "ssmis", "umda", "semi-mdg"}
    assert "mean-teacher" in bench("list").stdout
    one = json.loads(bench("list", "datasets", "--json").stdout)
    tus = next(item for item in one if item["name"] == "tus")
    assert tus["full_name"] == "semibench:tus"
    assert tus["card"]["domains"] == ["machine-1", "machine-2", "machine-3"]
    assert "nodule" in bench("list", "dataset").stdout  # the singular is understood
    plugins = json.loads(bench("list", "plugins", "--json").stdout)
    assert all(item["state"] == "healthy" for item in plugins if item["distribution"] == "semibench")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "metods"], "Did you mean 'methods'?"),
        (["show", "method", "mean-techer"], "Did you mean 'mean-teacher'?"),
        (["show", "methd", "mgcc"], "Did you mean"),
        (["show", "recipe", "quik"], "Did you mean 'quick'?"),
        (["run", "-p", "sinthetic", "-d", "tus"], "Did you mean 'synthetic'?"),
        (["run", "-p", "self", "-d", "tuss"], "Did you mean 'tus'?"),
        (["run", "-p", "self", "-d", "tus", "-m", "mgc"], "Did you mean 'mgcc'?"),
        (["run", "-p", "self", "-d", "tus", "-m", "supervised", "--phantom", "--set", "rate=1"], "rate: no part has this field"),
        (["run", "-p", "self", "-d", "tus", "-m", "supervised", "--phantom", "--set", "lr"], "expected name=value"),
        (["run", "-p", "self", "-d", "tus", "-m", "supervised", "--phantom", "--set", "lr=-1"], "greater than 0"),
        (["run", "-p", "self", "-d", "tus", "--device", "abacus"], "abacus"),
        (["run", "-d", "tus"], "--protocol"),
        (["run", "-p", "self", "-d", "tus", "--seeds", "2-0"], "expected seeds as 0-2 or 0,1,5"),
        (["split", "-p", "self", "-d", "tu"], "Did you mean"),
        (["data", "where", "buis"], "Did you mean"),
        (["lits"], "No such command"),
        (["ui"], "the first `bench run` in this folder creates it"),
    ],
)  # fmt: skip
def test_wrong_usage_exits_with_2_and_says_what_was_meant(
    bench: Callable[..., Result], words: list[str], said: str
) -> None:
    result = bench(*words)
    assert result.exit_code == 2, result.output
    assert said in without_frames(result.stderr)
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_show_tells_options_terms_presets_and_origin(bench: Callable[..., Result]) -> None:
    record = json.loads(bench("show", "method", "mean-teacher", "--json").stdout)
    assert re.search(r"mean_teacher\.py:\d+$", record["origin"])
    assert record["distribution"] == "semibench"
    decay = next(option for option in record["options"] if option["name"] == "decay")
    assert (decay["type"], decay["range"]) == ("float", "[0, 1]")
    assert decay["description"]
    consistency = record["terms"]["consistency"]
    assert consistency["weight"] > 0
    assert consistency["ramp"]["kind"] == "sigmoid"
    assert set(record["terms"]) == {"sup", "consistency"}
    assert record["presets"]
    text = bench("show", "method", "semibench:mean-teacher").stdout
    for word in ("loss term", "search", "decay", "preset", "mean_teacher.py"):
        assert word in text


@pytest.mark.parametrize(
    ("kind", "name"),
    [("dataset", "tus"), ("backbone", "unet"), ("protocol", "synthetic"), ("convention", "semibench-1"), ("recipe", "quick"),
     ("generator", "latent-diffusion")],
)  # fmt: skip
def test_show_works_for_every_kind(bench: Callable[..., Result], kind: str, name: str) -> None:
    record = json.loads(bench("show", kind, name, "--json").stdout)
    assert record["name"] == name
    text = bench("show", kind, name)
    assert text.exit_code == 0
    assert name in text.stdout


class Odd(MethodOptions, frozen=True, extra="forbid"):
    """Options of every shape."""

    open: float = Field(0.5, gt=0, lt=1, description="a share")
    closed: int = Field(3, ge=1)
    maybe: float | None = Field(None, ge=0, le=2)
    word: Annotated[str, Field(description="free")] = "x"
    needed: int


def test_option_ranges_are_those_of_the_fields() -> None:
    found = {option["name"]: option for option in fields(Odd)}
    assert found["open"]["range"] == "(0, 1)"
    assert found["open"]["description"] == "a share"
    assert found["closed"]["range"] == "[1, inf)"
    assert found["maybe"]["range"] == "[0, 2]"
    assert found["word"]["range"] == ""
    assert found["needed"]["required"]
    assert found["needed"]["default"] is None


# ---- plugins -------------------------------------------------------------------------------------------------------


def source(name: str, plugin: Any) -> Source:
    def load() -> Any:
        if isinstance(plugin, Exception):
            raise plugin
        return plugin

    return Source("third-party", "2.0", name, f"third.{name}", load)


def module(**functions: Callable[[], Any]) -> types.ModuleType:
    made = types.ModuleType("third")
    for name, function in functions.items():
        setattr(made, name, hookimpl(function))
    return made


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real plugins, healthy commands of a third party, and broken things of every sort."""
    (tmp_path / "third_commands.py").write_text(
        "import typer\ngroup = typer.Typer()\n\n@group.command()\ndef deep(times: int = 1) -> None:\n"
        "    'Say it often.'\n    typer.echo('deep ' * times)\n\n@group.command()\ndef other() -> None:\n    pass\n\n"
        "def hello(name: str, loud: bool = False) -> None:\n    typer.echo(name.upper() if loud else name)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    cards = [
        CommandCard(name="hello", load="third_commands:hello", summary="Greets."),
        CommandCard(name="group", load="third_commands:group", summary="Several."),
        CommandCard(name="broken", load="third_nothing:app", summary="Fails."),
        CommandCard(name="run", load="third_commands:hello", summary="Hidden."),
    ]
    wrong = MethodCard(name="no-class", title="x", load="third_commands:hello")
    sources = [
        *installed(),
        source("commands", module(semibench_commands=lambda: cards)),
        source("bad-import", ImportError("no module named 'gone'")),
        source("bad-card", module(semibench_methods=lambda: [CommandCard(name="not-a-method", load="a:b")])),
        source("bad-class", module(semibench_methods=lambda: [wrong])),
    ]  # fmt: skip
    known = Registry(sources)
    monkeypatch.setattr("semibench.discovery.registry.registry", lambda: known)


@pytest.mark.usefixtures("plugins")
def test_commands_of_plugins_are_listed_without_importing_them(bench: Callable[..., Result]) -> None:
    text = bench("--help").stdout
    for word in ("hello", "Greets.", "group", "broken", "Fails."):
        assert word in text
    assert "Hidden." not in text
    assert "third_commands" not in sys.modules


@pytest.mark.usefixtures("plugins")
def test_commands_of_plugins_work(bench: Callable[..., Result]) -> None:
    assert bench("hello", "ada", "--loud").stdout == "ADA\n"
    assert "--loud" in bench("hello", "--help").stdout
    assert bench("group", "deep", "--times", "2").stdout == "deep deep \n"
    assert "Say it often." in bench("group", "--help").stdout
    assert bench("hello").exit_code == 2
    sys.modules.pop("third_commands", None)


@pytest.mark.usefixtures("plugins")
def test_broken_plugins_are_named_and_harm_nothing(bench: Callable[..., Result]) -> None:
    result = bench("broken")
    assert result.exit_code == 1
    assert "third_nothing" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in bench("--debug", "broken").stderr
    assert bench("show", "method", "no-class").exit_code == 1
    assert "subclass of semibench.Method" in bench("show", "method", "no-class").stderr
    listing = bench("list", "methods")
    assert listing.exit_code == 0
    assert "third-party: see `bench doctor`" in listing.stderr
    states = {item["entry_point"]: item["state"] for item in json.loads(bench("list", "plugins", "--json").stdout)}
    assert states["bad-import"] == "broken: import"
    assert states["commands"] == "healthy"


@pytest.mark.usefixtures("plugins")
def test_doctor_shows_problems_with_tracebacks_and_exits_with_1(bench: Callable[..., Result]) -> None:
    result = bench("doctor", "--json")
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    problems = {problem["entry_point"]: problem for problem in record["problems"]}
    assert problems["bad-import"]["outcome"] == "import"
    assert "ImportError: no module named 'gone'" in problems["bad-import"]["traceback"]
    assert problems["bad-card"]["outcome"] == "card"
    assert problems["commands"]["outcome"] == "hidden"
    assert "third-party:run" in problems["commands"]["message"]
    assert record["machine"]["devices"][-1] == "cpu"
    assert record["versions"]["torch"]
    assert record["store"]["state"].startswith("doesn't exist yet")
    assert {"name": "tus", "path": None, "source": None, "named": False} in record["data"]
    text = bench("doctor").stdout
    assert "PROBLEM (import)" in text
    assert "Traceback" in text


def test_doctor_names_damaged_run_folders(bench: Callable[..., Result], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    _, cut_off, of_a_newer = (write_run(runs, [0.5, 0.7], spec_of(seed=seed)) for seed in range(3))
    (cut_off / "result.json").write_bytes((cut_off / "result.json").read_bytes()[:40])
    write_json(of_a_newer / "status.json", read_json(of_a_newer / "status.json") | {"format": 99})
    (runs / "notes").mkdir()
    found = {line.split(": ")[1]: line for line in json.loads(bench("doctor", "--json").stdout)["runs"]}
    assert set(found) == {f"runs/{folder.name}" for folder in (cut_off, of_a_newer)}
    assert "result.json" in found[f"runs/{cut_off.name}"] and "update Semibench" in found[f"runs/{of_a_newer.name}"]
    assert f"damaged: runs/{cut_off.name}: result.json" in bench("doctor").stdout


def test_doctor_is_content_with_a_healthy_installation_and_reads_the_store(
    bench: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "mlflow.db").write_text("no data base")
    result = bench("doctor")
    assert result.exit_code == 0
    assert "All plug-ins are healthy." in result.stdout
    assert "not readable as an MLflow store" in result.stdout


@pytest.mark.slow
def test_a_plugin_in_a_distribution_of_its_own_is_found(tmp_path: Path) -> None:
    """A real installed distribution, in a real process."""
    info = tmp_path / "my_plugin-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text("[semibench]\nmine = my_plugin\nlost = my_plugin_missing\n")
    (tmp_path / "my_plugin.py").write_text(
        "from semibench import CommandCard, hookimpl\n\n@hookimpl\ndef semibench_commands():\n"
        "    return [CommandCard(name='mine', load='my_plugin:mine', summary='My own.')]\n\n"
        "def mine() -> None:\n    '''Mine.'''\n    import typer\n    typer.echo('it is mine')\n"
    )
    environment = os.environ | {"PYTHONPATH": with_tests(tmp_path)}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "semibench.cli", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert call("mine").stdout == "it is mine\n"
    states = {item["entry_point"]: item for item in json.loads(call("list", "plugins", "--json").stdout)}
    assert states["mine"]["version"] == "1.5"
    assert states["lost"]["state"] == "broken: import"
    assert states["semibench-methods"]["state"] == "healthy"


# ---- data and split ------------------------------------------------------------------------------------------------


def test_a_missing_folder_prints_the_expected_tree(bench: Callable[..., Result]) -> None:
    where = bench("data", "where", "tus")
    assert where.exit_code == 0
    assert "tus.csv" in where.stdout
    assert "SEMIBENCH_DATA" in where.stdout
    verify = bench("data", "verify", "tus")
    assert verify.exit_code == 1
    assert "tus.csv" in verify.stderr
    assert "no folder found" in verify.stderr
    run = bench("run", "-p", "self", "-d", "tus", "-m", "supervised", "--no-phantom")
    assert run.exit_code == 1
    assert "tus.csv" in run.stderr


def test_where_names_the_folder(bench: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "data" / "TUS").mkdir(parents=True)
    record = json.loads(bench("data", "where", "tus", "--data-root", str(tmp_path / "data"), "--json").stdout)
    assert record["path"] == str(tmp_path / "data" / "TUS")
    assert record["source"] == "--data-root"
    found = bench("data", "verify", "tus", "--data-root", str(tmp_path / "data"))
    assert found.exit_code == 1  # an empty folder is no TUS


def test_opened_takes_the_phantom_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEMIBENCH_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert data_command.open_dataset("tus", None, ["cases=6"], True).fingerprint is not None
    with pytest.raises(LayoutError, match=r"tus\.csv"):
        data_command.open_dataset("tus", None, None, None)
    with pytest.raises(UsageError, match="no part has this field"):
        data_command.open_dataset("tus", None, ["nothing=1"], True)


def test_verify_and_audit_a_phantom(bench: Callable[..., Result]) -> None:
    words = ("tus", "--phantom", "--set", "phantom.cases=6", "--set", "phantom.scale=0.2", "--json")
    verified = bench("data", "verify", *words)
    assert json.loads(verified.stdout)["name"] == "tus", verified.stderr
    audited = json.loads(bench("data", "audit", *words).stdout)
    assert {"summary", "pairs", "crossings", "groups"} <= set(audited)
    assert bench("data", "audit", *words, "--write").exit_code == 1  # a phantom has no files


def test_audit_shows_pairs_and_crossings_and_writes_the_table(
    bench: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Audit(
        "tus",
        2,
        (SimilarPair("a", "b", "near", 3, 0.9),),
        (GroupedCase("a", "a", "near b"),),
        (Crossing("s", "a", {"labeled": ("a",), "test": ("b",)}),),
    )
    (tmp_path / "data" / "tus").mkdir(parents=True)
    monkeypatch.setattr("semibench.data.audit.audit", lambda dataset, **options: found)
    words = ("data", "audit", "tus", "--data-root", str(tmp_path / "data"))
    text = bench(*words, "--write")
    assert text.exit_code == 0, text.stderr
    for word in ("1 near", "identical and near-identical images", "groups that cross a split", "group table:"):
        assert word in text.stdout
    written = Path(text.stdout.split("group table: ")[1].strip())
    assert "a,a,near b" in written.read_text(encoding="utf-8")
    assert json.loads(bench(*words, "--json").stdout)["groups"] == [{"case": "a", "group": "a", "reason": "near b"}]


def test_split_counts_and_lists_cases(bench: Callable[..., Result]) -> None:
    words = ("split", "-p", "self", "-d", "tus", "--phantom", "--set", "phantom.cases=120")
    record = json.loads(bench(*words, "--json").stdout)
    roles = record["roles"]
    assert sum(map(len, roles.values())) == 120
    train = {(dataset, group) for role in ("labeled", "unlabeled") for dataset, _, group, _ in roles[role]}
    assert not train & {(dataset, group) for dataset, _, group, _ in roles["test"]}
    text = bench(*words, "--ids").stdout
    assert f"tus/{roles['test'][0][1]}" in text
    assert "phantom" in text
    assert json.loads(bench(*words, "--draw", "1", "--json").stdout)["roles"] != roles


# ---- run -----------------------------------------------------------------------------------------------------------


RUN = ("run", "-p", "self", "-d", "tus", "-m", "supervised", "-r", "smoke", "--phantom", "--set", "phantom.cases=120",
       "--set", "phantom.scale=0.2", "--device", "cpu")  # fmt: skip


def test_the_plan_is_printed_and_nothing_is_done(bench: Callable[..., Result], tmp_path: Path) -> None:
    result = bench(*RUN, "--plan")
    assert result.exit_code == 0, result.stderr
    text = without_frames(result.stdout)
    for word in ("self on tus", "PHANTOM", "labeled", "unlabeled", "test", "iterations", "seed 0", "training about"):
        assert word in text
    assert not (tmp_path / "runs").exists()
    facts = json.loads(bench(*RUN, "--plan", "--json", "--set", "lr=0.5").stdout)
    assert facts["recipe"] == "smoke*"
    assert facts["data"] == "phantom"


@pytest.mark.slow
def test_a_run_from_the_command_line(bench: Callable[..., Result], tmp_path: Path) -> None:
    first = bench(*RUN)
    assert first.exit_code == 0, first.stderr
    text = without_frames(first.stdout)
    for word in (
        "semibench-1: mean ± standard deviation over",
        "dice",
        "PHANTOM",
        "run folder",
        "pictures",
        "bench ui",
    ):
        assert word in text
    assert "plan" in first.stderr
    assert (tmp_path / "mlflow.db").is_file()
    again = bench(*RUN, "--no-track", "--json")
    record = json.loads(again.stdout)
    assert record["phantom"] is True
    assert "already done" in again.stderr
    stored = json.loads((tmp_path / "runs" / record["key"][:12] / "result.json").read_text())
    assert stored == record
    pair = bench(*RUN, "--seeds", "0,1", "--no-track", "--no-pictures", "--json")
    both = json.loads(pair.stdout)
    assert pair.stderr.count("these are not patients") == 1, "said once for all replicates"
    assert "the same with draw 0 · seed 1: new" in pair.stderr
    assert [item["key"] == record["key"] for item in both] == [True, False]
    assert both[0]["row"] == both[1]["row"]


@pytest.mark.slow
def test_a_terminated_run_says_interrupted_and_can_go_on(bench: Callable[..., Result], tmp_path: Path) -> None:
    words = (*RUN, "--no-track", "--set", "iterations=100000")
    process = Forked(words, tmp_path, os.environ | {"OMP_NUM_THREADS": "1"})
    until = time.monotonic() + 240
    while not list(tmp_path.glob("runs/*/checkpoints/last.pt")) and time.monotonic() < until and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert "interrupted: the same command resumes" in errors
    assert "Traceback" not in errors
    folder = next(tmp_path.glob("runs/*"))
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
    assert json.loads(bench(*words, "--plan", "--json").stdout)["state"] == "resumable"


def test_seeds() -> None:
    assert seeds_of("0-2") == (0, 1, 2)
    assert seeds_of("5, 1,5") == (5, 1)
    for wrong in ("", "a", "2-", "-2", "3-1", "1,,2"):
        with pytest.raises(typer.BadParameter):
            seeds_of(wrong)


# ---- what is written -----------------------------------------------------------------------------------------------


def score(checkpoint: str, metric: str, mean: float | None, **more: Any) -> ScoreSummary:
    values = {"std_over_cases": 0.125, "per_class": {"a": 0.5, "b": None}, "n": 9, "defined": 9, **more}
    return ScoreSummary(
        checkpoint=checkpoint, predictor="main", convention="semibench-1", metric=metric, mean=mean, **values
    )


def test_scores_by_class_are_shown_where_there_are_several() -> None:
    scores = [score("last", "dice", 0.5), score("last", "iou", 0.25)]
    columns, rows = results.class_rows(scores)
    assert columns == ["checkpoint", "predictor", "convention", "a", "b"]
    assert rows == [["last", "main", "semibench-1", "0.5000", "–"]]
    assert results.class_rows([score("last", "dice", 0.5, per_class={"a": 0.5})])[1] == []


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"a": float("nan"), "b": [1.5, float("inf")], "c": Path("x"), "d": {2, 1}})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.5, None], "c": "x", "d": [1, 2]}


def test_cells_and_durations() -> None:
    assert [cell(value) for value in (None, (), True, 0.5, float("nan"), [1, 2], {"a": [1], "b": 2})] == [
        "–", "–", "yes", "0.5", "–", "1, 2", "a=(1), b=2",
    ]  # fmt: skip
    assert [duration(seconds) for seconds in (1.24, 42, 185, 7800)] == ["1.2 s", "42 s", "3 min 05 s", "2 h 10 min"]


def test_figures_show_loss_terms_first_and_count_the_rest() -> None:
    values = {"it/s": 4.0, "lr/main": 0.01, "weight/sup": 1.0, "loss/sup": 0.5, "seconds left": 3.0}
    assert figures(values) == "sup 0.5 · it/s 4"
    assert figures({f"loss/{i}": 1.0 for i in range(9)}, most=2) == "0 1 · 1 1 · +7"
    assert figures(None) == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_reporters_show_nested_phases_and_close_after_errors(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    console = Output(force_terminal=terminal, width=120, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    reporter = reporter_for(console)
    assert isinstance(reporter, Bars if terminal else Lines)
    monkeypatch.setattr("semibench.cli.progress.EVERY", 0.0)
    reporter.phase("train", 10)
    reporter.advance(4, {"loss/sup": 0.25})
    reporter.phase("validate", 2)
    reporter.advance(2)
    reporter.end()
    reporter.advance(8, {"loss/sup": 0.125})
    reporter.warn("look out")
    reporter.note("by the way")
    reporter.close()
    reporter.end()  # one too many harms nothing
    text = console.export_text()
    for word in ("train", "look out", "by the way", "0.125"):
        assert word in text
    if not terminal:
        assert "train 4/10 | sup 0.25" in text
        assert "left" in text
        assert "validate: 2/2 in" in text


def test_time_left_of_a_resumed_phase_counts_only_what_is_done_now() -> None:
    fresh = Phase("train", 100, began=0.0, last_line=0.0, done=10)
    assert fresh.left(now=5.0) == 45.0
    resumed = Phase("train", 100, began=0.0, last_line=0.0, done=60, first=(50, 0.0))
    assert resumed.left(now=5.0) == 20.0
    assert Phase("train", 100, began=0.0, last_line=0.0).left(now=5.0) is None


class _Healthy(BaseHTTPRequestHandler):
    """Answers every request as a healthy server does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"OK")

    def log_message(self, *words: object) -> None:
        """Prints nothing."""


@contextmanager
def answering() -> Iterator[str]:
    """The address of a server that answers."""
    with HTTPServer(("127.0.0.1", 0), _Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_ui_starts_one_worker_on_the_store(
    monkeypatch: pytest.MonkeyPatch, bench: Callable[..., Result], tmp_path: Path
) -> None:
    command = ui_command.server_command(f"sqlite:///{tmp_path}/mlflow.db", "127.0.0.1", 5001)
    assert command[command.index("--workers") + 1] == "1"
    assert command[command.index("--default-artifact-root") + 1] == (tmp_path / "mlartifacts").as_uri()
    with answering() as address:
        assert f"open {address}" in bench("ui", "--tracking-uri", address).stderr
    (tmp_path / "mlflow.db").touch()
    calls: list[tuple[list[str], Mapping[str, str]]] = []

    def serve(words: list[str], env: Mapping[str, str]) -> int:
        calls.append((words, env))
        return len(calls) - 1

    monkeypatch.setattr("semibench.tracking.store.open_store", lambda uri: None)
    monkeypatch.setattr(ui_command, "serve", serve)
    assert bench("ui").exit_code == 0
    assert calls[0][1]["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert calls[0][1]["MLFLOW_DISABLE_TELEMETRY"] == "true"
    failed = bench("ui", "--port", "5001")
    assert failed.exit_code == 1
    assert "--port 5002" in failed.stderr


def test_describe_raises_the_registry_errors() -> None:
    with pytest.raises(SemibenchError, match="no recipe is called 'none'"):
        describe(Registry([]), "recipes", "none")
