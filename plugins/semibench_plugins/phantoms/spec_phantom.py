"""The base class for the first-party phantoms, which are drawn according to a `Spec`."""

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

REVISION = 3
"""The version of the pixels of phantoms of images. Raise it with any change that alters a value: it is part of the run key."""

_SCENE, _VIEW, _LAYOUT = 0, 1, 2


@dataclass(frozen=True)
class Streams:
    """The random streams of a case. layout: draws the size and settings of the image; body: the patient; view: the frame."""

    layout: np.random.Generator
    body: np.random.Generator
    view: np.random.Generator


class SpecPhantom(PhantomDataset):
    """A phantom that is drawn according to its spec.

    Attributes:
        specs: name of the data set -> its spec.
        version: the version of the pixels of this kind of phantom. Raise it with any change that alters a value.
    """

    specs: ClassVar[Mapping[str, Spec[Any]]]
    version: ClassVar[int] = REVISION

    def __init__(
        self, card: DatasetCard, options: DatasetOptions, phantom: PhantomOptions, normalise: Normalise | None = None
    ) -> None:
        self.spec = self.specs[card.name]
        self.cases, self.frames = self.spec.cases, self.spec.frames
        # Run keys include this digest, which covers the names and the order of the fields of Spec and of its looks.
        self.revision = f"r{self.version}:{hashlib.sha256(repr(self.spec).encode()).hexdigest()[:16]}"
        super().__init__(card, options, phantom, normalise)

    def domain_of(self, group: int) -> str:
        """Returns the domain of the group's look if there are as many looks as domains; otherwise all looks share the first one."""
        looks, domains = len(self.spec.looks), self.card.domains
        return domains[group % looks] if looks > 1 and looks == len(domains) else domains[0]

    def draw(self, group: int, frame: int, *, image: bool = True) -> Drawing:
        streams = Streams(
            layout=self.stream(group, 0, _LAYOUT),
            body=self.stream(group, 0, _SCENE),
            view=self.stream(group, frame, _VIEW),
        )
        look = self.spec.looks[group % len(self.spec.looks)]
        return self.draw_look(look, streams, group, frame, image=image)

    def stream(self, *path: int) -> np.random.Generator:
        """Creates the generator for one part of this phantom. path: the indices of the part, e.g. (patient, frame)."""
        return random_stream(self.version, self.card.name, self.seed, *path)

    @abstractmethod
    def draw_look(self, look: Any, streams: Streams, group: int, frame: int, *, image: bool) -> Drawing:
        """Draws one case as a machine, scanner or dermatoscope shows it; see `PhantomDataset.draw`."""
