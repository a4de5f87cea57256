"""The tables of a run folder: file names, key columns, and readers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from semibench.runfolder.format import RunFolderError

if TYPE_CHECKING:
    import pandas as pd

STEPS_FILE = "steps.parquet"
"""The log of the training: step (iteration of the run), stage, name, value."""

STEP_KEY = ("stage", "name", "step")
"""Columns that identify a value in the steps; a value may be logged several times."""

SCORES_FILE = "scores.parquet"
"""Every score of every test case."""

SCORE_KEY = ("checkpoint", "predictor", "convention", "dataset", "case", "class", "metric")
"""Columns that identify a value in the scores."""


def is_whole_table(file: Path) -> bool:
    """Returns whether a file starts and ends as a Parquet file does; a truncated one doesn't."""
    try:
        with file.open("rb") as handle:
            head = handle.read(4)
            handle.seek(-4, 2)
            return head == handle.read(4) == b"PAR1"
    except OSError:
        return False


def has_rows(file: Path) -> bool:
    """Returns whether a table exists and has a row; the steps of a method that optimises nothing have none."""
    import pyarrow.parquet as parquet

    return file.is_file() and parquet.read_metadata(file).num_rows > 0


def parse_scores(data: bytes, where: str) -> pd.DataFrame:
    """Reads the scores from the bytes of their file.

    Args:
        data: the whole file.
        where: the file's path, for messages.

    Raises:
        RunFolderError: if it isn't a Parquet file, or lacks a column.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(io.BytesIO(data), engine="pyarrow")
    except (ValueError, OSError) as error:
        raise RunFolderError(f"{where} can't be read: {error}") from error
    missing = [name for name in (*SCORE_KEY, "value") if name not in table.columns]
    if missing:
        raise RunFolderError(f"{where} lacks the columns {', '.join(missing)}")
    if not pd.api.types.is_numeric_dtype(table["value"]):
        raise RunFolderError(f"{where}: expected numbers in the column value, found {table['value'].dtype}")
    return table
