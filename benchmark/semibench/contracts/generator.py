"""What a generator is: it learns from training cases and samples synthetic ones."""

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
    """What `fit` returns. directory: holds everything `sample` needs; record: figures to log (losses, counts, times)."""

    directory: Path
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Curated:
    """Which samples are kept. kept: int64 (n,), n <= count, positions in the samples, in the order they were drawn;
    unrealistic, memorised: how many were rejected for which reason; filled: how many of the kept ones were rejected as
    unrealistic and taken back, the least bad first, for want of better ones (memorised ones never are); record: the rule
    with its thresholds and distances, plain values."""

    kept: Tensor
    unrealistic: int
    memorised: int
    filled: int
    record: Mapping[str, Any]


class Generator(ABC):
    """`Generator(options)`. presets: option values by recipe name ("quick", "smoke", "paper"). Curation: the options of
    its curation rule (none here: the rule keeps what comes first)."""

    card: ClassVar[GeneratorCard]
    Options: ClassVar[type[GeneratorOptions]] = GeneratorOptions
    Curation: ClassVar[type[GeneratorOptions]] = GeneratorOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def fit(
        self, images: Iterable[Tensor], directory: Path, *, seed: int, device: str, progress: Progress | None = None
    ) -> Fitted:
        """Learn from training images, each float32 (C, *spatial) on the working grid in [0, 1], and write the model under
        `directory` (safetensors and JSON). Never sees validation or test cases."""

    @abstractmethod
    def sample(
        self, directory: Path, count: int, *, seed: int, device: str, progress: Progress | None = None
    ) -> Tensor:
        """float32 (count, C, *spatial) in [0, 1] from a fitted directory; the same for the same seed."""

    def curate(self, samples: Tensor, real: Tensor, *, count: int, options: Mapping[str, Any]) -> Curated:
        """Choose at most `count` of the samples (n, C, *spatial) by a stated rule that may look at the training images
        `real` (m, C, *spatial) and at nothing else. options: values for `Curation`. Default: the first ones, no rule."""
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
        """Sample and curate until `count` samples survive or `candidates` x count were drawn; what then is missing was
        filled by `curate`. Returns (kept samples (n, C, *spatial), the last choice). n < count only where too many
        samples are memorised."""
        limit = max(count, math.ceil(candidates * count))
        drawn = real.new_zeros((0, *real.shape[1:]))
        wanted, turn = count, 0
        while True:
            number = int.from_bytes(hashlib.sha256(f"{seed}/sample/{turn}".encode()).digest()[:6], "big")
            more = self.sample(directory, wanted, seed=number, device=device, progress=progress)
            drawn = torch.cat([drawn, more.to(drawn)])
            chosen = self.curate(drawn, real, count=count, options=options or {})
            missing = count - (len(chosen.kept) - chosen.filled)
            wanted, turn = min(2 * missing, limit - len(drawn)), turn + 1
            if wanted <= 0:
                return drawn[chosen.kept], chosen
