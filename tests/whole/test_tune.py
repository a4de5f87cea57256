"""`bench tune`: what is searched, on which cases, what survives a kill, and what a tuned run is."""

from __future__ import annotations

import json
import math
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field
from support.matrix_support import Bench

from semibench import CaseRef, IdentityError, MethodOptions, Split, Term, UnknownNameError, UsageError, tunable
from semibench.protocols.ordering import group_of
from semibench.run.request import Request
from semibench.run.resolve import resolve
from semibench.run.tuned import Tuned, find_tuned, read_tuned, with_tuned
from semibench.tuning.space import build_space, parse_ranges
from semibench.tuning.spec import StudySpec
from semibench.tuning.study import Study, work
from semibench.tuning.trial import run_trial, with_validation

TERMS = {
    "sup": Term(),
    "a": Term(0.1, search=(0.01, 1.0)),
    "b": Term(0.5, search=(0.1, 5.0)),
    "off": Term(0.0, search=(0.1, 1.0)),
}
WEIGHTS = {name: term.weight for name, term in TERMS.items()}


class Options(MethodOptions, frozen=True, extra="forbid"):
    decay: float = tunable(0.99, 0.9, 0.999, ge=0, le=1)
    blocks: int = tunable(4, 2, 8)
    mode: str = tunable("soft", choices=("soft", "hard"))
    other: float = Field(1.0)


def names(**more: Any) -> list[str]:
    return [one.name for one in build_space(TERMS, WEIGHTS, Options(), **more)]


def test_what_is_searched() -> None:
    assert names() == ["a", "b", "decay", "blocks", "mode"]  # no range: sup; switched off: off; not tunable: other
    assert names(only=["b", "off"]) == ["b", "off"]
    assert names(ranges={"sup": (0.1, 2.0)}) == ["a", "b", "decay", "blocks", "mode", "sup"]
    assert names(fixed=["term.a", "decay", "b.weight"]) == ["blocks", "mode"]
    found = {one.name: one for one in build_space(TERMS, WEIGHTS, Options(), ranges={"a": (0.2, 0.3)})}
    assert (found["a"].low, found["a"].high, found["a"].setting, found["a"].log) == (0.2, 0.3, "term.a.weight", True)
    assert found["decay"].setting == "method.decay" and not found["decay"].log
    assert found["blocks"].grid() == [2, 4, 5, 6, 8]
    assert found["mode"].grid() == ["soft", "hard"]
    ratios = [high / low for low, high in zip(found["b"].grid(), found["b"].grid()[1:], strict=False)]
    assert ratios == pytest.approx([50**0.25] * 4)  # a logarithmic grid has equal ratios


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"only": ["c"]}, "'c'"),
        ({"only": ["sup"]}, "nothing to search"),
        ({"ranges": {"a": (1.0, 0.1)}}, "the smaller first"),
        ({"ranges": {"a": (0.0, 0.1)}}, "greater than 0"),
        ({"ranges": {"mode": (0.0, 0.1)}}, "one of soft, hard"),
        ({"only": ["a"], "fixed": ["a"]}, "both set with --set and searched"),
    ],
)
def test_wrong_spaces_are_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises((UsageError, UnknownNameError), match=message):
        names(**more)
    with pytest.raises(UsageError, match="lo:hi"):
        parse_ranges(["a=1"])
    with pytest.raises(ValueError, match="low < high"):
        tunable(1.0, 2.0, 1.0)


def cases(count: int, groups: int, start: int = 0) -> tuple[CaseRef, ...]:
    return tuple(CaseRef("d", f"{n:03}", f"g{n % groups + start}", "x", True) for n in range(start, start + count))


def test_validation_cases_are_whole_groups_of_the_labeled_ones_and_no_test_case_is_left() -> None:
    split = Split(labeled=cases(20, 10), unlabeled=cases(6, 3, 100), validation=(), test=cases(5, 5, 200))
    made = with_validation(split, draw=3)
    assert made.test == () and made.validation_from == "labeled"
    assert sorted(made.labeled + made.validation, key=lambda ref: ref.id) == sorted(
        split.labeled, key=lambda ref: ref.id
    )
    trained, validated = {group_of(ref) for ref in made.labeled}, {group_of(ref) for ref in made.validation}
    assert not trained & validated and len(validated) == 2  # a fifth of ten groups
    assert with_validation(split, draw=3) == made
    kept = Split(cases(4, 4), (), cases(2, 2, 50), cases(5, 5, 200), "official")
    assert with_validation(kept, 0).validation == kept.validation and with_validation(kept, 0).labeled == kept.labeled
    with pytest.raises(UsageError, match="only labeled group"):
        with_validation(Split(cases(3, 1), (), (), ()), 0)


