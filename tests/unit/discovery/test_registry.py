"""Discovery: a broken plugin is one named problem and takes no healthy one down."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest

from semibench import BackboneCard, MethodCard, PluginError, UnknownNameError, UsageError, hookimpl
from semibench.contracts.cards import API
from semibench.discovery.registry import KINDS, Registry, Source, registry


def plugin(**hooks: Callable[..., Any]) -> types.SimpleNamespace:
    return types.SimpleNamespace(**{name: hookimpl(function) for name, function in hooks.items()})


def source(name: str, loaded: Any, distribution: str | None = None) -> Source:
    def load() -> Any:
        if isinstance(loaded, Exception):
            raise loaded
        return loaded

    return Source(distribution or f"dist-{name}", "1.0", name, f"{name}_package.cards", load)


def method(name: str, **more: Any) -> MethodCard:
    return MethodCard(name=name, title=name, load=more.pop("load", "semibench.contracts.method:Method"), **more)


def methods(*cards: Any) -> types.SimpleNamespace:
    return plugin(semibench_methods=lambda: list(cards))


HEALTHY = source("healthy", methods(method("good")))


def outcomes(found: Registry) -> list[str]:
    return [problem.outcome for problem in found.problems]


def no_cards() -> list[MethodCard]:
    return []


def raising() -> list[MethodCard]:
    raise RuntimeError("no licence file")


BROKEN = {
    "import": (source("bad", ImportError("no module named numpyy")), "numpyy"),
    "misspelt": (source("bad", plugin(semibench_metods=no_cards)), "did you mean 'semibench_methods'"),
    "raised": (source("bad", plugin(semibench_methods=raising)), "no licence file"),
    "card": (source("bad", methods(BackboneCard(name="net", title="n", load="a:B"))), "MethodCard"),
    "api": (source("bad", methods(method("future", api=API + 1))), "update Semibench"),
    "duplicate": (source("bad", methods(method("twin"), method("twin"))), "2 times in one distribution"),
    "empty": (source("bad", types.SimpleNamespace()), "no function marked"),
    "hook": (source("bad", plugin(semibench_methods=lambda wrong: [])), "pluggy rejects"),
}


@pytest.mark.parametrize("outcome", BROKEN)
def test_each_fault_is_its_own_problem_and_the_healthy_stay_up(outcome: str) -> None:
    bad, words = BROKEN[outcome]
    found = Registry([bad, HEALTHY])
    assert outcomes(found) == [outcome]
    assert words in str(found.problems[0])
    assert "dist-bad" in str(found.problems[0])
    assert [item.full_name for item in found.cards("methods")] == ["dist-healthy:good"]


def test_a_hook_that_returns_nothing_is_reported() -> None:
    found = Registry([source("bad", plugin(semibench_methods=lambda: None)), HEALTHY])
    assert outcomes(found) == ["card"] and "found None" in str(found.problems[0])
    assert [item.name for item in found.cards("methods")] == ["good"]


def test_every_misspelt_hook_is_named_and_the_others_of_the_plugin_count() -> None:
    cards = plugin(semibench_metods=no_cards, semibench_datset=no_cards, semibench_methods=lambda: [method("mine")])
    found = Registry([source("half", cards)])
    assert outcomes(found) == ["misspelt", "misspelt"]
    messages = " ".join(str(problem) for problem in found.problems)
    assert "'semibench_methods'" in messages and "'semibench_datasets'" in messages
    assert [item.name for item in found.cards("methods")] == ["mine"]


def test_hooks_of_a_later_semibench_may_be_marked_optional() -> None:
    later = types.SimpleNamespace(
        semibench_sandwiches=hookimpl(optionalhook=True)(no_cards),
        semibench_methods=hookimpl(lambda: [method("mine")]),
    )
    found = Registry([source("later", later)])
    assert found.problems == [] and [item.name for item in found.cards("methods")] == ["mine"]


def test_one_object_under_two_entry_points_is_a_duplicate() -> None:
    twice = methods(method("twin"))
    found = Registry([source("first", twice, "both"), source("second", twice, "both"), HEALTHY])
    assert outcomes(found) == ["duplicate"]
    assert "first" in str(found.problems[0]) and "second" in str(found.problems[0])


def test_a_wrapper_of_one_plugin_does_not_reach_another() -> None:
    @hookimpl(wrapper=True)
    def semibench_methods() -> Any:
        yield
        return []

    def own() -> list[MethodCard]:
        return [method("hidden")]

    greedy = types.SimpleNamespace(semibench_methods=semibench_methods, own=hookimpl(specname="semibench_methods")(own))
    found = Registry([source("greedy", greedy), HEALTHY])
    assert [item.name for item in found.cards("methods")] == ["good"]


@pytest.mark.parametrize(
    ("outcome", "name"),
    [("import", "bad"), ("raised", "dist-bad"), ("api", "future"), ("duplicate", "twin"), ("card", "net")],
)
def test_asking_for_the_broken_one_fails_with_its_message(outcome: str, name: str) -> None:
    bad, words = BROKEN[outcome]
    found = Registry([bad, HEALTHY])
    with pytest.raises(PluginError, match="broken") as caught:
        found.get("methods", name)
    assert words in str(caught.value)


def test_a_name_of_two_distributions_is_asked_for_in_full() -> None:
    found = Registry([HEALTHY, source("rival", methods(method("good")))])
    assert outcomes(found) == ["clash", "clash"]
    with pytest.raises(UsageError, match="dist-healthy:good, dist-rival:good"):
        found.get("methods", "good")
    assert found.get("methods", "dist-rival:good").distribution == "dist-rival"


def test_the_built_in_keeps_its_short_name() -> None:
    rival = source("rival", methods(method("good", load="rival:Method"), method("other")), "a-rival")
    found = Registry([rival, source("own", methods(method("good")), "semibench")])
    own, other = found.get("methods", "good"), found.get("methods", "a-rival:good")
    assert (own.full_name, other.full_name) == ("semibench:good", "a-rival:good")
    assert (found.label(own), found.label(other)) == ("good", "a-rival:good")
    assert [item.full_name for item in found.cards("methods")] == ["semibench:good", "a-rival:good", "a-rival:other"]
    (problem,) = found.problems
    assert (problem.outcome, problem.distribution) == ("clash", "a-rival")
    assert "'semibench:good' keeps the short name" in problem.message and "'a-rival:good'" in problem.message
    assert found.label(found.get("methods", "other")) == "other"


def test_two_names_of_others_stay_ambiguous() -> None:
    found = Registry([HEALTHY, source("rival", methods(method("good")))])
    assert [found.label(item) for item in found.cards("methods")] == ["dist-healthy:good", "dist-rival:good"]


def test_what_a_plugin_prints_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    def load() -> Any:
        print("hello from the import")
        return plugin(semibench_methods=hook)

    def hook() -> list[MethodCard]:
        print("hello from the hook")
        return [method("chatty")]

    found = Registry([Source("chatty", "1.0", "chatty", "chatty_package", load)])
    assert [item.name for item in found.cards("methods")] == ["chatty"]
    assert capsys.readouterr() == ("", "hello from the import\nhello from the hook\n")


def test_unknown_names_say_what_was_meant_and_what_failed_to_load() -> None:
    found = Registry([HEALTHY, BROKEN["import"][0]])
    with pytest.raises(UnknownNameError) as caught:
        found.get("methods", "goood")
    assert "Did you mean 'good'" in str(caught.value)
    assert "failed to load: dist-bad" in str(caught.value)
    with pytest.raises(UnknownNameError, match="kind of plugin"):
        found.get("metods", "good")


@pytest.mark.parametrize(
    ("load", "words"),
    [
        ("no_such_module_here:X", "can't be imported"),
        ("semibench.contracts.method:Nothing", "has no 'Nothing'"),
        ("collections:OrderedDict", "subclass of semibench.Method"),
    ],
)
def test_a_class_that_does_not_resolve_names_the_plugin(load: str, words: str) -> None:
    found = Registry([source("p", methods(method("m", load=load)))])
    with pytest.raises(PluginError, match=words) as caught:
        found.get("methods", "m").resolve()
    assert "dist-p:m" in str(caught.value)


@pytest.mark.parametrize("name", ["Upper", "two words", "", "a--b"])
def test_card_names_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        method(name)


def test_ten_broken_plugins_give_ten_reports() -> None:
    bad = [source(f"bad{i}", ImportError(f"fault {i}")) for i in range(10)]
    found = Registry([*bad, HEALTHY])
    assert len(found.problems) == 10
    assert found.get("methods", "good")
    assert [bool(p.trace) for p in found.problems] == [True] * 10


def test_the_built_ins_are_healthy_and_come_through_entry_points() -> None:
    found = registry()
    assert [str(problem) for problem in found.problems if problem.distribution == "semibench"] == []
    for kind in ("methods", "backbones", "datasets", "protocols", "generators", "conventions", "recipes"):
        items = [item for item in found.cards(kind) if item.distribution == "semibench"]
        assert items, kind
        assert all(item.entry_point.startswith("semibench-") for item in items)


def test_every_hook_has_a_kind_and_a_docstring() -> None:
    from semibench.discovery import hookspecs

    hooks = {name for name in dir(hookspecs) if name.startswith("semibench_")}
    assert hooks == {kind.hook for kind in KINDS.values()}
    assert all(getattr(hookspecs, name).__doc__ for name in hooks)


@pytest.mark.parametrize("kind", ["methods", "backbones", "datasets", "protocols", "generators", "conventions"])
def test_every_built_in_resolves(kind: str) -> None:
    for item in registry().cards(kind):
        if item.distribution == "semibench":
            assert item.resolve() is not None
