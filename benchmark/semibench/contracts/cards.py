"""Cards: what a plugin declares before anything heavy is imported.

A hook returns cards. `load="package.module:Class"` is imported only when the plugin is used, so listing is instant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, field_validator, model_validator

from semibench.contracts.deprecation import deprecated

API = 1
"""Version of the plug-in contracts. A card written for a newer version is refused with a message."""

OLDEST_API = 1
"""Oldest version of the contracts whose plug-ins still run. A card written for an older one is refused with a message."""

NAME = re.compile(r"^[a-z0-9]+(?:[-+._][a-z0-9]+)*\+?$")
LOAD = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


class Declared(BaseModel, frozen=True, extra="forbid"):
    """Base of everything that hooks return."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """Old field name -> new one. The old one still works, with a DeprecationWarning ("MethodCard.old" in `DEPRECATIONS`)."""

    api: int = API
    """Version of the contracts that the card was written for. Write it down: the default is the version of the Semibench
    that reads the card."""

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, values: Any) -> Any:
        old = [name for name in cls.renamed if isinstance(values, dict) and name in values]
        for name in old:
            deprecated(f"{cls.__name__}.{name}", stacklevel=3)
        return {cls.renamed.get(name, name): value for name, value in values.items()} if old else values


class Loadable(Declared, frozen=True):
    """What a card declares that names a class or function to import when it is used."""

    name: str
    """The name that users type, in lower case ("mean-teacher")."""
    load: str
    """Where the class or function is: "package.module:Class"."""
    summary: str = ""
    """One line."""

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


class Card(Loadable, frozen=True):
    """What every plugin declares."""

    title: str
    """The name that tables and pages show."""
    paper: str = ""
    """Citation."""
    url: str = ""
    """Home page."""


class MethodCard(Card, frozen=True):
    """A semi-supervised learner."""

    dims: tuple[int, ...] = (2, 3)
    """Dimensions of the tasks it can learn."""
    protocols: tuple[str, ...] = ()
    """The protocols it is meant for; empty: all."""
    backbone: str | None = None
    """Its default backbone, if not the harness's default for the dims."""
    uses_unlabeled: bool = True
    """Whether unlabeled cases change its result."""
    default_for: tuple[str, ...] = ()
    """The protocols for which `bench run` uses it when no method is named."""
    reference: Literal["", "labels alone", "no image"] = ""
    """What it is on a board, for a method that is no competitor: "labels alone" trains on the labeled images only, "no image"
    looks at none. Boards show references beside the ranked rows and never rank them. Empty: a competitor."""


class WeightFile(BaseModel, frozen=True, extra="forbid"):
    """A file of pretrained weights. The user gives its path, the harness checks its digest."""

    name: str
    """The name that users type."""
    sha256: str | None = None
    """Expected digest; None: any file is accepted."""
    licence: str = ""
    """Licence of the weights."""
    obtain: str = ""
    """How to get the file."""


class BackboneCard(Card, frozen=True):
    """A network."""

    dims: tuple[int, ...] = (2,)
    """Dimensions it can be built for."""
    provides: tuple[Literal["stages", "time", "dropout", "prompts"], ...] = ()
    """What it offers beyond the contract; see `Backbone.provides`."""
    weights: tuple[WeightFile, ...] = ()
    """Weight files that it can start from."""
    default_for: tuple[int, ...] = ()
    """The dims for which it is the harness's default."""


