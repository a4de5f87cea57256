"""Whole runs on phantoms and real files: every protocol, identity of folders, kill and resume, failure, staleness."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.command_line import bench_forked, in_one_line
from support.forked import Forked
from support.places import real_data
from support.trouble_plugin import install

from semibench import IdentityError, LayoutError, UnsupportedError, UsageError
from semibench.evaluation.summary import TableError, check_table  # noqa: F401  (the tables below must satisfy it)
from semibench.reporting import Reporter
from semibench.run.execute import Result, execute
from semibench.run.prepare import prepare
from semibench.run.request import Request
from semibench.runfolder.reading import RunFolder
from semibench.runfolder.records import SplitRecord
from semibench_leaderboards.evidence.opening import open_inputs

FEW = ("phantom.cases=90", "phantom.scale=0.25")


def request(folder: Path, protocol: str = "self", dataset: str = "tus", **more: Any) -> Request:
    values: dict[str, Any] = {
        "recipe": "smoke",
        "method": "mean-teacher",
        "runs": folder,
        "track": False,
        "settings": FEW,
    }
    return Request(protocol=protocol, dataset=dataset, **(values | more))


def run(folder: Path, *names: str, **more: Any) -> Result:
    return execute(prepare(request(folder, *names, **more), estimate=False))


def digits(folder: Path) -> list[float]:
    scores = pd.read_parquet(folder / "scores.parquet")
    steps = pd.read_parquet(folder / "steps.parquet").sort_values(["step", "name"])
    return [*scores["value"].round(12).fillna(-1), *steps[steps["name"] != "seconds"]["value"].fillna(-1)]


PROTOCOLS = [
    ("self", "tus", "mgcc", ()),
    ("similar", "tus", "mean-teacher", ()),
    ("synthetic", "tus", "mgcc", ("count=4",)),
    ("ssmis", "la", "mean-teacher", ("protocol.labeled=2", "phantom.cases=8", "phantom.scale=0.5")),
    ("umda", "mmwhs", "adaoutput", ("phantom.cases=12", "phantom.scale=0.5")),
    ("semi-mdg", "mnms", "saml", ("phantom.cases=32", "phantom.scale=0.5")),
]


def test_four_patients_of_validation_choose_weights_and_three_do_not(tmp_path: Path) -> None:
    """The reason is told before and recorded after; pictures show the last weights in either case."""
    single = ("phantom.cases=60", "phantom.scale=0.25")  # an image is a patient: .1 of 42 training images are 4
    plan = prepare(request(tmp_path, dataset="busi", settings=single), estimate=False)
    assert not [text for text in plan.warnings if "validation" in text]
    many = execute(plan)
    assert many.record.no_best is None and (many.folder / "checkpoints" / "best.pt").is_file()
    assert {score.checkpoint for score in many.record.scores} == {"last", "best"}
    plan = prepare(request(tmp_path, dataset="busi", settings=(*single, "validation=0.07")), estimate=False)
    (warning,) = [text for text in plan.summary().warnings if "validation" in text]
    assert "only the last weights are kept and scored" in warning and "come from 3 groups" in warning
    few = execute(plan)
    assert few.record.no_best is not None and few.record.no_best in warning
    assert {score.checkpoint for score in few.record.scores} == {"last"} and few.record.training.best_iteration is None
    assert [path.name for path in (few.folder / "checkpoints").glob("best*")] == []
    stored = json.loads((few.folder / "result.json").read_text())
    assert stored["no_best"] == few.record.no_best


def test_overlays_show_the_last_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What boards rank, though there are weights that did better on validation."""
    import numpy as np

    from semibench.run import illustration

    drawn: list[Any] = []
    monkeypatch.setattr(illustration, "overlays", lambda panels, path, **more: drawn.append((panels, more)) or path)
    settings = ("phantom.cases=60", "phantom.scale=0.25", "iterations=8", "evaluate_every=2")
    done = run(tmp_path, "self", "busi", method="supervised", settings=settings)
    ((panels, more),) = drawn
    assert "last weights, predictor main" in more["title"] and (done.folder / "checkpoints" / "best.pt").is_file()
    for panel in panels:
        case = panel.title.split(": ")[1].split(",")[0]
        stored = np.load(done.folder / "predictions" / "last" / "main" / f"{case}.npz")
        assert np.array_equal(panel.prediction, stored["working"] if "working" in stored else stored["label"])


