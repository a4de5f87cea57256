"""Label maps of phantoms on their native grid, kept in the cache: drawing one costs more than scoring it.

`<cache>/truths/<data set>-<key>/` holds files of label maps; the key is that of the decoded cases, so that a changed phantom has
another folder. A damaged or missing file costs time only.
"""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semibench.blocks.datasets.phantom_dataset import PhantomDataset
from semibench.contracts.cases import CaseRef, Truth
from semibench.contracts.identity import SHORT, canonical, sha256
from semibench.data.cache import decoding_key
from semibench.data.roots import cache_dir
from semibench.files import write_atomically

DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
"""What numpy raises for a file that was cut or changed; the checksums of the archive find changed bytes."""

LABEL, SPACING = "label/", "spacing/"


class DrawnTruths:
    """The references of a phantom. `write` keeps what had to be drawn."""

    def __init__(self, dataset: PhantomDataset, folder: Path | None = None) -> None:
        self._dataset = dataset
        name = f"{dataset.card.name}-{decoding_key(dataset)[:16]}"
        self.folder = (cache_dir() / "truths" if folder is None else folder) / name
        self._kept: dict[str, Any] = {}
        self._drawn: dict[str, Truth] = {}
        for file in sorted(self.folder.glob("*.npz")):
            with contextlib.suppress(*DAMAGED):
                archive = np.load(file, allow_pickle=False)
                self._kept |= {key.removeprefix(LABEL): archive for key in archive.files if key.startswith(LABEL)}

    def truth(self, ref: CaseRef) -> Truth:
        """Returns the reference of a case, as `PhantomDataset.truth` does."""
        with contextlib.suppress(*DAMAGED):
            archive = self._kept[ref.id]
            spacing = tuple(archive[SPACING + ref.id].tolist()) if SPACING + ref.id in archive else None
            return Truth(torch.from_numpy(archive[LABEL + ref.id]), spacing)
        truth = self._drawn[ref.id] = self._dataset.truth(ref)
        return truth

    def write(self) -> None:
        """Keeps the references that were drawn, where the cache can be written."""
        if not self._drawn:
            return
        arrays: dict[str, Any] = {LABEL + name: truth.label.numpy() for name, truth in self._drawn.items()}
        arrays |= {
            SPACING + name: np.array(truth.spacing, np.float64)
            for name, truth in self._drawn.items()
            if truth.spacing is not None
        }
        file = self.folder / f"{sha256(canonical(sorted(self._drawn)))[:SHORT]}.npz"

        def save(draft: Path) -> None:
            with draft.open("wb") as handle:
                np.savez_compressed(handle, **arrays)

        with contextlib.suppress(OSError):
            write_atomically(file, save)
        self._drawn.clear()
