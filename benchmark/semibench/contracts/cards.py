"""Cards: what a plugin says about itself before anything heavy is imported.

A hook returns cards; `load="package.module:Class"` is imported only when the plugin is used, so listing is instant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, field_validator, model_validator

from semibench.contracts.deprecation import deprecated

API = 1
"""Version of the plug-in contracts. A card made for a newer one is refused with a message."""

OLDEST_API = 1
"""Oldest version of the contracts whose plug-ins still run. A card made for an older one is refused with a message."""

NAME = re.compile(r"^[a-z0-9]+(?:[-+._][a-z0-9]+)*\+?$")
LOAD = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


class Declared(BaseModel, frozen=True, extra="forbid"):
    """Base of all that hooks return. api: version of the contracts it was written for; to be written down, since the
    default is the version of the Semibench that reads the card."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """Old field -> new field; the old one works, with a DeprecationWarning ("MethodCard.old" in `DEPRECATIONS`)."""

    api: int = API

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, values: Any) -> Any:
        old = [name for name in cls.renamed if isinstance(values, dict) and name in values]
        for name in old:
            deprecated(f"{cls.__name__}.{name}", stacklevel=3)
        return {cls.renamed.get(name, name): value for name, value in values.items()} if old else values


class Card(Declared, frozen=True):
    """What every plugin declares.

    name: lower case, as typed by users ("mean-teacher"). title: as shown. load: "package.module:Class".
    summary: one line. paper: citation. url: home page. api: version of the contracts it was written for.
    """

    name: str
    title: str
    load: str
    summary: str = ""
    paper: str = ""
    url: str = ""

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not NAME.match(value):
            raise ValueError(
                f"a name is lower case letters, digits and single dashes, e.g. 'mean-teacher'; got {value!r}"
            )
        return value

    @field_validator("load")
    @classmethod
    def _load(cls, value: str) -> str:
        if not LOAD.match(value):
            raise ValueError(f"load is 'package.module:Class'; got {value!r}")
        return value


class MethodCard(Card, frozen=True):
    """A semi-supervised learner. protocols: those it is meant for (empty: all). backbone: where it wants another than the
    harness's default for these dims. uses_unlabeled: whether unlabeled cases change anything. default_for: protocols for
    which `bench run` takes it when no method is named."""

    dims: tuple[int, ...] = (2, 3)
    protocols: tuple[str, ...] = ()
    backbone: str | None = None
    uses_unlabeled: bool = True
    default_for: tuple[str, ...] = ()


class WeightFile(BaseModel, frozen=True, extra="forbid"):
    """A file of pretrained weights; the user gives its path, the harness checks the digest."""

    name: str
    sha256: str | None = None
    licence: str = ""
    obtain: str = ""


class BackboneCard(Card, frozen=True):
    """A network. default_for: the dims for which it is the harness's default."""

    dims: tuple[int, ...] = (2,)
    provides: tuple[Literal["stages", "time", "dropout", "prompts"], ...] = ()
    weights: tuple[WeightFile, ...] = ()
    default_for: tuple[int, ...] = ()


class DatasetCard(Card, frozen=True):
    """A data set in its official layout.

    dims: 2 for images, 3 for volumes. classes[0] is the background. domains: devices, centres or modalities.
    slice_axis: the spatial axis a 2D network cuts a volume along. network_dims: of the network where a run names none (None:
    those of the data; 2 for volumes that the field trains by slices). similar: data sets of the same task, for the protocol
    `similar`. tree: the expected folder tree, shown in errors. label_informed: what the edition takes from the ground
    truth. cases: the official number, checked by `bench data verify`. folders: official names of its top folder, which
    are accepted under the data root beside `name`.
    """

    dims: Literal[2, 3]
    modality: str
    channels: int = 1
    classes: tuple[str, ...] = ("background", "foreground")
    domains: tuple[str, ...] = ("default",)
    slice_axis: int | None = None
    network_dims: Literal[2, 3] | None = None
    similar: tuple[str, ...] = ()
    terms: str = ""
    obtain: str = ""
    tree: str = ""
    cases: int | None = None
    editions: tuple[str, ...] = ("default",)
    label_informed: dict[str, str] = {}
    labeled_cases: bool = True
    public: bool = True
    folders: tuple[str, ...] = ()


class ProtocolCard(Card, frozen=True):
    """A rule that draws the split."""


class GeneratorCard(Card, frozen=True):
    """Learns from training cases and samples synthetic ones."""

    dims: tuple[int, ...] = (2,)


class ConventionCard(Card, frozen=True):
    """How predictions are made and become numbers. dims: of the cases it can score; datasets: those it is made for, on
    others it scores where it is asked for (empty: all)."""

    dims: tuple[int, ...] = (2, 3)
    datasets: tuple[str, ...] = ()
    version: int = 1


class SplitCard(Card, frozen=True):
    """Published splits of a data set, by name; `load` names a `PublishedSplits` class."""

    dataset: str


class RecipeCard(Declared, frozen=True):
    """Values of a named recipe for some settings. All cards that match are laid over each other, the general first:
    a card is the more specific the more of (dims, protocols, datasets) it names; ties: in order of registration.

    values: fields of `Recipe`; protocol: defaults of the protocol's options under this recipe (e.g. how many synthetic
    cases). A plugin may add recipes for its own data set or protocol.
    """

    name: str
    dims: Literal[2, 3] | None = None
    protocols: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    values: dict[str, Any] = {}
    protocol: dict[str, Any] = {}
    source: str = ""


class EngineCard(Card, frozen=True):
    """Runs the cells of a matrix somewhere: this machine, a scheduler, a cluster. extra: the extra of the distribution that
    brings what it needs, for messages."""

    extra: str = ""


class SuiteCard(Card, frozen=True):
    """A named list of runs for `bench matrix`. `load` names a function `(name, *, recipe=None, phantom=False)` that returns its
    `Cell`s: under another recipe, or on phantoms, where asked for."""


class CommandCard(Declared, frozen=True):
    """A sub-command of `bench` that another package brings; `load` names a typer app or a function."""

    name: str
    load: str
    summary: str = ""


class ListenerCard(Declared, frozen=True):
    """Somebody who is told of runs that ended, e.g. to bring a leaderboard up to date. `load` names a function
    `(folders, *, tracking_uri, reporter)`: `folders` are the run folders (done or failed, mirrored already), `tracking_uri` the
    store or None for the default one. Whatever it raises becomes a warning; the runs are complete without it."""

    name: str
    load: str
    summary: str = ""