def test_a_control_and_the_atlas_run(tmp_path: Path) -> None:
    """The control's unlabeled pool is the labeled one in the run folder, too; the atlas has the Dice of the counted vote."""
    import numpy as np

    from semibench.blocks.metrics import overlap

    method, control = run(tmp_path), run(tmp_path, control=True)
    split, other = (json.loads((done.folder / "split.json").read_text()) for done in (control, method))
    assert split["unlabeled"] == split["labeled"] == other["labeled"] and split["test"] == other["test"]
    spec = RunFolder(control.folder).spec
    assert SplitRecord.of(open_inputs(spec).split()).digest == control.record.split, "`bench verify` draws the same"
    assert digits(control.folder) != digits(method.folder), "other unlabeled images, other digits"
    assert prepare(request(tmp_path, control=True), estimate=False).state == "done"
    again = execute(prepare(request(tmp_path, control=True, runs=tmp_path / "again"), estimate=False))
    assert digits(again.folder) == digits(control.folder)

    plan = prepare(request(tmp_path, method="atlas"), estimate=False)
    atlas = execute(plan)
    assert atlas.record.training.iterations == 0 and atlas.record.model.parameters == 0
    dataset = plan.resolved.data.catalog.datasets["tus"]
    labels = np.stack([np.asarray(dataset.read(ref).label) for ref in plan.split.labeled])
    vote = labels.mean(axis=0) > 0.5
    for ref in plan.split.test:
        stored = np.load(atlas.folder / "predictions" / "last" / "main" / f"{ref.id}.npz")
        assert np.array_equal(stored["working"] if "working" in stored else stored["label"], vote)
    table = pd.read_parquet(atlas.folder / "scores.parquet")
    dice = table[(table["metric"] == "dice") & (table["convention"] == "semibench-1")].set_index("case")["value"]
    ref = plan.split.test[0]
    native = np.load(atlas.folder / "predictions" / "last" / "main" / f"{ref.id}.npz")["label"]
    truth = dataset.truth(ref)
    assert truth is not None
    assert dice[ref.id] == pytest.approx(overlap(native > 0, np.asarray(truth.label) > 0).dice())


@pytest.mark.slow
@pytest.mark.parametrize(("protocol", "dataset", "method", "more"), PROTOCOLS, ids=[p[0] for p in PROTOCOLS])
def test_every_protocol_runs_on_its_phantom(
    tmp_path: Path, protocol: str, dataset: str, method: str, more: tuple[str, ...]
) -> None:
    settings = more if any(s.startswith("phantom.cases") for s in more) else (*FEW, *more)
    done = run(tmp_path, protocol, dataset, method=method, settings=settings)
    assert json.loads((done.folder / "status.json").read_text())["state"] == "done"
    table = pd.read_parquet(done.folder / "scores.parquet")
    split = json.loads((done.folder / "split.json").read_text())
    assert set(table["case"]) == {case[1] for case in split["test"]}
    groups = {(case[0], case[2]) for case in split["validation"]}
    assert set(table["checkpoint"]) == ({"last"} if len(groups) < 4 else {"last", "best"})
    assert (done.record.no_best is not None) == (len(groups) < 4)
    assert "semibench-1" in set(table["convention"])
    dice = table[(table["metric"] == "dice") & (table["convention"] == "semibench-1")]["value"]
    assert dice.between(0, 1).all()
    assert {"overlays.png", "losses.png"} <= {path.name for path in (done.folder / "pictures").iterdir()}
    assert (done.record.model.parameters or 0) >= (done.record.model.inference_parameters or 0) > 0
    if protocol == "synthetic":
        assert sum(case[0] == "synthetic" for case in split["unlabeled"]) == 4
        assert (done.folder / "pictures" / "synthetic.png").is_file()
    if protocol == "similar":
        assert {case[0] for case in split["unlabeled"]} == {"tus", "tnscui2020"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "protocol", "more"), [("bus-bra", "self", ()), ("hc18", "self", ()), ("msd-hippocampus", "ssmis", ())]
)
def test_real_files_run(tmp_path: Path, dataset: str, protocol: str, more: tuple[str, ...]) -> None:
    folder = {"bus-bra": "BUSBRA", "hc18": "HC18", "msd-hippocampus": "Task04_Hippocampus"}[dataset]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / dataset).symlink_to(real_data(folder))
    done = run(
        tmp_path / "runs",
        protocol,
        dataset,
        settings=more,
        phantom="never",
        data_root=tmp_path / "data",
        conventions=("semibench-1",),
    )
    assert done.record.phantom is False
    assert pd.read_parquet(done.folder / "scores.parquet")["value"].notna().any()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(tmp_path_factory.mktemp("finished"), method="supervised")


