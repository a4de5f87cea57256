"""Suites: named lists of runs in YAML, one for each of the 31 tables of the papers, and any of your own.

`load` reads a suite by name or path, `expand` turns it into cells (one run each), `status` compares runs with published values.
"""

from semibench_leaderboards.suites.expansion import SuiteCell, expand
from semibench_leaderboards.suites.loading import load, names
from semibench_leaderboards.suites.overrides import Overrides
from semibench_leaderboards.suites.schema import Suite

__all__ = ["Overrides", "Suite", "SuiteCell", "expand", "load", "names"]
