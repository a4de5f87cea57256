"""The contract of a generator: it learns from training cases and samples synthetic ones."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import BaseModel
from torch import Tensor

from semibench.contracts.cards import GeneratorCard

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""progress(what, done, of, values)"""


class GeneratorOptions(BaseModel, frozen=True, extra="forbid"):
    """Base of a generator's options."""


@dataclass(frozen=True)
class Fitted:
    """The result of `Generator.fit`."""

    directory: Path
    """Holds everything that `sample` needs."""
    record: Mapping[str, Any]
    """Values to log (losses, counts, times)."""


@dataclass(frozen=True)
class Curated:
    """Which samples were kept, and why the others were not."""

    kept: Tensor
    """int64 (n,), n <= count: positions of the kept samples, in the order they were drawn."""
    unrealistic: int
    """Number of samples rejected as unrealistic."""
    memorised: int
    """Number of samples rejected as copies of training images."""
    filled: int
    """How many of the kept samples were rejected as unrealistic and re-admitted, best-scoring first, because too few
    passed. Memorised samples are never re-admitted."""
    record: Mapping[str, Any]
    """The rule with its thresholds and distances, as plain values."""


class Generator(ABC):
    """Learns from training images and samples synthetic ones. The harness builds it with `Generator(options)`."""

    card: ClassVar[GeneratorCard]
    """The card that the hook returns."""
    Options: ClassVar[type[GeneratorOptions]] = GeneratorOptions
    """The options of this generator."""
    Curation: ClassVar[type[GeneratorOptions]] = GeneratorOptions
    """The options of its curation rule. None by default: the default rule keeps the first samples."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Option values by recipe name ("quick", "smoke", "paper")."""

    def __init__(self, options: Any) -> None:
        """Remember the options.

        Args:
            options: an instance of `Options`.
        """
        self.options = options

    @abstractmethod
    def fit(
        self, images: Iterable[Tensor], directory: Path, *, seed: int, device: str, progress: Progress | None = None
    ) -> Fitted:
        """Learn from training images and write the model. Never sees validation or test cases.

        Args:
            images: float32 (C, *spatial) each, on the working grid, with values in [0, 1].
            directory: where to write the model (safetensors and JSON).
            seed: the same seed gives the same model.
            device: the device to train on.
            progress: called with the task, the steps done, their number, and values to show.

        Returns:
            The directory and the values to log.
        """

    @abstractmethod
    def sample(
        self, directory: Path, count: int, *, seed: int, device: str, progress: Progress | None = None
    ) -> Tensor:
        """Sample synthetic images from a fitted model.

        Args:
            directory: where `fit` wrote the model.
            count: number of samples.
            seed: the same seed gives the same samples.
            device: the device to sample on.
            progress: as in `fit`.

        Returns:
            float32 (count, C, *spatial) with values in [0, 1].
        """

    def curate(self, samples: Tensor, real: Tensor, *, count: int, options: Mapping[str, Any]) -> Curated:
        """Choose which samples to keep, by a stated rule that may look at the training images and nothing else.

        The default rule keeps the first ones.

        Args:
            samples: (n, C, *spatial).
            real: the training images, (m, C, *spatial).
            count: the maximum number of samples to keep.
            options: values for `Curation`.
        """
        self.Curation.model_validate(dict(options))
        return Curated(torch.arange(min(count, len(samples))), 0, 0, 0, {"rule": "none"})

    def synthesise(
        self,
        directory: Path,
        real: Tensor,
        count: int,
        *,
        candidates: float = 2.0,
        options: Mapping[str, Any] | None = None,
        seed: int,
        device: str,
        progress: Progress | None = None,
    ) -> tuple[Tensor, Curated]:
        """Sample and curate until `count` samples pass or `candidates` x `count` have been drawn.

        Samples that are then missing are filled in by `curate`. Fewer than `count` result only if too many are memorised.

        Args:
            directory: where `fit` wrote the model.
            real: the training images, (m, C, *spatial).
            count: number of samples to keep.
            candidates: the maximum number of samples to draw for each kept one.
            options: values for `Curation`.
            seed: the same seed gives the same samples.
            device: the device to sample on.
            progress: as in `fit`.

        Returns:
            The kept samples (n, C, *spatial), n <= count, and the last choice.
        """
        limit = max(count, math.ceil(candidates * count))
        drawn = real.new_zeros((0, *real.shape[1:]))
        batch, turn = count, 0
        while True:
            number = int.from_bytes(hashlib.sha256(f"{seed}/sample/{turn}".encode()).digest()[:6], "big")
            more = self.sample(directory, batch, seed=number, device=device, progress=progress)
            drawn = torch.cat([drawn, more.to(drawn)])
            # All samples so far are curated again: whether one passes may depend on the others.
            curated = self.curate(drawn, real, count=count, options=options or {})
            missing = count - (len(curated.kept) - curated.filled)
            batch, turn = min(2 * missing, limit - len(drawn)), turn + 1
            if batch <= 0:
                return drawn[curated.kept], curated