def test_a_finished_run_is_not_run_again(finished: Result) -> None:
    before = (finished.folder / "result.json").stat().st_mtime_ns
    again = run(finished.folder.parent, method="supervised")
    assert again.new is False
    assert again.record == finished.record
    assert (finished.folder / "result.json").stat().st_mtime_ns == before


def test_the_same_spec_gives_the_same_digits(finished: Result, tmp_path: Path) -> None:
    assert digits(run(tmp_path, method="supervised").folder) == digits(finished.folder)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"draw": 1},
        {"settings": (*FEW, "lr=0.5")},
        {"settings": (*FEW, "sup=2")},
        {"settings": ("phantom.cases=91", FEW[1])},
    ],
)
def test_what_decides_the_digits_is_in_the_key(finished: Result, change: dict[str, Any]) -> None:
    plan = prepare(request(finished.folder.parent, **({"method": "supervised"} | change)), estimate=False)
    assert plan.key != finished.record.key
    assert plan.state == "new"


def test_where_things_lie_is_not_in_the_key(finished: Result, tmp_path: Path) -> None:
    plan = prepare(
        request(tmp_path / "elsewhere", method="supervised", keep_predictions=False, conventions=("mgcc-2023",)),
        estimate=False,
    )
    assert plan.key == finished.record.key


