"""The battery a plugin author runs: small checks, one fact each, on tiny synthetic data, through the real optimisation
and training loop.

    from semibench.conformance import parametrize_checks

    @parametrize_checks("my-method")
    def test_conformance(check):
        assert check.reason() is None

There are batteries for methods, backbones, data sets (on their phantom), protocols and generators. On the command line:
`bench check my-method`. `battery({"method": None})` gives the checks of every method that is registered. A class that is not
registered is checked with `MethodCase(MyMethod, MyBackbone)` and the functions of `METHOD_CHECKS`, and likewise for the
other kinds. As a pytest plugin: `pytest -p semibench.conformance.plugin --semibench-method my-method`.
"""

from semibench.conformance.backbones import BACKBONE_CHECKS
from semibench.conformance.battery import BoundCheck, battery, checks_of
from semibench.conformance.case import BackboneCase, MethodCase
from semibench.conformance.datasets import DATASET_CHECKS, DatasetCase
from semibench.conformance.generators import GENERATOR_CHECKS, GeneratorCase
from semibench.conformance.method_runs import METHOD_RUN_CHECKS, MethodRunCase
from semibench.conformance.methods import METHOD_CHECKS
from semibench.conformance.parametrize import parametrize_checks
from semibench.conformance.protocols import PROTOCOL_CHECKS, ProtocolCase
from semibench.conformance.registration import REGISTRATION_CHECKS, RegisteredCase

__all__ = [
    "BACKBONE_CHECKS",
    "DATASET_CHECKS",
    "GENERATOR_CHECKS",
    "METHOD_CHECKS",
    "METHOD_RUN_CHECKS",
    "PROTOCOL_CHECKS",
    "REGISTRATION_CHECKS",
    "BackboneCase",
    "BoundCheck",
    "DatasetCase",
    "GeneratorCase",
    "MethodCase",
    "MethodRunCase",
    "ProtocolCase",
    "RegisteredCase",
    "battery",
    "checks_of",
    "parametrize_checks",
]
