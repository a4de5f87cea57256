"""An MLflow store without a run: making one takes seconds, so tests copy it. (That a fresh one is made where there is none is
tested in test_tracking.py and by the tutorial.)"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from filelock import FileLock

from semibench.tracking import open_store


def put_store(folder: Path) -> str:
    """Copies it to folder/mlflow.db, where commands look for theirs; returns its address."""
    made = Path(os.environ["SEMIBENCH_CACHE"]).parent / "empty-store" / "mlflow.db"
    made.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(made.with_suffix(".made.lock")):
        if not made.is_file():
            open_store(f"sqlite:///{made.with_name('draft.db')}")
            made.with_name("draft.db").rename(made)
    shutil.copy(made, folder / "mlflow.db")
    return f"sqlite:///{folder / 'mlflow.db'}"