def test_changed_code_makes_a_run_stale(finished: Result, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / finished.folder.name
    shutil.copytree(finished.folder, copy)
    record = json.loads((copy / "provenance.json").read_text())
    record["plugins"]["method"]["source"] = "other"
    (copy / "provenance.json").write_text(json.dumps(record))
    plan = prepare(request(tmp_path, method="supervised"), estimate=False)
    assert plan.state == "stale"
    assert "supervised" in plan.reasons[0]


def test_another_run_in_the_folder_is_refused(finished: Result, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / finished.folder.name
    shutil.copytree(finished.folder, copy)
    spec = json.loads((copy / "spec.json").read_text())
    spec["replicate"]["seed"] = 99
    (copy / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(IdentityError, match="holds another run"):
        prepare(request(tmp_path, method="supervised"), estimate=False)


KILLED = """
import os, signal, sys
from pathlib import Path
import semibench.matrix.warm  # everything that a run imports, once for all that are killed
from semibench.run.execute import execute
from semibench.run.prepare import prepare
from semibench.run.request import Request
from semibench.training import loop

original = loop._Training.iterate
def killed_before(last):
    def iterate(self, plan, step, iteration):
        if iteration == last:
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, plan, step, iteration)
    return iterate

request = Request(protocol="self", dataset="tus", method="bcp", recipe="smoke", runs=Path(sys.argv[1]), track=False,
    settings=tuple(sys.argv[2:]))
for last in (1, 2, 5):
    process = os.fork()
    if process == 0:
        loop._Training.iterate = killed_before(last)
        execute(prepare(request, estimate=False))
        os._exit(0)
    status = os.waitpid(process, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (last, status)
"""


@pytest.mark.slow
def test_killed_in_every_stage_and_resumed_gives_the_same_digits(tmp_path: Path) -> None:
    """BCP has two stages (2 + 6 of 8 iterations); a process is killed for real before each of the iterations 1, 2 and 5."""
    settings = (*FEW, "iterations=8", "checkpoint_every=1")
    whole = run(tmp_path / "whole", method="bcp", settings=settings)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "cut"), *settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    plan = prepare(request(tmp_path / "cut", method="bcp", settings=settings), estimate=False)
    assert plan.state == "resumable"
    resumed = execute(plan)
    assert digits(resumed.folder) == digits(whole.folder)
    assert resumed.record.training.iterations == 8


def test_ctrl_c_leaves_a_resumable_run(tmp_path: Path) -> None:
    settings = (*FEW, "iterations=2000", "evaluate_every=0")
    words = ["run", "-p", "self", "-d", "tus", "-m", "supervised", "-r", "smoke", "--runs", str(tmp_path), "--no-track"]
    process = Forked([*words, *(word for setting in settings for word in ("--set", setting))], tmp_path, os.environ)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*/checkpoints/last.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 1
    status = json.loads(next(tmp_path.glob("*/status.json")).read_text())
    assert status["state"] == "interrupted"
    assert prepare(request(tmp_path, method="supervised", settings=settings), estimate=False).state == "resumable"


def test_a_loss_that_is_no_number_fails_the_run_and_says_so(tmp_path: Path) -> None:
    from semibench import DivergedError

    plan = prepare(request(tmp_path, method="supervised", settings=(*FEW, "lr=1e6", "iterations=40")), estimate=False)
    with pytest.raises(DivergedError, match=r"step"):
        execute(plan)
    status = json.loads((plan.folder / "status.json").read_text())
    assert status["state"] == "failed"
    assert "DivergedError" in status["error"]
    assert not (plan.folder / "result.json").exists()


def test_a_detached_loss_fails_the_run_without_a_traceback(tmp_path: Path) -> None:
    words = ["run", "-p", "self", "-d", "discs", "-m", "trouble", "-r", "tiny", "--phantom", "--no-track",
             "--set", "how=detach"]  # fmt: skip
    done = bench_forked(*words, folder=tmp_path, environment=install(tmp_path / "plugin"))
    said = in_one_line(done.stderr)
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    assert "no parameter of the optimiser 'main' got a gradient from its losses sup" in said, said
    status = json.loads(next(tmp_path.rglob("status.json")).read_text())
    assert status["state"] == "failed" and not list(tmp_path.rglob("result.json"))


def test_no_phantom_prints_the_expected_tree(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="Dataset_BUSI_with_GT"):
        prepare(request(tmp_path, dataset="busi", phantom="never"), estimate=False)


def test_a_phantom_is_announced(tmp_path: Path) -> None:
    said: list[str] = []

    class Listener(Reporter):
        def warn(self, message: str) -> None:
            said.append(message)

    prepare(request(tmp_path), Listener(), estimate=False)
    assert any("PHANTOM" in message and "SEMIBENCH_DATA" in message for message in said)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"method": "mean-techer"}, UsageError, "Did you mean 'mean-teacher'"),
        ({"recipe": "quik"}, UsageError, "Did you mean 'quick'"),
        ({"settings": ("lrr=1",)}, UsageError, "Did you mean 'lr'"),
        ({"settings": ("lr=-1",)}, UsageError, "greater than 0"),
        ({"fold": 3}, UsageError, "folds"),
        ({"dims": 3}, UsageError, "3D network"),
        ({"protocol": "umda"}, UnsupportedError, "same domain|source|target"),
        ({"device": "cuda:77"}, UsageError, "device"),
        ({"conventions": ("la-sliding",)}, UsageError, "la-sliding"),
    ],
)
def test_wrong_requests_say_what_to_do(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    if change.get("protocol") == "umda":
        change = change | {"settings": (*FEW, "source=machine-1", "target=machine-1")}
    with pytest.raises(error, match=words):
        execute(prepare(request(tmp_path, **change), estimate=False))


def test_the_plan_tells_cases_and_time(tmp_path: Path) -> None:
    summary = prepare(request(tmp_path)).summary()
    assert summary.data == "phantom"
    assert sum(pool.cases for pool in summary.cases.values()) == 90
    assert (summary.estimate.training_seconds or 0) > 0
