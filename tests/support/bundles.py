"""Bundles that somebody has changed."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from semibench_leaderboards.evidence.export import MANIFEST


def changed(bundle: Path, change: Callable[[dict[str, bytes]], None], *, digests: bool = True) -> Path:
    """A copy of a bundle with other files; digests: the manifest is made to fit."""
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    if digests:
        manifest = json.loads(files[MANIFEST])
        manifest["files"] = {
            name: {"sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items() if name != MANIFEST
        }
        files[MANIFEST] = json.dumps(manifest).encode()
    out = bundle.with_name("changed.zip")
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out
