"""Synthetic cases of a run: fit the generator to the training cases of the draw once, and store its samples.

An artifact is keyed by the generator with its options and code, the bytes of the training cases, the requested number and the
curation; every method and seed of a draw shares it. It never depends on validation or test cases.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import SYNTHETIC, Case, CaseRef, Dataset, DatasetOptions, Frame, Truth
from semibench.contracts.errors import UsageError
from semibench.contracts.generator import Fitted, Generator
from semibench.contracts.identity import canonical, sha256
from semibench.contracts.protocol import Synthesis
from semibench.data.cache import CaseStore
from semibench.guard import calling, returned
from semibench.registry import Registered
from semibench.reporting import Reporter
from semibench.source_digest import source_digest


class SyntheticCases(Dataset):
    """The kept samples of an artifact, as unlabeled cases of the data set `synthetic` and the domain `synthetic`."""

    card: DatasetCard  # type: ignore[misc]

    def __init__(self, folder: Path, card: DatasetCard) -> None:
        super().__init__(folder, DatasetOptions())
        self.card = card.model_copy(
            update={"name": SYNTHETIC, "title": "Synthetic", "domains": (SYNTHETIC,), "similar": ()}
        )
        self.record: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        self.fingerprint = f"synthetic/{self.record['key']}"
        self._images = np.load(folder / "samples.npy", mmap_mode="r")

    def index(self) -> list[CaseRef]:
        return [
            CaseRef(SYNTHETIC, f"{i:05d}", f"{i:05d}", SYNTHETIC, has_label=False) for i in range(len(self._images))
        ]

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        return ()

    def read(self, ref: CaseRef) -> Case:
        image = torch.from_numpy(np.array(self._images[int(ref.id)], dtype=np.float32))
        return Case(ref, image, None, None, Frame(tuple(image.shape[1:])))

    def truth(self, ref: CaseRef) -> Truth | None:
        return None


@dataclass(frozen=True)
class Synthesised:
    """An artifact in use. new: whether this run generated it."""

    dataset: SyntheticCases
    folder: Path
    new: bool

    @property
    def record(self) -> dict[str, Any]:
        return self.dataset.record


def artifact_key(item: Registered, synthesis: Synthesis, contents: Sequence[str], count: int) -> str:
    """Return the key of an artifact: generator, options, code, training bytes, number, curation."""
    return sha256(
        canonical(
            {
                "generator": item.full_name,
                "options": dict(synthesis.options),
                "source": source_digest(item.card.load.split(":")[0]),
                "cases": sorted(contents),
                "count": count,
                "candidates": synthesis.candidates,
                "curation": dict(synthesis.curation),
            }
        )
    )


def synthesise(
    item: Registered, synthesis: Synthesis, store: CaseStore, training: Sequence[CaseRef], contents: Sequence[str],
    *, card: DatasetCard, cache: Path, device: str, reporter: Reporter, seed: int = 0,
) -> Synthesised:  # fmt: skip
    """Fit, sample and curate, or take the artifact from the cache.

    Intensities are mapped to [0, 1] by the range over the training cases for the generator, and back.

    Args:
        item: the generator.
        synthesis: what to generate.
        store: decoded cases.
        training: labeled and unlabeled cases of the draw.
        contents: digests of their files.
        card: card of the data set.
        cache: folder of the artifacts.
        device: the device to fit and sample on.
        reporter: receives progress.
        seed: seed of fit and samples.

    Raises:
        UsageError: if the generator does not support the dims of the data.
    """
    if card.dims not in item.card.dims:
        raise UsageError(
            f"generator {item.name!r} generates {item.card.dims}D cases; the data set has {card.dims}D cases"
        )
    count = synthesis.count or len(training)
    key = artifact_key(item, synthesis, contents, count)
    folder = cache / "generated" / key[:24]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if (folder / "record.json").is_file():
            reporter.note(f"synthetic cases: reused from the cache ({folder})")
            return Synthesised(SyntheticCases(folder, card), folder, new=False)
        draft = folder.with_name(f"{folder.name}.draft-{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        try:
            _generate(item, synthesis, store, training, draft, key, count, device, reporter, seed)
            shutil.rmtree(folder, ignore_errors=True)
            draft.replace(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return Synthesised(SyntheticCases(folder, card), folder, new=True)


def _generate(
    item: Registered, synthesis: Synthesis, store: CaseStore, training: Sequence[CaseRef], draft: Path, key: str, count: int,
    device: str, reporter: Reporter, seed: int,
) -> None:  # fmt: skip
    cls = item.resolve()
    generator: Generator = cls(cls.Options(**synthesis.options))
    images = [torch.as_tensor(np.asarray(store.image(ref))).float() for ref in training]
    low, high = min(float(i.min()) for i in images), max(float(i.max()) for i in images)
    scale = (high - low) or 1.0
    images = [(image - low) / scale for image in images]
    phases: list[str] = []

    def progress(what: str, done: int, of: int, values: Any) -> None:
        if phases[-1:] != [what]:
            if phases:
                reporter.end()
            phases.append(what)
            reporter.phase(f"{item.name}: {what}", of)
        reporter.advance(done, values)

    start = time.perf_counter()
    with calling(generator, "fit"):
        fitted = generator.fit(images, draft / "model", seed=seed, device=device, progress=progress)
    returned(generator, "fit", fitted, Fitted)
    fit_seconds = time.perf_counter() - start
    start = time.perf_counter()
    real = torch.stack(images)
    with calling(generator, "sample"):
        samples, curated = generator.synthesise(
            draft / "model",
            real,
            count,
            candidates=synthesis.candidates,
            options=synthesis.curation,
            seed=seed,
            device=device,
            progress=progress,
        )
    if phases:
        reporter.end()
    kept = samples * scale + low
    np.save(draft / "samples.npy", kept.cpu().numpy().astype(np.float32))
    record = {
        "key": key,
        "generator": item.full_name,
        "options": dict(synthesis.options),
        "training_cases": len(training),
        "asked": count,
        "kept": len(kept),
        "filled": curated.filled,
        "unrealistic": curated.unrealistic,
        "memorised": curated.memorised,
        "curation": dict(curated.record),
        "intensity": [low, high],
        "fit": dict(fitted.record),
        "fit_seconds": fit_seconds,
        "sample_seconds": time.perf_counter() - start,
    }
    (draft / "record.json").write_text(json.dumps(record, indent=1, default=float), encoding="utf-8")
