"""The base of the first-party phantoms, which are drawn as a `Spec` says."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from semibench import DatasetCard, DatasetOptions, PhantomOptions
from semibench.blocks import Drawing, Normalise, PhantomDataset, random_stream
from semibench_plugins.phantoms.spec import Spec

REVISION = 1
"""Of the pixels of all phantoms. Raise it with any change that alters a digit: it enters the identity of phantom data."""

_SCENE, _VIEW, _LAYOUT = 0, 1, 2


def stream(dataset: str, seed: int, *path: int) -> np.random.Generator:
    """The generator of one thing of a phantom of this revision; `path` are its numbers, e.g. (patient, frame)."""
    return random_stream(REVISION, dataset, seed, *path)


@dataclass(frozen=True)
class Streams:
    """Random streams of a case. layout: size and settings of the image; body: the patient; view: the frame."""

    layout: np.random.Generator
    body: np.random.Generator
    view: np.random.Generator


class SpecPhantom(PhantomDataset):
    """A phantom that is drawn by its spec. specs: by the name of the data set."""

    specs: ClassVar[Mapping[str, Spec[Any]]]

    def __init__(
        self, card: DatasetCard, options: DatasetOptions, phantom: PhantomOptions, normalise: Normalise | None = None
    ) -> None:
        self.spec = self.specs[card.name]
        self.cases, self.frames = self.spec.cases, self.spec.frames
        # The key of a run holds this digest: names and order of the fields of Spec and of its looks are part of it.
        self.revision = f"r{REVISION}:{hashlib.sha256(repr(self.spec).encode()).hexdigest()[:16]}"
        super().__init__(card, options, phantom, normalise)

    def domain_of(self, group: int) -> str:
        """The domain of the group's look where looks and domains are as many; else looks are mixed in the first one."""
        looks, domains = len(self.spec.looks), self.card.domains
        return domains[group % looks] if looks > 1 and looks == len(domains) else domains[0]

    def draw(self, group: int, frame: int, *, image: bool = True) -> Drawing:
        name, seed = self.card.name, self.seed
        streams = Streams(
            layout=stream(name, seed, group, 0, _LAYOUT),
            body=stream(name, seed, group, 0, _SCENE),
            view=stream(name, seed, group, frame, _VIEW),
        )
        look = self.spec.looks[group % len(self.spec.looks)]
        return self.draw_look(look, streams, group, frame, image=image)

    @abstractmethod
    def draw_look(self, look: Any, streams: Streams, group: int, frame: int, *, image: bool) -> Drawing:
        """Draw one case as a machine, scanner or dermatoscope shows it; see `PhantomDataset.draw`."""
