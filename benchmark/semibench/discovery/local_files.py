"""Plug-ins in a Python file that no package holds: find the file, import it, and write the cards that it leaves out.

Such plug-ins belong to the distribution `local`. A file is imported as the module `semibench_local.FOLDER.FILE`, where FOLDER
stands for the folder that it is in, so that files of the same name in two folders don't meet. It may import what lies beside it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from semibench.contracts.errors import PluginError, SemibenchError, UsageError, one_line
from semibench.contracts.identity import LOCAL
from semibench.discovery.hookspecs import hookimpl
from semibench.discovery.registered import KINDS, Registered, Source, is_plain_network
from semibench.process import prints_to_stderr
from semibench.source_digest import LOCAL_PACKAGE

VERSION = "file"
"""What stands in the place of a version."""

EXAMPLE = "expected FILE.py:CLASS, e.g. ./my_method.py:MyMethod"

MARK = "semibench_impl"
"""Attribute that `semibench.hookimpl` gives a function."""

_assumed: dict[str, str] = {}
"""Module and class of a plug-in without a card -> what was assumed, in a sentence."""


@dataclass(frozen=True)
class Reference:
    """A class in a file, as users name it. attribute: empty if the text names the file alone."""

    file: Path
    attribute: str

    @classmethod
    def of(cls, text: str) -> Reference | None:
        """Return what a text such as "./my_method.py:MyMethod" names; None for the name of a plug-in.

        Raises:
            UsageError: for a path that names no Python file.
        """
        match = re.fullmatch(r"(?P<file>.*\.py)(?::(?P<attribute>.*))?", text, re.DOTALL)
        if match is not None:
            return cls(Path(match["file"]).expanduser(), match["attribute"] or "")
        if "/" in text or "\\" in text:
            raise UsageError(f"{text!r} names no class in a Python file; {EXAMPLE}")
        return None


def _install(folder: Path) -> str:
    """Make a folder importable as a package of `semibench_local`; return the package's name."""
    name = f"{LOCAL_PACKAGE}.f{hashlib.sha256(str(folder).encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    for full, places in ((LOCAL_PACKAGE, []), (name, [str(folder)])):
        if full not in sys.modules:
            package = ModuleType(full)
            package.__path__ = places
            package.__spec__ = importlib.util.spec_from_loader(full, loader=None, is_package=True)
            sys.modules[full] = package
    return name


_folders: list[str] = []
"""Folders at the end of the search path, so that a file may say `import losses` for a file beside it."""


def _look_beside(folder: Path) -> None:
    """Let `import losses` find the file in this folder, not one of the same name in the folder of another plug-in."""
    text = str(folder)
    for other in _folders:
        if other in sys.path:
            sys.path.remove(other)
    _folders[:] = [text, *(other for other in _folders if other != text)]
    sys.path.extend(_folders)
    for file in folder.glob("*.py"):
        place = getattr(sys.modules.get(file.stem), "__file__", None)
        if place is not None and Path(place).parent != folder and str(Path(place).parent) in _folders:
            del sys.modules[file.stem]


def import_file(path: Path) -> ModuleType:
    """Import a Python file.

    Raises:
        UsageError: if there is no such file, or its name can't be that of a module.
        PluginError: if it can't be imported; names the line.
    """
    try:
        found = path.is_file()
    except (OSError, ValueError):
        found = False
    if not found:
        what = "is a folder" if found is False and _is_folder(path) else "no such file"
        raise UsageError(f"{path}: {what}; {EXAMPLE}")
    if not path.stem.isidentifier():
        near = re.sub(r"\W", "_", path.stem)
        raise UsageError(
            f"{path}: a module's name has letters, digits and underscores only; rename the file to {near}.py"
        )
    file = path.resolve()
    name = f"{_install(file.parent)}.{file.stem}"
    if name not in sys.modules:
        _look_beside(file.parent)
    try:
        with prints_to_stderr():
            return importlib.import_module(name)
    except SemibenchError:
        raise
    except (Exception, SystemExit) as error:
        place = _line(error, file)
        where = f" (line {place})" if place else ""
        raise PluginError(f"{path} can't be imported{where}: {type(error).__name__}: {one_line(error)}") from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _line(error: BaseException, file: Path) -> int | None:
    """Return the line of a file in which an error was raised or, for a syntax error, found."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == file:
        return error.lineno
    lines = [
        number for frame, number in traceback.walk_tb(error.__traceback__) if Path(frame.f_code.co_filename) == file
    ]
    return lines[-1] if lines else None


def kind_of_class(cls: Any) -> str | None:
    """Return the kind of plug-in that a class is, by its contract; None if it is none."""
    for kind in KINDS.values():
        if kind.base is not None and isinstance(cls, type):
            module, name = kind.base.split(":")
            if issubclass(cls, getattr(importlib.import_module(module), name)):
                return kind.name
    return None


def plugin_classes(module: ModuleType) -> dict[str, str]:
    """Return the plug-ins that a module defines, class -> kind. A plain network counts if it has the file's name
    (`net.py`: `Net`)."""
    found: dict[str, str] = {}
    for name, cls in vars(module).items():
        if isinstance(cls, type) and cls.__module__ == module.__name__ and not name.startswith("_"):
            kind = None if inspect.isabstract(cls) else kind_of_class(cls)
            if kind is None and kebab(name) == kebab(module.__name__.rpartition(".")[2]) and is_plain_network(cls):
                kind = "backbones"
            if kind is not None:
                found[name] = kind
    return found


def kebab(name: str) -> str:
    """Return a class's name as plug-ins are named: "MyMethod" and "my_method" -> "my-method"."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


