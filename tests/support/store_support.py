"""An empty MLflow store. Creating one takes seconds, so tests copy it. (test_tracking.py and the tutorial test that a new
store is created if there is none.)"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from filelock import FileLock

from semibench.tracking import open_store


def put_store(folder: Path) -> str:
    """Copies the store to folder/mlflow.db, where commands look for theirs; returns its address."""
    store = Path(os.environ["SEMIBENCH_CACHE"]).parent / "empty-store" / "mlflow.db"
    store.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(store.with_suffix(".made.lock")):
        if not store.is_file():
            open_store(f"sqlite:///{store.with_name('draft.db')}")
            store.with_name("draft.db").rename(store)
    shutil.copy(store, folder / "mlflow.db")
    return f"sqlite:///{folder / 'mlflow.db'}"