FIELDS: dict[str, Any] = {
    "protocol": "self", "dataset": "tus", "method": "mean-teacher", "backbone": "unet", "recipe": "smoke", "preset": None,
    "dims": None,
    "draw": 0, "fold": None, "seed": 0, "phantom": "always", "data_root": None, "weights": None,
    "settings": ("phantom.cases=80", "patch=[32, 32]", "iterations=4", "evaluate_every=2", "evaluate_cases=2"),
}  # fmt: skip


def spec(name: str, **more: Any) -> StudySpec:
    resolved = resolve(Request(**FIELDS, track=False))
    space = build_space(resolved.options.method.terms, {"consistency": 0.1}, resolved.options.method_options)
    values = {
        "name": name, "request": FIELDS, "space": tuple(space), "pruner": "none", "labels": 10, "labels_from": "unlabeled",
        "phantom": True, "method": "mean-teacher", "backbone": "unet", "iterations": 4,
    }  # fmt: skip
    return StudySpec.model_validate({**values, **more})


def tried(study: Study) -> list[tuple[dict[str, Any], float | None]]:
    return [(trial.params, trial.value) for trial in study.optuna.get_trials()]


def test_a_trial_never_reads_a_test_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from semibench.blocks import PhantomDataset
    from semibench.run.prepare import draw_split

    request = Request(
        **{**FIELDS, "draw": 5}, track=False, runs=tmp_path
    )  # another draw than other tests: nothing is decoded yet
    split, _ = draw_split(resolve(request))
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path / "cache"))
    read: set[str] = set()
    for name in ("read", "truth"):
        original = getattr(PhantomDataset, name)

        def noted(self: Any, ref: CaseRef, original: Any = original) -> Any:
            read.add(ref.id)
            return original(self, ref)

        monkeypatch.setattr(PhantomDataset, name, noted)
    steps: list[int] = []
    result = run_trial(request, tmp_path / "trial", lambda value, step: steps.append(step) or False, _quiet())
    assert {ref.id for ref in split.labeled} <= read
    assert not read & {ref.id for ref in split.test}
    assert steps == [2, 4] and 0.0 <= result["value"] <= 1.0


def _quiet() -> Any:
    from semibench.reporting import Reporter

    return Reporter()


@pytest.mark.slow
def test_a_continued_study_is_the_uninterrupted_one(tmp_path: Path) -> None:
    straight = Study.open(spec("straight"), tmp_path)
    assert work(straight, 3) == 3
    parts = Study.open(spec("parts"), tmp_path)
    assert work(parts, 1) == 1
    again = Study.join("parts", tmp_path)
    assert work(again, 3) == 2
    assert tried(again) == tried(straight)
    assert (
        len({params["consistency"] for params, _ in tried(straight)}) == 3
    )  # not the same random number again and again
    assert work(again, 3) == 0
    with pytest.raises(IdentityError, match="sampler: 'tpe' there, 'random' here"):
        Study.open(spec("parts", sampler="random"), tmp_path)
    with pytest.raises(UsageError, match="known: parts, straight"):
        Study.join("else", tmp_path)


def test_failing_trials_are_told_and_end_the_study_when_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semibench.tuning import study as module

    study = Study.open(spec("failing"), tmp_path)
    outcomes = iter([RuntimeError("first"), {"value": 0.5}, *[RuntimeError("again")] * 10])

    def act(*_: Any) -> Any:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(module, "run_trial", act)
    with pytest.raises(Exception, match="6 trials failed in a row; the last: RuntimeError: again"):
        work(study, 30)
    progress = study.progress()
    assert (progress.completed, progress.failed, progress.best) == (1, 7, 0.5)
    assert study.freeze() is not None


def test_pruning_the_grid_and_every_sampler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from semibench.tuning import study as module

    def act(request: Request, folder: Path, report: Any, reporter: Any) -> dict[str, float]:
        weight = float(next(text for text in request.settings if text.startswith("term.consistency")).split("=")[1])
        value = 1.0 - abs(math.log10(weight))  # best at 1
        for step in (1, 2, 3, 4):
            if report(value * step / 4, step):
                raise module.Pruned
        return {"value": value}

    monkeypatch.setattr(module, "run_trial", act)
    grid = Study.open(spec("grid", sampler="grid"), tmp_path)
    assert work(grid, 100) == 5  # the points of the grid, then it ends by itself
    for sampler in ("tpe", "cmaes", "gp", "random"):
        study = Study.open(spec(sampler, sampler=sampler, pruner="median"), tmp_path)
        work(study, 16)
        progress = study.progress()
        assert progress.finished == 16
        assert progress.best is not None and progress.best > 0.5
        if sampler == "random":
            assert progress.pruned > 0
    assert 10 ** -abs(1 - Study.join("tpe", tmp_path).progress().best) > 0.75  # type: ignore[operator]


