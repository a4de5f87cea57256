"""The guard around plug-ins: an error names distribution, class and hook, and what a hook returns is checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import training_toys as toys
from torch import Tensor, nn

from semibench import (
    Case,
    CaseRef,
    Convention,
    ConventionCard,
    Frame,
    Inference,
    MethodCard,
    PluginError,
    Split,
    Truth,
    hookimpl,
)
from semibench.blocks import declared_metrics
from semibench.contracts.method import Batch, Losses
from semibench.contracts.protocol import DrawProtocol
from semibench.contracts.schedule import Clock
from semibench.discovery.guard import calling, raised_by_plugin, who
from semibench.discovery.registry import Source, also_registered
from semibench.evaluation.network import Network
from semibench.evaluation.run_scores import predictors_of
from semibench.evaluation.scoring import score_cases, score_prediction
from semibench.run.assembly import _check_initialised
from semibench.run.drawing import checked_split


class Raising(toys.Supervised):
    """Fails in a function that its hook calls."""

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        return {"sup": self.part()}

    def part(self) -> Tensor:
        raise KeyError("bank")


class OldSignature(toys.Supervised):
    """Written for another contract."""

    def losses(self, batch: Batch) -> Losses:  # type: ignore[override]
        return {}


class AsTuple(toys.Supervised):
    """Returns its losses without names."""

    def losses(self, batch: Batch, clock: Clock) -> Any:
        return (torch.zeros(()),)


class AsTensor(toys.Supervised):
    """Returns one loss."""

    def losses(self, batch: Batch, clock: Clock) -> Any:
        return torch.zeros(3)


class NoUpdate(toys.Supervised):
    """Fails after its step."""

    def after_step(self, clock: Clock) -> None:
        raise RuntimeError("no teacher")


class ListOfOptimisers(toys.Supervised):
    """Returns its optimisers without names."""

    def optimisers(self) -> Any:
        return [self]


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (Raising, r"Raising: losses\(\) raised KeyError: 'bank' \(--debug"),
        (OldSignature, r"OldSignature.*takes 2 positional.*the contract calls it as losses\(self, batch, clock\)"),
        (AsTuple, r"AsTuple: losses\(\) must return a mapping from the names of terms to scalars, found tuple"),
        (AsTensor, r"AsTensor: losses\(\) must return a mapping.*found a Tensor of shape \(3,\)"),
        (NoUpdate, r"NoUpdate: after_step\(\) raised RuntimeError: no teacher"),
        (ListOfOptimisers, r"ListOfOptimisers: optimisers\(\) must return name -> Optimiser, found list"),
    ],
)
def test_a_method_at_fault_is_named(method: type[Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=said):
        toys.run(toys.build(method), tmp_path)


def test_the_distribution_is_named() -> None:
    card = MethodCard(name="raising", title="Raising", load=f"{__name__}:Raising")

    class Cards:
        @hookimpl
        def semibench_methods(self) -> list[MethodCard]:
            return [card]

    with also_registered(Source("some-lab", "1.2", "some-lab", __name__, Cards)):
        assert who(Raising) == f"method 'some-lab:raising' (some-lab 1.2, class {Raising.__name__})"
        said = r"some-lab 1\.2, class Raising\): begin\(\) raised OSError"
        with pytest.raises(PluginError, match=said) as caught, calling(Raising, "begin"):
            raise OSError("no such file")
    assert raised_by_plugin(caught.value) and isinstance(caught.value.__cause__, OSError)


def test_errors_of_the_machine_and_of_the_harness_pass() -> None:
    for error in (OSError(28, "No space left on device"), MemoryError(), PluginError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, calling(Raising, "begin"):
            raise error
        assert caught.value is error
    with pytest.raises(RuntimeError, match="can't allocate memory"), calling(Raising, "begin"):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_a_constructor_that_forgets_its_base_is_told() -> None:
    class Forgetful(toys.Supervised):
        def __init__(self) -> None:
            self.net = nn.Conv2d(1, 2, 3)

    class HalfWay(toys.Supervised):
        def __init__(self) -> None:
            nn.Module.__init__(self)

    said = r"Forgetful: __init__\(\) raised.*call super\(\).__init__\(\)"
    with pytest.raises(PluginError, match=said), calling(Forgetful, "__init__"):
        Forgetful()
    with pytest.raises(PluginError, match=r"HalfWay: __init__\(\) leaves notes unset"):
        _check_initialised(HalfWay(), ("notes",))


REF = CaseRef("toy", "a", "p", "m", True)


class Lists(DrawProtocol):
    """Draws lists of cases."""

    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Any:
        return {"labeled": [REF]}


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        (Lists().draw(None, None, 0, None), r"Lists: draw\(\) must return a Split, found dict"),
        (Split(labeled=[REF], unlabeled=(), validation=(), test=(REF,)), r"'labeled' is a tuple of CaseRef, found list"),
        (Split(labeled=("a",), unlabeled=(), validation=(), test=(REF,)), r"'labeled' is a tuple of CaseRef, found str: 'a'"),
    ],
)  # fmt: skip
def test_a_protocol_that_draws_something_else_is_named(drawn: Any, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        checked_split(Lists(), drawn)


class Odd(Convention):
    """Scores in some wrong way."""

    card = ConventionCard(name="odd", title="Odd", load="a:B", version="1", dims=(2,))
    metrics = declared_metrics(["dice"])

    def __init__(self, returns: Any) -> None:
        self.returns = returns

    def score(self, prediction: Any, truth: Any, spacing: Any, classes: int) -> Mapping[int, Mapping[str, float]]:
        if isinstance(self.returns, Exception):
            raise self.returns
        return self.returns  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("returns", "said"),
    [
        (IndexError("axis 3"), r"Odd: score\(\) raised IndexError: axis 3"),
        (0.5, r"score\(\) must return class -> metric -> number for the classes 1\.\.1 and the metrics dice, found float: 0.5"),
        ({1: {}}, r"score\(\) must return class -> metric"),
        ({1: {"dice": "good"}}, r"found dict: \{1: \{'dice': 'good'\}\}"),
    ],
)  # fmt: skip
def test_a_convention_at_fault_is_named(returns: Any, said: str) -> None:
    label = torch.ones(4, 4, dtype=torch.uint8)
    case = Case(REF, torch.zeros(1, 4, 4), label, None, Frame((4, 4)))
    with pytest.raises(PluginError, match=said):
        score_prediction(case, Truth(label, None), np.ones((4, 4), np.uint8), Odd(returns), ("background", "disk"))


def test_predictors_at_fault_are_named() -> None:
    label = torch.ones(4, 4, dtype=torch.uint8)
    case = Case(REF, torch.zeros(1, 4, 4), label, None, Frame((4, 4)))
    model = toys.build(toys.Supervised)
    predictors: dict[str, Any] = {
        r"expected logits .*got \(1, 2, 2, 2\)": lambda images: torch.zeros(1, 2, 2, 2),
        r"raised ZeroDivisionError": lambda images: 1 // 0,
        r"predictor 'main' returns 3 classes; the task has 2": lambda images: torch.zeros(1, 3, 4, 4),
    }
    assert Inference().mode == "auto"
    for said, predictor in predictors.items():
        with pytest.raises(PluginError, match=said) as caught:
            score_cases(
                {"main": predictor}, [(case, Truth(label, None))], {"odd": Odd({1: {"dice": 1.0}})}, model=model,
                classes=("background", "disk"), network=Network(dims=2, patch=(4, 4), batch=1),
            )  # fmt: skip
        assert "Supervised" in str(caught.value)


def test_a_method_without_predictors_is_named() -> None:
    class Nothing(toys.Supervised):
        def predictors(self) -> Any:
            return {}

    class Names(toys.Supervised):
        def predictors(self) -> Any:
            return ["main"]

    for cls in (Nothing, Names):
        with pytest.raises(
            PluginError, match=rf"{cls.__name__}: predictors\(\) must return name -> function, at least"
        ):
            predictors_of(toys.build(cls))
