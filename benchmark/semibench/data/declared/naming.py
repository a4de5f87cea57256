"""Turns what a user calls a data set into a plug-in: a name of the registry, a registered name of their own, or a path."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semibench import __version__
from semibench.blocks.datasets.folder_walk import printable
from semibench.contracts.cards import DatasetCard
from semibench.contracts.errors import LayoutError, UnknownNameError, UsageError
from semibench.contracts.identity import LOCAL
from semibench.data.roots import Attempt, Location, cache_dir, locate, registered_folders
from semibench.discovery.registry import Registered, Registry, registry
from semibench.files import read_cached_json, write_cached_json
from semibench.reporting import Reporter

if TYPE_CHECKING:
    from semibench.data.declared.declaration import Declaration
    from semibench.data.declared.look import Look


@dataclass(frozen=True)
class DeclaredSet(Registered):
    """A data set that is declared by its folder. home: the folder. look: what was found there."""

    home: Path = Path()
    look: Look | None = field(default=None, compare=False, repr=False)

    def resolve(self) -> Any:
        """Returns the class of this data set."""
        from semibench.data.declared.dataset import declared_class

        assert self.look is not None
        return declared_class(self.card.name, self.look.declaration, self.look.found)

    def told(self) -> list[str]:
        """Returns what was decided about the folder, one line each, for the user."""
        assert self.look is not None
        return [f"{self.name}: {note}" for note in self.look.notes]

    def doubts(self) -> list[str]:
        """Returns what is suspicious about the folder, one line each."""
        assert self.look is not None
        return [f"{self.name}: {warning}" for warning in self.look.warnings]


def is_path(name: str) -> bool:
    """Returns whether the name of a data set is written as a path: ./mydata, ../mydata, ~/mydata, /data/mine, .\\mydata."""
    return name.startswith((".", "~")) or "/" in name or "\\" in name or Path(name).is_absolute()


def short_name(name: str) -> str:
    """Returns the name under which boards and studies know what a request calls its data set."""
    if not is_path(name):
        return name.split(":")[-1]
    return find_dataset(registry(), name).name


def find_dataset(plugins: Registry, name: str, reporter: Reporter | None = None) -> Registered:
    """Looks up a data set.

    Args:
        plugins: the registry.
        name: a name of the registry, a name that `bench data register` gave, "local:NAME" as a spec stores it, or a path.
        reporter: receives progress where labels must be looked at.

    Raises:
        UnknownNameError: for a name that nobody knows.
        LayoutError: for a folder that can't be used as a data set.
        UsageError: for a semibench.yaml that can't be read.
        PluginError: for a broken plug-in.
    """
    if is_path(name):
        return declared_set(Path(name).expanduser(), plugins, reporter)
    owner, _, short = name.rpartition(":")
    if owner == LOCAL:
        folder = registered_folders().get(short) or _remembered(short)
        if folder is None:
            raise UsageError(
                f"data set {name!r} is declared by a folder that isn't known here; name it: bench data register {short} FOLDER"
            )
        return declared_set(folder, plugins, reporter, name=short)
    try:
        return plugins.get("datasets", name)
    except UnknownNameError as error:
        folder = registered_folders().get(name) if not owner else None
        if folder is not None:
            return declared_set(folder, plugins, reporter, name=name)
        if Path(name).is_dir():
            error.args = (f"{error} There is a folder {name!r} here: write -d ./{name} to use it.",)
        raise


def declared_set(
    path: Path,
    plugins: Registry,
    reporter: Reporter | None = None,
    *,
    name: str | None = None,
    chosen: str | None = None,
    start: Declaration | None = None,
    read_labels: bool = False,
) -> DeclaredSet:
    """Looks at a folder, or the folder of a list, and returns it as a data set.

    Args:
        path: the folder, or a CSV or JSON list of cases.
        plugins: the registry, whose names the data set doesn't take.
        reporter: receives progress.
        name: the name that it is registered under; None: that, if it is, else the one in semibench.yaml, else the folder's.
        chosen: a name that stands before that in semibench.yaml.
        start: the declaration to complete; None: that of its semibench.yaml.
        read_labels: read every label even if the classes are declared.
    """
    from semibench.data.declared.declaration import read_declaration
    from semibench.data.declared.look import look_at

    if printable(path) != str(path) or "\0" in str(path):
        raise UsageError(f"{printable(path)!r}: expected a path in UTF-8, found other bytes in it; rename the folder")
    is_list = path.is_file() and path.suffix.lower() in (".csv", ".json")
    if not is_list and not path.is_dir():
        what = "a file" if path.is_file() else "nothing"
        raise LayoutError(
            f"{path}: expected a folder with images and labels, or a CSV or JSON list, found {what} there; correct the path"
        )
    home = path.parent if is_list else path
    declaration = start or read_declaration(home)
    if is_list:
        declaration = declaration.model_copy(update={"layout": "list", "list": path.name})
    look = look_at(home, declaration, read_labels=read_labels, reporter=reporter)
    own = name or _registered_name(path) or chosen or declaration.name or _name_of(path)
    taken = {item.name for item in plugins.cards("datasets")}
    if own in taken:
        own = f"{own}-{LOCAL}"
    card = _card(own, look)
    _remember(card.name, home if not is_list else path)
    return DeclaredSet(
        "datasets", card, LOCAL, __version__, LOCAL, "semibench.data.declared.dataset",
        home=home.resolve(), look=look,
    )  # fmt: skip


def own_names(plugins: Registry) -> dict[str, Path]:
    """Returns the names that `bench data register` gave, with their folders."""
    taken = {item.name for item in plugins.cards("datasets")}
    return {name: folder for name, folder in registered_folders().items() if name not in taken}


def place_of(item: Registered, data_root: Path | None) -> Location:
    """Returns where the files of a data set are: the folder that declares it, or as `locate` finds it.

    `--data-root` doesn't move a declared data set: it holds those that a protocol adds."""
    if isinstance(item, DeclaredSet):
        return Location(item.name, item.home, "its declaration", (Attempt("its declaration", item.home, "found"),))
    return locate(item.name, data_root, aliases=item.card.folders)


def slug(text: str) -> str:
    """Returns a text as a name of a data set: lower case letters and digits, single dashes between."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def _name_of(path: Path) -> str:
    resolved = path.resolve()
    stem = resolved.name if resolved.is_dir() else resolved.name[: -len(resolved.suffix)]
    return slug(stem) or "own"


def _card(name: str, look: Look) -> DatasetCard:
    from semibench.data.declared.dataset import declared_class

    try:
        card: DatasetCard = declared_class(name, look.declaration, look.found).card
        return card
    except ValueError as error:
        raise UsageError(
            f"{name!r}: expected a name of lower case letters, digits and single dashes; correct `name` in semibench.yaml"
        ) from error


def _registered_name(path: Path) -> str | None:
    for name, folder in registered_folders().items():
        with contextlib.suppress(OSError):
            if folder.resolve() == path.resolve():
                return name
    return None


MEMORY = "declared-folders.json"


def _remember(name: str, path: Path) -> None:
    """Notes where a declared data set was, so that runs of it can be verified and drawn later."""
    file = cache_dir() / MEMORY
    known = read_cached_json(file)
    here = str(path.resolve())
    if known.get(name) != here:
        write_cached_json(file, {**known, name: here})


def _remembered(name: str) -> Path | None:
    known = read_cached_json(cache_dir() / MEMORY).get(name)
    return Path(known) if isinstance(known, str) and Path(known).exists() else None
