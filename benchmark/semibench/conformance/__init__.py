"""The conformance battery that plug-in authors run: small checks of one fact each, on tiny synthetic data.

Methods run through the real optimisation and training loop:

    from semibench.conformance import parametrize_checks

    @parametrize_checks("my-method")
    def test_conformance(check):
        assert check.reason() is None

There are batteries for methods, backbones, data sets (on their phantom), protocols, generators, conventions, published splits and
recipes. `bench check my-method`
runs one from the command line, `pytest -p semibench.conformance.plugin --semibench-method my-method` runs it as a pytest
plugin, and `battery({"method": None})` returns the checks of every registered method. To check a class that isn't
registered, pass a `MethodSubject(MyMethod, MyBackbone)` to the functions of `METHOD_CHECKS`; the other kinds work alike.
"""

from typing import Any

from semibench.conformance.backbones import BACKBONE_CHECKS
from semibench.conformance.battery import BoundCheck, battery, checks_of
from semibench.conformance.conventions import CONVENTION_CHECKS, ConventionSubject
from semibench.conformance.datasets import DATASET_CHECKS, DatasetSubject
from semibench.conformance.generators import GENERATOR_CHECKS, GeneratorSubject
from semibench.conformance.method_runs import METHOD_RUN_CHECKS, MethodRunSubject
from semibench.conformance.methods import METHOD_CHECKS
from semibench.conformance.parametrize import parametrize_checks
from semibench.conformance.protocols import PROTOCOL_CHECKS, ProtocolSubject
from semibench.conformance.registration import REGISTRATION_CHECKS, RegisteredSubject
from semibench.conformance.splits import RECIPE_CHECKS, SPLIT_CHECKS, RecipeSubject, SplitSubject
from semibench.conformance.subject import BackboneSubject, MethodSubject
from semibench.contracts.deprecation import deprecated

__all__ = [
    "BACKBONE_CHECKS",
    "CONVENTION_CHECKS",
    "DATASET_CHECKS",
    "GENERATOR_CHECKS",
    "METHOD_CHECKS",
    "METHOD_RUN_CHECKS",
    "PROTOCOL_CHECKS",
    "RECIPE_CHECKS",
    "REGISTRATION_CHECKS",
    "SPLIT_CHECKS",
    "BackboneSubject",
    "BoundCheck",
    "ConventionSubject",
    "DatasetSubject",
    "GeneratorSubject",
    "MethodRunSubject",
    "MethodSubject",
    "ProtocolSubject",
    "RecipeSubject",
    "RegisteredSubject",
    "SplitSubject",
    "battery",
    "checks_of",
    "parametrize_checks",
]

_RENAMED = {
    "BackboneCase": "BackboneSubject",
    "DatasetCase": "DatasetSubject",
    "GeneratorCase": "GeneratorSubject",
    "MethodCase": "MethodSubject",
    "MethodRunCase": "MethodRunSubject",
    "ProtocolCase": "ProtocolSubject",
    "RegisteredCase": "RegisteredSubject",
}
"""Old public name to new one; each old name has an entry in `semibench.contracts.deprecation.DEPRECATIONS`."""


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        deprecated(f"{__name__}.{name}")
        return globals()[_RENAMED[name]]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