# ---- cards ---------------------------------------------------------------------------------------------------------


def card_of(cls: type, kind: str, load: str, file: str) -> Any:
    """Return the card of a class: its attribute `card`, or one that is inferred from the class.

    Args:
        cls: the class.
        kind: of plug-in.
        load: module and class, which replace what a card says.
        file: name of the file, for messages.

    Raises:
        PluginError: if a card of this kind can't be inferred.
    """
    card_class, own = KINDS[kind].card, getattr(cls, "card", None)
    if isinstance(own, card_class) and "card" in vars(cls):
        card = own.model_copy(update={"load": load})
    elif isinstance(own, card_class):
        changes = {"name": kebab(cls.__name__), "title": cls.__name__, "load": load}
        card = own.model_copy(update=changes)
        _assumed[load] = f"no card in {file}: {cls.__name__} has that of {own.name!r}, under a name of its own"
    else:
        card, words = _inferred(cls, kind, load)
        _assumed[load] = f"no card in {file}: {cls.__name__} is taken for {words}"
    if hasattr(cls, "card") or kind == "conventions":  # the harness reads it from the class
        cls.card = card  # type: ignore[attr-defined]
    return card


def _inferred(cls: Any, kind: str, load: str) -> tuple[Any, str]:
    card_class = KINDS[kind].card
    facts: dict[str, Any] = {
        "name": kebab(cls.__name__), "title": cls.__name__, "load": load,
        "summary": (inspect.getdoc(cls) or "").strip().partition("\n")[0],
    }  # fmt: skip
    words = f"a {KINDS[kind].singular}"
    if "dims" in card_class.model_fields and kind != "datasets":
        given = getattr(cls, "dims", None)
        facts["dims"] = tuple(given) if isinstance(given, Sequence) else (given,) if isinstance(given, int) else (2, 3)
        words += f" of {' and '.join(f'{side}D' for side in facts['dims'])}"
    if kind == "methods":
        facts["protocols"] = tuple(getattr(cls, "protocols", ()))
        facts["uses_unlabeled"] = any(stream.pool != "labeled" for stream in cls.streams.values())
        words += f", for {', '.join(facts['protocols']) or 'every protocol'}, that "
        words += "uses unlabeled images" if facts["uses_unlabeled"] else "uses no unlabeled image"
    if kind == "backbones":
        facts["provides"] = tuple(sorted(getattr(cls, "provides", ())))
    try:
        return card_class(**facts), words
    except ValueError as error:
        lacking = [name for name, field in card_class.model_fields.items() if field.is_required() and name not in facts]
        raise PluginError(
            f"{cls.__name__}: a {KINDS[kind].singular} needs a card: write `card = {card_class.__name__}(...)` in the class"
            + (f", with {', '.join(lacking)}" if lacking else f"; {one_line(error)}")
        ) from error


def assumed(load: str) -> str:
    """Return what was assumed of a plug-in without a card, in a sentence; empty if it has one."""
    return _assumed.get(load, "")


# ---- sources -------------------------------------------------------------------------------------------------------


def source_of(file: Path) -> Source:
    """Return a file as a source of plug-ins."""
    path = file.resolve()
    return Source(LOCAL, VERSION, file.name, _module_name(path), lambda: _hooks(path), path)


def _module_name(path: Path) -> str:
    return f"{_install(path.parent)}.{path.stem}"


def sources_of(place: Path, named_by: str) -> Iterator[Source]:
    """Yield the sources in a folder, or the one that is a file.

    In a folder, files are looked at whose text mentions Semibench; those that begin with an underscore or with "test" are not.

    Args:
        place: the file or folder.
        named_by: what names it, for the problem if it doesn't exist.
    """
    if _is_folder(place):
        for file in sorted(place.glob("*.py")):
            if not file.name.startswith(("_", "test", "conftest", ".")) and _mentions_semibench(file):
                yield source_of(file)
    else:
        yield Source(LOCAL, VERSION, place.name, str(place), lambda: _hooks(place, named_by), place.resolve())