class DatasetCard(Card, frozen=True):
    """A data set in its official layout."""

    dims: Literal[2, 3]
    """2 for images, 3 for volumes."""
    modality: str
    """Imaging modality, e.g. "ultrasound"."""
    channels: int = 1
    """Channels of an image."""
    classes: tuple[str, ...] = ("background", "foreground")
    """Names of the classes; the first is the background."""
    domains: tuple[str, ...] = ("default",)
    """Devices, centres or modalities."""
    slice_axis: int | None = None
    """The spatial axis along which a 2D network slices a volume."""
    network_dims: Literal[2, 3] | None = None
    """Dimensions of the network when a run does not choose any. None: those of the data. 2 is for volumes that the field
    trains by slices."""
    similar: tuple[str, ...] = ()
    """Data sets of the same task, for the protocol `similar`."""
    terms: str = ""
    """Terms of use."""
    obtain: str = ""
    """How to get the files."""
    tree: str = ""
    """The expected folder tree; errors show it."""
    cases: int | None = None
    """The official number of cases; `bench data verify` checks it."""
    editions: tuple[str, ...] = ("default",)
    """Published ways to prepare it."""
    label_informed: dict[str, str] = {}
    """Edition -> what it takes from the ground truth."""
    labeled_cases: bool = True
    """Whether its cases have labels."""
    public: bool = True
    """Whether the data set is public."""
    folders: tuple[str, ...] = ()
    """Official names of its top folder. They are accepted under the data root, as `name` is."""


class ProtocolCard(Card, frozen=True):
    """A rule that draws the split."""

    adds_to: str = ""
    """The protocol with the same labeled and test cases, to whose unlabeled cases this one adds others. Empty: none."""


class GeneratorCard(Card, frozen=True):
    """Learns from training cases and samples synthetic ones."""

    dims: tuple[int, ...] = (2,)
    """Dimensions of the images it can generate."""


class ConventionCard(Card, frozen=True):
    """How predictions are made and scored."""

    dims: tuple[int, ...] = (2, 3)
    """Dimensions of the cases it can score."""
    datasets: tuple[str, ...] = ()
    """The data sets it is made for; on others it scores only when asked to. Empty: all."""
    version: int = 1
    """Raise it when the numbers change."""
    default: bool = True
    """Whether runs are scored under it without being asked to."""


class SplitCard(Card, frozen=True):
    """Published splits of a data set; `load` names a `PublishedSplits` class."""

    dataset: str
    """Name of the data set."""


class RecipeCard(Declared, frozen=True):
    """Values of a named recipe for some dims, protocols or data sets.

    All cards that match a run are merged, the general ones first: a card is more specific the more of (dims, protocols,
    datasets) it names; ties are merged in order of registration. A plugin may add recipes for its own data set or protocol.
    """

    name: str
    """Name of the recipe, e.g. "paper"."""
    extends: str = ""
    """Another recipe, whose values for the run come first and those of this card over them. Empty: none."""
    dims: Literal[2, 3] | None = None
    """Dimensions of the network; None: both."""
    protocols: tuple[str, ...] = ()
    """Protocols it applies to; empty: all."""
    datasets: tuple[str, ...] = ()
    """Data sets it applies to; empty: all."""
    values: dict[str, Any] = {}
    """Fields of `Recipe`."""
    backbone: str = ""
    """The network of a run that names none and whose method prefers none. Empty: the harness's default for the dims."""
    protocol: dict[str, Any] = {}
    """Defaults of the protocol's options under this recipe, e.g. the number of synthetic cases."""
    source: str = ""
    """Where the values come from."""


class EngineCard(Card, frozen=True):
    """Runs the cells of a matrix somewhere: on this machine, a scheduler or a cluster."""

    extra: str = ""
    """The extra of the distribution that installs what the engine needs; messages name it."""


class SuiteCard(Card, frozen=True):
    """A named list of runs for `bench matrix`.

    `load` names a function `(name, *, recipe=None, phantom=False)` that returns the suite's `Cell`s, under another recipe
    or on phantoms if asked to.
    """


class CommandCard(Loadable, frozen=True):
    """A sub-command of `bench` that another package adds.

    `name` is the sub-command, `load` names a typer app or a function ("package.module:name"), and `bench --help` shows the
    `summary`.
    """


class ListenerCard(Loadable, frozen=True):
    """A callback invoked after runs finish, e.g. to update a leaderboard.

    `load` names a function `(folders, *, tracking_uri, reporter)`: `folders` are the run folders (done or failed, already
    mirrored), `tracking_uri` is the store, or None for the default one. Any exception becomes a warning; the runs are
    complete without the callback.
    """
