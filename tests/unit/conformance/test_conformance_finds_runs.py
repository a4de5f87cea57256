"""The checks of methods in company and of registration find what they are for: a fault for each."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.conformance_toys import Good, Tiny
from torch import Tensor

from semibench import BackboneCard, Batch, Clock, Losses, MethodCard, UnsupportedError, hookimpl
from semibench.conformance import (
    METHOD_RUN_CHECKS,
    REGISTRATION_CHECKS,
    MethodRunSubject,
    MethodSubject,
    RegisteredSubject,
)
from semibench.discovery.registry import Registered, Registry, Source, also_registered, registry

torch.set_num_threads(1)


class Logging(Good):
    place = ""

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        with Path(self.place).open("a", encoding="utf-8") as log:
            log.write("step")
        return super().losses(batch, clock)


class Shrinking(Good):
    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits if logits.shape[-1] <= 32 else logits / 0.0 * 0.0


class Peeking(Good):
    """Reaches through the pools for the labels that the harness hides."""

    def __init__(self, task: Any, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.register_buffer("seen", torch.zeros(()))

    def begin(self, stage: str, pools: Any) -> None:
        super().begin(stage, pools)
        for stored in pools._data._store._locations.values():
            self.seen += float(stored.shard.label(stored.record).mean())


class Refusing(Good):
    def losses(self, batch: Batch, clock: Clock) -> Losses:
        raise UnsupportedError("not today")


class Scattering(Good):
    def losses(self, batch: Batch, clock: Clock) -> Losses:
        Path("beside.txt").write_text("beside the run folder", encoding="utf-8")
        return super().losses(batch, clock)


class Any2D(Tiny):
    """Named in cards: takes the options that recipes give every backbone."""


METHODS = (Good, Refusing, Scattering)


@hookimpl
def semibench_methods() -> list[MethodCard]:
    here = __name__
    return [
        MethodCard(name=cls.__name__.lower(), title=cls.__name__, load=f"{here}:{cls.__name__}", dims=(2,),
                   backbone="any2d", api=1)
        for cls in METHODS
    ]  # fmt: skip


@hookimpl
def semibench_backbones() -> list[BackboneCard]:
    return [BackboneCard(name="any2d", title="Any", load=f"{__name__}:Any2D", dims=(2,), provides=("stages",), api=1)]


@pytest.fixture
def plugins() -> Iterator[Registry]:
    """The installed plug-ins and those of this file."""
    mine = types.SimpleNamespace(semibench_methods=semibench_methods, semibench_backbones=semibench_backbones)
    with also_registered(Source("tests", "1.0", "tests", __name__, lambda: mine)):
        yield registry()


def case(method: type[Good], plugins: Registry | None = None) -> MethodRunSubject:
    item = plugins.get("methods", method.__name__.lower()) if plugins else None
    return MethodRunSubject(MethodSubject(method, Tiny), item)


def test_a_method_that_writes_files_is_found(tmp_path: Path) -> None:
    check = METHOD_RUN_CHECKS["touches_no_file_and_no_network"]
    check(case(Good))
    Logging.place = str(tmp_path / "log.txt")
    with pytest.raises(AssertionError, match=r"log\.txt"):
        check(case(Logging))


def test_a_method_that_fails_on_odd_sizes_is_found() -> None:
    check = METHOD_RUN_CHECKS["predicts_odd_sizes"]
    check(case(Good))
    with pytest.raises(AssertionError, match="NaN"):
        check(case(Shrinking))


def test_a_method_that_looks_behind_the_labels_is_found() -> None:
    check = METHOD_RUN_CHECKS["hidden_labels_change_no_digit"]
    check(case(Good))
    with pytest.raises(AssertionError, match=r"leak into .*seen"):
        check(case(Peeking))


@pytest.mark.parametrize(
    ("method", "fact", "words"),
    [
        (Good, "", ""),
        (Refusing, "a_short_run_on_a_phantom", "not today"),
        (Scattering, "writes_only_into_the_run_folder", r"beside\.txt"),
    ],
)
def test_faults_of_a_short_run_are_found(method: type[Good], fact: str, words: str, plugins: Registry) -> None:
    run = case(method, plugins)
    for name in ("a_short_run_on_a_phantom", "writes_only_into_the_run_folder"):
        if name != fact:
            METHOD_RUN_CHECKS[name](run)
            continue
        with pytest.raises(AssertionError, match=words):
            METHOD_RUN_CHECKS[name](run)


def test_every_check_in_company_has_its_fault() -> None:
    found = {"touches_no_file_and_no_network", "predicts_odd_sizes", "hidden_labels_change_no_digit"}
    assert found | {"a_short_run_on_a_phantom", "writes_only_into_the_run_folder"} == set(METHOD_RUN_CHECKS)


# Registration


def registered(
    module: str = "semibench.protocols.cards", distribution: str = "tests", **card: Any
) -> RegisteredSubject:
    values = {"name": "good", "title": "Good", "load": f"{__name__}:Good", "summary": "of a test", "api": 1, **card}
    made = MethodCard(**{key: value for key, value in values.items() if value is not None})
    return RegisteredSubject(Registered("methods", made, distribution, "1.0", "tests", module))


HEALTHY = registered()
REGISTRATION_FAULTS: dict[str, RegisteredSubject] = {
    "class_resolves": registered(load=f"{__name__}:Tiny"),
    "card_says_enough": registered(summary=""),
    "api_is_written_down": registered(api=None),
    "import_of_cards_is_light": registered(module="semibench.blocks.losses"),
}


def test_every_check_of_registration_has_its_fault() -> None:
    assert set(REGISTRATION_FAULTS) == set(REGISTRATION_CHECKS)


@pytest.mark.slow
@pytest.mark.parametrize("fact", REGISTRATION_FAULTS)
def test_faults_of_registration_are_found(fact: str) -> None:
    REGISTRATION_CHECKS[fact](HEALTHY)
    with pytest.raises(AssertionError) as caught:
        REGISTRATION_CHECKS[fact](REGISTRATION_FAULTS[fact])
    assert {"class_resolves": "expected a subclass", "card_says_enough": "summary", "api_is_written_down": "write api=1",
            "import_of_cards_is_light": "torch"}[fact] in str(caught.value)  # fmt: skip


def test_more_faults_of_cards_are_found() -> None:
    check = REGISTRATION_CHECKS["card_says_enough"]
    for fault in ({"title": " "}, {"summary": "two\nlines"}):
        with pytest.raises(AssertionError):
            check(registered(**fault))
    with pytest.raises(AssertionError, match="can't be imported alone"):
        REGISTRATION_CHECKS["import_of_cards_is_light"](registered(module="no_such_module_here"))
    REGISTRATION_CHECKS["api_is_written_down"](registered(distribution="semibench", api=None))