def frozen(**more: Any) -> Tuned:
    values = {
        "study": "s", "protocol": "self", "dataset": "tus", "phantom": True, "method": "mean-teacher", "backbone": "unet",
        "recipe": "smoke", "settings": {"term.consistency.weight": 0.7}, "best_trial": 1, "validation": 0.5, "trials": 12,
        "completed": 10, "pruned": 2, "seconds": 60.0, "labels": 10, "labels_from": "unlabeled",
    }  # fmt: skip
    return Tuned.model_validate({**values, **more})


def test_a_tuned_run_is_told_from_an_untuned_one(tmp_path: Path) -> None:
    path = tmp_path / "tuned.json"
    path.write_text(json.dumps(frozen().model_dump(mode="json")), encoding="utf-8")
    plain = resolve(Request(**FIELDS, track=False))
    tuned = resolve(Request(**FIELDS, track=False, tuned=path))
    assert tuned.spec.track.tuning == "validation:12" and plain.spec.track.tuning == "default"
    assert tuned.spec.entry.terms["consistency"]["weight"] == 0.7
    assert tuned.spec.track.digest() != plain.spec.track.digest()
    assert tuned.tuning is not None and tuned.tuning["id"] == frozen().id and tuned.tuning["trials"] == 12
    assert frozen(settings={"term.consistency.weight": 0.8}).id != frozen().id
    for more, message in (({"dataset": "busi"}, "data set 'tus'"), ({"method": "cps"}, "method 'mean-teacher'")):
        with pytest.raises(UsageError, match=message):
            resolve(Request(**{**FIELDS, **more}, track=False, tuned=path))
    for name in ("term.consistency", "term.consistency.weight", "consistency"):
        with pytest.raises(UsageError, match="leave one of them out"):
            with_tuned({name: 1}, frozen(), protocol="self", dataset="tus", method="mean-teacher")
    with pytest.raises(UsageError, match=r"no tuned\.json"):
        find_tuned("nothing", tmp_path)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="expected a file written by `bench tune`"):
        read_tuned(path)


@pytest.mark.slow
def test_a_killed_study_goes_on_with_two_processes_and_its_best_is_run(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tracked=True)
    # long enough steps, and enough of them, that no two weights give the same Dice
    base = (
        "-p",
        "self",
        "-d",
        "discs",
        "-m",
        "trouble",
        "-r",
        "tiny",
        "--phantom",
        "--set",
        "lr=1",
        "--set",
        "iterations=6",
    )
    process = bench.start("tune", *base, "--study", "s", "--trials", "6", "--set", "sleep=0.5")
    deadline = time.monotonic() + 240
    while not (tmp_path / "studies" / "s" / "trials" / "0002").is_dir() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    study = Study.join("s", tmp_path / "studies")
    before = study.progress()
    assert before.running == 1 and before.finished >= 2
    told = bench.call("tune", "--join", "s", "--trials", "6", "--jobs", "2", "--json")
    record = json.loads(told.stdout)
    assert "was killed while running" in told.stderr
    after = Study.join("s", tmp_path / "studies").progress()
    assert (after.finished, after.running, after.failed) == (6, 0, 1)
    killed = [trial for trial in study.optuna.get_trials() if trial.state.name == "FAIL"]
    assert any(
        trial.params == killed[0].params
        for trial in study.optuna.get_trials()
        if trial.state.is_finished() and trial.value
    )
    assert record["finished"] and set(record["tuned"]["settings"]) == {"term.sup.weight"}
    assert {path.name for path in (tmp_path / "studies" / "s" / "plots").iterdir()} >= {"history.png", "slices.png"}

    run = json.loads(bench.call("run", *base, "--set", "sleep=0", "--tuned", "s", "--json").stdout)
    assert run["tuning"]["study"] == "s" and run["tuning"]["trials"] == 6 and run["tuning"]["seconds"] > 0

    from semibench.tracking import open_store

    client = open_store(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tuning: self / discs")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [one for one in runs if one.data.tags.get("semibench.kind") == "study"]
    trials = [one for one in runs if one.data.tags.get("semibench.kind") == "trial"]
    assert len(parents) == 1 and len(trials) >= 5
    assert {one.data.tags["mlflow.parentRunId"] for one in trials} == {parents[0].info.run_id}
    assert parents[0].data.metrics["trials"] == 6
