"""MLflow as a mirror of the run folders: `mirror` copies one folder, `open_store` opens a store safely.

The run folder is the truth; everything here can be deleted and mirrored again. MLflow is imported on first use only.
"""

from __future__ import annotations

from semibench.runfolder.reading import RunFolder
from semibench.tracking.mirroring import is_mirrored, mirror
from semibench.tracking.store import open_store, store_uri

__all__ = ["RunFolder", "is_mirrored", "mirror", "open_store", "store_uri"]
