"""The tables of a run folder: their names, the columns that identify a value, and whether a file is whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from semibench.runfolder.format import RunFolderError

if TYPE_CHECKING:
    import pandas as pd

STEPS_FILE = "steps.parquet"
"""What training logged: step (iteration of the run), stage, name, value."""

STEP_KEY = ("stage", "name", "step")
"""Columns of the steps that identify a value, which may be logged several times."""

SCORES_FILE = "scores.parquet"
"""Every score of every test case."""

SCORE_KEY = ("checkpoint", "predictor", "convention", "dataset", "case", "class", "metric")
"""Columns of the scores that identify a value."""


def is_whole_table(file: Path) -> bool:
    """Whether a Parquet file begins and ends as one does; a file that was cut off doesn't."""
    try:
        with file.open("rb") as handle:
            head = handle.read(4)
            handle.seek(-4, 2)
            return head == handle.read(4) == b"PAR1"
    except OSError:
        return False


def parse_scores(data: bytes, where: str) -> pd.DataFrame:
    """The scores in the bytes of their file.

    Args:
        data: the whole file.
        where: the file's path, for messages.

    Raises:
        RunFolderError: where it isn't a Parquet file, or lacks a column.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(io.BytesIO(data), engine="pyarrow")
    except (ValueError, OSError) as error:
        raise RunFolderError(f"{where} can't be read: {error}") from error
    lacking = [name for name in (*SCORE_KEY, "value") if name not in table.columns]
    if lacking:
        raise RunFolderError(f"{where} lacks the columns {', '.join(lacking)}")
    return table
