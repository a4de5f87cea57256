"""What a generator is: it learns from training cases and samples synthetic ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

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


class Generator(ABC):
    """`Generator(options)`. presets: option values by recipe name ("quick", "smoke", "paper")."""

    card: ClassVar[GeneratorCard]
    Options: ClassVar[type[GeneratorOptions]] = GeneratorOptions
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
