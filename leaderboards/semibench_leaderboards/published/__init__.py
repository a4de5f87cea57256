"""The tables of the five papers as data: 1,803 values with their units, roles and known anomalies.

Published values are shown beside reproduced ones and never ranked with them.
"""

from semibench_leaderboards.published.anomalies import Anomaly, anomalies
from semibench_leaderboards.published.beside import Beside, beside
from semibench_leaderboards.published.marks import Mark, marks
from semibench_leaderboards.published.papers import Paper, papers
from semibench_leaderboards.published.search import find
from semibench_leaderboards.published.values import Value, values

__all__ = ["Anomaly", "Beside", "Mark", "Paper", "Value", "anomalies", "beside", "find", "marks", "papers", "values"]
