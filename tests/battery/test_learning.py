"""Whether the built-in methods learn. Training takes long, so only methods whose code isn't in `learning_record.json` are trained;
`tox -e learning` (`pytest --learn --learn-seeds 3`) trains all of them and writes the record anew. The verdict is on seed 0; the
others are for docs/methods.md."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from semibench.discovery.registry import registry

NAMES = [
    item.name
    for item in registry().cards("methods")
    if item.distribution == "semibench" and item.card.reference != "no image"
]

SCENES = "unlabeled scenes"
FORMS = {"la-8-ramp-unsupervised": (0.75, 1.0), "la-8-printed": (0.0, 0.25)}
"""Preset of Diff-CL -> bounds of the Dice with its weights of the terms."""
RECORDED = {*NAMES, SCENES, *(f"diff-cl {preset}" for preset in FORMS)}
Figures = dict[str, Any]
Trained = Callable[[str, str, Callable[[], Figures]], Figures]


@pytest.fixture
def trained(pytestconfig: pytest.Config) -> Trained:
    """Figures of a training by name and code: from the record, or else by training."""
    from support import learning_record

    def figures(name: str, code: str, train: Callable[[], Figures]) -> Figures:
        anew = pytestconfig.getoption("--learn")
        found = None if anew else learning_record.known(name, code)
        if found is not None:
            return found
        found = train()
        if anew:
            learning_record.write(name, code, found, among=RECORDED)
        else:
            warnings.warn(
                f"{name} was trained: its code isn't in the record; `tox -e learning` writes it", stacklevel=2
            )
        return found

    return figures


def figures_of(subject: Any, *, unlabeled: bool, seeds: int = 1) -> Figures:
    """What the record keeps of a `LearningSubject`: the Dice of each predictor with both kinds of running statistics, of
    calling everything foreground, and, as information, of its network on the labels alone. seeds: the figures of seeds 1 to
    `seeds` - 1 are kept as "further"."""
    reference = {"reference": subject.reference} if unlabeled else {}
    others = {str(seed): {"predictors": predictors_of(replace(subject, seeds=(seed,)))} for seed in range(1, seeds)}
    further = {"further": others} if others else {}
    return {"predictors": predictors_of(subject), **reference, "chance": subject.chance, **further}


def predictors_of(subject: Any) -> Figures:
    """Trains, and returns the Dice of each predictor."""
    return {name: asdict(outcome) for name, outcome in subject.outcomes.items()}


def recall(subject: Any, figures: Mapping[str, Any]) -> None:
    """Gives a `LearningSubject` what the record keeps, so that it trains nothing."""
    from semibench.conformance.learning import Outcome

    outcomes = {name: Outcome(**values) for name, values in figures["predictors"].items()}
    subject.__dict__.update(outcomes=outcomes, chance=figures["chance"])


def code_of(subject: Any) -> str:
    """Of everything that decides whether the method of a `LearningSubject` learns."""
    from support import learning_record

    return learning_record.code_of(subject.small)


def learning_checks(name: str) -> list[Any]:
    """The checks of learning of a method; they share one subject and what it trained."""
    from semibench.conformance import checks_of
    from semibench.conformance.learning import LEARNING_CHECKS

    return [check for check in checks_of(name, "method", slow=True) if check.fact in LEARNING_CHECKS]


def failed_and_declared(checks: list[Any]) -> tuple[dict[str, str], set[str]]:
    """Facts that fail, with the reason, and those that are declared as known failures."""
    reasons = {check.fact: check.reason() for check in checks}
    failed = {fact: reason for fact, reason in reasons.items() if reason is not None}
    return failed, {check.fact for check in checks if check.known}


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_built_in_learns(name: str, trained: Trained, pytestconfig: pytest.Config) -> None:
    """A known failure is to fail: where it no longer does, its declaration goes. Outcomes from the record are judged alike."""
    checks = learning_checks(name)
    subject, unlabeled = checks[0].subject, registry().get("methods", name).card.uses_unlabeled
    seeds = pytestconfig.getoption("--learn-seeds")
    recall(subject, trained(name, code_of(subject), lambda: figures_of(subject, unlabeled=unlabeled, seeds=seeds)))
    failed, declared = failed_and_declared(checks)
    assert set(failed) == declared, failed


@pytest.mark.no_cover
@pytest.mark.slow
def test_unlabeled_scenes_help(trained: Trained) -> None:
    """Means over three seeds, equal budget. Seen: supervised .51, mean teacher .65, BCP .55; seed by seed mean teacher is
    ahead by .09 to .17, BCP by -.11 to .12 (a quarter of its 200 iterations is pre-training)."""
    from support import scenes
    from support.learning_record import code_digest

    code = code_digest([*scenes.modules(), "semibench.training.loop"], [Path(scenes.__file__)])
    means = trained(SCENES, code, scenes.means)
    assert means["mean-teacher"] > means["supervised"] + 0.05, means
    assert means["bcp"] > means["supervised"], means


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("preset", FORMS)
def test_which_forms_of_diff_cl_learn(preset: str, trained: Trained) -> None:
    """Three labels, blobs on strong noise, one seed. As printed both networks soon call everything foreground, Dice .19. (The
    default, "ce", is one of the built-in methods above.)"""
    from support.learning_record import code_digest

    from semibench.conformance import MethodSubject
    from semibench.conformance.learning import LearningSubject
    from semibench.contracts.schedule import Term
    from semibench.run.settings import term_records
    from semibench_plugins.backbones.unet import UNet
    from semibench_plugins.methods.systems.diff_cl.method import DiffCL

    records = term_records(DiffCL.terms, DiffCL.presets[preset]["terms"])
    terms = {name: Term.restore(record) for name, record in records.items()}
    subject = LearningSubject(MethodSubject(type("InThisForm", (DiffCL,), {"terms": terms}), UNet))
    code = code_digest([DiffCL.__module__, UNet.__module__, LearningSubject.__module__])
    low, high = FORMS[preset]
    dice = trained(f"diff-cl {preset}", code, lambda: {"dice": subject.own})["dice"]
    assert low <= dice <= high, dice


# The record itself


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A record of its own, for tests to change."""
    from support import learning_record

    monkeypatch.setattr(learning_record, "RECORD", tmp_path / "record.json")
    return tmp_path / "record.json"