def _mentions_semibench(file: Path) -> bool:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True  # importing it says what is wrong
    return "semibench" in text or f"class {file.stem.title().replace('_', '')}" in text


def _hooks(file: Path, named_by: str = "") -> Any:
    """Import a file and return its hooks: those that it writes, with `load` completed, or else hooks that return the cards of
    its classes."""
    if named_by and not file.is_file():
        raise UsageError(f"{file}, which {named_by} names, is neither a file nor a folder")
    module = import_file(file)
    cards: dict[str, list[Any]] = defaultdict(list)
    for name, function in list(vars(module).items()):
        if callable(function) and hasattr(function, MARK):
            cards[name] += [_completed(card, module) for card in function()]
    if not cards:
        for name, kind in plugin_classes(module).items():
            load = f"{module.__name__}:{name}"
            cards[KINDS[kind].hook].append(card_of(getattr(module, name), kind, load, file.name))
    return SimpleNamespace(**{hook: hookimpl(_returning(hook, found)) for hook, found in cards.items()})


def _returning(name: str, cards: list[Any]) -> Callable[[], list[Any]]:
    def hook() -> list[Any]:
        return cards

    hook.__name__ = name
    return hook


def _completed(card: Any, module: ModuleType) -> Any:
    """Return a card whose `load` names this file, or one beside it, by the name under which it is imported."""
    load = getattr(card, "load", "")
    name, _, attribute = load.partition(":")
    package, _, stem = module.__name__.rpartition(".")
    beside = Path(str(module.__file__)).parent / f"{name}.py"
    if not attribute or (name != stem and not beside.is_file()):
        return card
    completed = card.model_copy(update={"load": f"{package}.{name}:{attribute}"})
    cls = getattr(module, attribute, None) if name == stem else None
    if getattr(cls, "card", None) == card:
        cls.card = completed  # type: ignore[union-attr]
    return completed


# ---- by reference --------------------------------------------------------------------------------------------------


def find_in_file(kind: str, reference: Reference) -> Registered:
    """Return the plug-in that a text such as "./my_method.py:MyMethod" names.

    Raises:
        UsageError: if there is no such file or class.
        PluginError: if the file can't be imported, or the class isn't of this kind.
    """
    module = import_file(reference.file)
    file = Path(str(module.__file__))
    singular = KINDS[kind].singular
    attribute = reference.attribute or _only_class(module, kind, reference.file)
    if not hasattr(module, attribute):
        listed = ", ".join(plugin_classes(module)) or "none"
        raise UsageError(f"{reference.file} has no class {attribute!r}; its plug-ins: {listed}")
    cls = getattr(module, attribute)
    base = (KINDS[kind].base or ":").partition(":")[2]
    if kind_of_class(cls) != kind and not (kind == "backbones" and is_plain_network(cls)):
        expected = f"a subclass of semibench.{base}" + (" or of torch.nn.Module" if kind == "backbones" else "")
        other = kind_of_class(cls)
        what = f"a {KINDS[other].singular}" if other else repr(cls)[:80]
        raise PluginError(
            f"{reference.file}:{attribute} can't be used as a {singular}: expected {expected}, found {what}"
        )
    load = f"{module.__name__}:{attribute}"
    cards = [card for hook in vars(_hooks(file)).values() for card in hook() if getattr(card, "load", "") == load]
    card = cards[0] if cards else card_of(cls, kind, load, file.name)
    return Registered(kind, card, LOCAL, VERSION, file.name, module.__name__, file, assumed(load))


def _only_class(module: ModuleType, kind: str, file: Path) -> str:
    """Return the one class of a kind in a module. Raises UsageError if it has none or several."""
    names = [name for name, found in plugin_classes(module).items() if found == kind]
    if len(names) != 1:
        singular = KINDS[kind].singular
        found = f"{len(names)} ({', '.join(names)})" if names else "none"
        raise UsageError(f"{file}: expected one {singular} in the file, found {found}; name it: {file}:CLASS")
    return names[0]


def kinds_of(reference: Reference) -> tuple[str, ...]:
    """Return the kinds that a reference may be: that of the class it names, or of all classes in the file."""
    module = import_file(reference.file)
    found = plugin_classes(module)
    if not reference.attribute:
        return tuple(dict.fromkeys(found.values()))
    cls = getattr(module, reference.attribute, None)
    if cls is None:
        raise UsageError(
            f"{reference.file} has no class {reference.attribute!r}; its plug-ins: {', '.join(found) or 'none'}"
        )
    kind = kind_of_class(cls) or ("backbones" if is_plain_network(cls) else None)
    return () if kind is None else (kind,)
