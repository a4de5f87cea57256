"""Synthetic cases of a run: fit the generator to the training cases of the draw once, and store its samples.

An artifact is keyed by the generator with its options and code, the bytes of the training cases, the requested number and the
curation; every method and seed of a draw shares it. It never depends on validation or test cases.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from filelock import FileLock, Timeout

from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import SYNTHETIC, Case, CaseRef, Dataset, DatasetOptions, Frame, Truth
from semibench.contracts.errors import UsageError, one_line
from semibench.contracts.generator import Fitted, Generator
from semibench.contracts.identity import canonical, sha256
from semibench.contracts.protocol import Synthesis
from semibench.data.cache import CaseStore
from semibench.discovery.guard import calling, returned
from semibench.discovery.registry import Registered
from semibench.files import DamagedFileError, read_json
from semibench.process import interrupt, stopping
from semibench.reporting import Reporter
from semibench.source_digest import source_digest

RECORD, SAMPLES = "record.json", "samples.npy"
"""Files of an artifact."""

DRAFT = ".draft"
"""Ending of the folder in which an artifact is made. A killed process leaves it, and the next one goes on from there."""

FORGOTTEN = 7 * 24 * 3600.0
"""Seconds after which the draft of an artifact that nobody asked for again is removed."""


class SyntheticCases(Dataset):
    """The kept samples of an artifact, as unlabeled cases of the data set `synthetic` and the domain `synthetic`."""

    card: DatasetCard  # type: ignore[misc]

    def __init__(self, folder: Path, card: DatasetCard) -> None:
        super().__init__(folder, DatasetOptions())
        self.card = card.model_copy(
            update={"name": SYNTHETIC, "title": "Synthetic", "domains": (SYNTHETIC,), "similar": ()}
        )
        self.record: dict[str, Any] = read_json(folder / RECORD)
        self.fingerprint = f"synthetic/{self.record['key']}"
        self._images = np.load(folder / SAMPLES, mmap_mode="r")

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
    whole = damage_of(folder, key, count) is None
    with (
        nullcontext() if whole else FileLock(f"{folder}.lock")
    ):  # what is whole is served by a cache that can't be written
        damage = damage_of(folder, key, count)
        if damage is None:
            reporter.note(f"synthetic cases: reused from the cache ({folder})")
            return Synthesised(SyntheticCases(folder, card), folder, new=False)
        if folder.exists():
            reporter.note(f"synthetic cases: {folder} is damaged ({damage}); they are generated again")
        sweep(folder.parent)
        draft = folder.with_name(f"{folder.name}{DRAFT}")
        left = draft.is_dir()
        draft.mkdir(exist_ok=True)
        try:
            _generate(item, synthesis, store, training, draft, key, count, device, reporter, seed)
        except Exception as error:
            if not left:
                raise
            reporter.note(
                f"synthetic cases: what a stopped process left can't be used ({one_line(error)}); starting anew"
            )
            shutil.rmtree(draft)
            draft.mkdir()
            _generate(item, synthesis, store, training, draft, key, count, device, reporter, seed)
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)
    return Synthesised(SyntheticCases(folder, card), folder, new=True)


def damage_of(folder: Path, key: str, asked: int) -> str | None:
    """Returns why a folder doesn't hold a whole artifact, or None if it does. asked: the number of samples asked for."""
    try:
        record = read_json(folder / RECORD)
        if record.get("key") != key:
            return f"{RECORD} {'is missing' if not record else 'belongs to another artifact'}"
        images = np.load(folder / SAMPLES, mmap_mode="r", allow_pickle=False)
    except (DamagedFileError, OSError, ValueError, EOFError) as error:
        return one_line(error)
    if images.dtype != np.float32 or images.ndim < 3 or len(images) != record.get("kept") or len(images) > asked:
        return f"{SAMPLES} holds {images.dtype} {images.shape}, {RECORD} says {record.get('kept')} samples"
    return None


def sweep(home: Path) -> None:
    """Removes drafts that nobody goes on with: those of dead processes under an earlier version, and forgotten ones."""
    for draft in home.glob(f"*{DRAFT}-*"):
        process = draft.name.rpartition("-")[2]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            shutil.rmtree(draft, ignore_errors=True)
    for draft in home.glob(f"*{DRAFT}"):
        newest = max((file.stat().st_mtime for file in (draft, *draft.rglob("*"))), default=0.0)
        if time.time() - newest > FORGOTTEN:
            with (
                suppress(Timeout, OSError),
                FileLock(draft.with_name(f"{draft.name.removesuffix(DRAFT)}.lock"), timeout=0),
            ):
                shutil.rmtree(draft)


def _generate(
    item: Registered, synthesis: Synthesis, store: CaseStore, training: Sequence[CaseRef], draft: Path, key: str, count: int,
    device: str, reporter: Reporter, seed: int,
) -> None:  # fmt: skip
    cls = item.resolve()
    with calling(cls, "__init__"):
        generator: Generator = cls(cls.Options(**synthesis.options))
    images = [torch.as_tensor(np.asarray(store.image(ref))).float() for ref in training]
    low, high = min(float(i.min()) for i in images), max(float(i.max()) for i in images)
    scale = (high - low) or 1.0
    images = [(image - low) / scale for image in images]
    phases: list[str] = []
    stopped = threading.Event()

    def stop() -> None:
        stopped.set()
        interrupt()

    def obey() -> None:
        """Stops if a signal has arrived whose exception was lost, as one that is raised in a destructor is."""
        if stopped.is_set():
            interrupt()

    def progress(what: str, done: int, of: int, values: Any) -> None:
        obey()
        if phases[-1:] != [what]:
            if phases:
                reporter.end()
            phases.append(what)
            reporter.phase(f"{item.name}: {what}", of)
        reporter.advance(done, values)

    with stopping(stop):
        start = time.perf_counter()
        with calling(generator, "fit"):
            fitted = generator.fit(images, draft / "model", seed=seed, device=device, progress=progress)
        returned(generator, "fit", fitted, Fitted)
        fit_seconds = time.perf_counter() - start
        obey()
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
    obey()
    if phases:
        reporter.end()
    kept = samples * scale + low
    np.save(draft / SAMPLES, kept.cpu().numpy().astype(np.float32))
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
    (draft / RECORD).write_text(json.dumps(record, indent=1, default=float), encoding="utf-8")