def test_the_record_holds_what_there_is() -> None:
    from support import learning_record

    assert set(learning_record.read()) <= RECORDED


def test_a_recorded_outcome_is_used_and_judged(record: Path) -> None:
    from support import learning_record

    assert learning_record.known("cps", "a") is None
    outcomes = {"cps": (0.8, 0.81), "gone": (0.8, 0.8), "mean-teacher": (0.1, 0.7)}
    for name, (saved, estimated) in outcomes.items():
        figures = {"predictors": {"main": {"saved": saved, "estimated": estimated}}, "reference": 0.7, "chance": 0.2}
        learning_record.write(name, "a", figures, NAMES)
    assert set(learning_record.read()) == {"cps", "mean-teacher"}
    assert learning_record.known("cps", "b") is None, "other code"
    found = {}
    for name in ("cps", "mean-teacher"):
        checks = learning_checks(name)
        recall(checks[0].subject, learning_record.known(name, "a"))
        found[name] = set(failed_and_declared(checks)[0])
    assert found == {"cps": set(), "mean-teacher": {"beats_chance", "running_statistics_fit"}}


def test_changed_code_has_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    from support import learning_record

    subject = learning_checks("cps")[0].subject
    path = Path(__import__(subject.small.method.__module__, fromlist=["x"]).__file__)
    source, read_text = path.read_text(encoding="utf-8"), Path.read_text

    def with_source(text: str) -> str:
        monkeypatch.setattr(Path, "read_text", lambda self, **given: text if self == path else read_text(self, **given))
        learning_record.substance.cache_clear()
        try:
            return code_of(subject)
        finally:
            monkeypatch.setattr(Path, "read_text", read_text)
            learning_record.substance.cache_clear()

    same = with_source(source)
    assert same == code_of(subject)
    assert same == with_source(f"{source}\n# a comment\n")
    assert same == with_source(source.replace("from __future__ import annotations", "import math"))
    assert same != with_source(f"{source}\nFACTOR = 2.0\n")
    assert same != with_source(source.replace("sup[0] + sup[1]", "sup[0] - sup[1]"))


@pytest.mark.parametrize(
    "module",
    ["semibench.training.loop", "semibench.training.optimise", "semibench.conformance.learning", "semibench.conformance.data",
     "semibench.blocks.losses", "semibench.contracts.method", "semibench_plugins.backbones.unet"],
)  # fmt: skip
def test_the_code_that_decides_is_reached(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest moves with each of them."""
    from support import learning_record

    subject = learning_checks("cps")[0].subject
    before = code_of(subject)
    real = learning_record.substance
    monkeypatch.setattr(
        learning_record, "substance", lambda name: ("changed", real(name)[1]) if name == module else real(name)
    )
    assert code_of(subject) != before
