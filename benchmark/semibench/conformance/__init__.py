"""The battery a plugin author runs: small checks, one fact each, on tiny synthetic data, through the real optimisation
and training loop.

    from semibench.conformance import BackboneCase, MethodCase, METHOD_CHECKS
    from semibench.conformance import battery

    @pytest.mark.parametrize("check", battery(methods=["my-method"]), ids=str)
    def test_conformance(check):
        assert check.reason() is None

`battery()` without names takes every method and backbone that is registered. A class that is not registered is checked
with `MethodCase(MyMethod, MyBackbone)` and the functions of `METHOD_CHECKS`. As a pytest plugin:
`pytest -p semibench.conformance.plugin --semibench-method my-method`.
"""

from semibench.conformance.backbones import BACKBONE_CHECKS
from semibench.conformance.battery import BoundCheck, battery
from semibench.conformance.case import BackboneCase, MethodCase
from semibench.conformance.methods import METHOD_CHECKS

__all__ = ["BACKBONE_CHECKS", "METHOD_CHECKS", "BackboneCase", "BoundCheck", "MethodCase", "battery"]
