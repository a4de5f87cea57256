"""The tables of the five papers as data: 1,803 values with their units, roles and known anomalies.

Published values are shown next to reproduced ones and never ranked with them.
"""

from semibench_leaderboards.published.anomalies import Anomaly, anomalies
from semibench_leaderboards.published.counterparts import Counterpart, counterparts
from semibench_leaderboards.published.marks import Mark, marks
from semibench_leaderboards.published.papers import Paper, papers
from semibench_leaderboards.published.search import ValueSearch, find
from semibench_leaderboards.published.values import Value, values

__all__ = [
    "Anomaly",
    "Counterpart",
    "Mark",
    "Paper",
    "Value",
    "ValueSearch",
    "anomalies",
    "counterparts",
    "find",
    "marks",
    "papers",
    "values",
]
