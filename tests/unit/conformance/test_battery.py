"""The battery as a list of checks: every check says what must hold, names are looked up, known failures carry their reason."""

from __future__ import annotations

import pytest

from semibench import UnknownNameError, UsageError, conformance
from semibench.conformance import battery, checks_of
from semibench.conformance.battery import CHECKS
from semibench.contracts.deprecation import DEPRECATIONS


def test_every_check_says_what_must_hold() -> None:
    assert all(function.__doc__ for checks in CHECKS.values() for function in checks.values())


def test_names_are_looked_up_with_hints() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'mean-teacher'"):
        checks_of("mean-techer")
    with pytest.raises(UnknownNameError, match="kind with a battery"):
        checks_of("mean-teacher", "engine")
    with pytest.raises(UsageError, match="no_such_fact"):
        checks_of("self", known={"no_such_fact": "why"})


def test_a_battery_of_all_kinds_and_its_old_form() -> None:
    kinds = {check.kind for check in battery()}
    assert kinds == set(CHECKS) - {"split"}, "Semibench has no splits of other packages' data sets"
    new = [str(check) for check in battery({"method": ["supervised"], "backbone": ["vnet"]})]
    with pytest.warns(DeprecationWarning) as warned:
        assert [str(check) for check in battery(methods=["supervised"], backbones=["vnet"])] == new
    assert [str(DEPRECATIONS[f"battery({kind}s=...)"]) for kind in ("method", "backbone")] == [
        str(one.message) for one in warned
    ]
    assert all(one.filename == __file__ for one in warned), "the warning points at who uses the old form"
    with pytest.raises(UnknownNameError, match="kind with a battery"):
        battery({"engine": None})


def test_a_known_failure_carries_its_reason() -> None:
    (check,) = [check for check in checks_of("self", known={"draws_differ": "why"}) if check.known]
    assert (check.fact, check.known) == ("draws_differ", "why")


def test_a_method_is_checked_in_each_of_its_dims() -> None:
    checks = battery({"method": ["supervised"]})
    assert {str(check) for check in checks} >= {
        "method-supervised-2d-empty_foreground",
        "method-supervised-3d-presets_are_valid",
    }
    assert all(check.kind == "method" for check in checks)
    assert {check.kind for check in battery({"backbone": ["vnet"]})} == {"backbone"}


@pytest.mark.parametrize(("old", "new"), sorted(conformance._RENAMED.items()))
def test_an_old_name_of_a_subject_works_and_warns(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning) as warned:
        found = getattr(conformance, old)
    assert found is getattr(conformance, new) and new in conformance.__all__
    assert [str(one.message) for one in warned] == [str(DEPRECATIONS[f"semibench.conformance.{old}"])]
    assert warned[0].filename == __file__, "the warning points at who uses the old name"


def test_the_old_attribute_of_a_check_works_and_warns() -> None:
    check = checks_of("self")[0]
    with pytest.warns(DeprecationWarning, match=r"use BoundCheck\.subject") as warned:
        assert check.case is check.subject
    assert warned[0].filename == __file__


def test_a_name_that_never_existed_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'RecipeCase'"):
        _ = conformance.RecipeCase
