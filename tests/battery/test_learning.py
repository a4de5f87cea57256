"""Whether the built-in methods learn. 18 s a method, so only methods whose code isn't in `learning_record.json` are trained;
`tox -e learning` (`pytest --learn`) trains all of them and writes the record anew."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from semibench.registry import registry

NAMES = [item.name for item in registry().cards("methods") if item.distribution == "semibench"]


def learning_checks(name: str) -> list[Any]:
    """The checks of learning of a method; they share one case and what it trained."""
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
def test_every_built_in_learns(name: str, pytestconfig: pytest.Config) -> None:
    """A known failure is to fail: where it no longer does, its declaration goes. Outcomes from the record are judged alike."""
    from support import learning_record

    checks = learning_checks(name)
    case = checks[0].case
    everything = pytestconfig.getoption("--learn")
    recorded = not everything and learning_record.use(name, case)
    failed, declared = failed_and_declared(checks)
    if everything:
        learning_record.write(name, case)
        learning_record.drop_others(set(NAMES))
    elif not recorded:
        warnings.warn(f"{name} was trained: its code isn't in the record; `tox -e learning` writes it", stacklevel=1)
    assert set(failed) == declared, failed


def test_the_record_holds_built_in_methods_only() -> None:
    from support import learning_record

    assert set(learning_record.read()) <= set(NAMES)


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A record of its own, for tests to change."""
    from support import learning_record

    monkeypatch.setattr(learning_record, "RECORD", tmp_path / "record.json")
    return tmp_path / "record.json"


def test_a_recorded_outcome_is_used_and_judged(record: Path) -> None:
    from support import learning_record

    good = learning_checks("cps")
    good[0].case.__dict__.update(own=0.8, reference=0.7, chance=0.2)
    learning_record.write("cps", good[0].case)
    again = learning_checks("cps")
    assert learning_record.use("cps", again[0].case)
    assert again[0].case.own == 0.8
    assert failed_and_declared(again)[0] == {}

    content = json.loads(record.read_text(encoding="utf-8"))
    content["cps"]["own"] = 0.1  # an outcome that doesn't hold is an error though nothing is trained
    record.write_text(json.dumps(content), encoding="utf-8")
    worse = learning_checks("cps")
    assert learning_record.use("cps", worse[0].case)
    assert set(failed_and_declared(worse)[0]) == {"beats_chance", "unlabeled_samples_help"}


def test_changed_code_is_not_in_the_record(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from support import learning_record

    checks = learning_checks("cps")
    case = checks[0].case
    case.__dict__.update(own=0.8, reference=0.7, chance=0.2)
    learning_record.write("cps", case)
    path = Path(__import__(case.small.method.__module__, fromlist=["x"]).__file__)
    source = path.read_text(encoding="utf-8")
    read_text = Path.read_text

    def with_source(text: str) -> bool:
        """Whether the record knows the method with this source."""
        monkeypatch.setattr(Path, "read_text", lambda self, **given: text if self == path else read_text(self, **given))
        learning_record.substance.cache_clear()
        try:
            return learning_record.use("cps", learning_checks("cps")[0].case)
        finally:
            monkeypatch.setattr(Path, "read_text", read_text)
            learning_record.substance.cache_clear()

    assert with_source(source)
    assert with_source(f"{source}\n# a comment\n")
    assert with_source(f"import math\n{source}".replace("from __future__ import annotations", ""))
    assert not with_source(f"{source}\nFACTOR = 2.0\n")
    assert not with_source(source.replace("sup[0] + sup[1]", "sup[0] - sup[1]"))


@pytest.mark.parametrize(
    "module",
    ["semibench.training.loop", "semibench.training.optimise", "semibench.conformance.learning", "semibench.conformance.data",
     "semibench.blocks.losses", "semibench.contracts.method", "semibench_plugins.backbones.unet"],
)  # fmt: skip
def test_the_code_that_decides_is_reached(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest moves with each of them."""
    from support import learning_record

    case = learning_checks("cps")[0].case
    before = learning_record.code_digest(case)
    real = learning_record.substance
    monkeypatch.setattr(
        learning_record, "substance", lambda name: ("changed", real(name)[1]) if name == module else real(name)
    )
    assert learning_record.code_digest(case) != before
