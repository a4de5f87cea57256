"""Pages generated from the code: mkdocs calls this module while it builds.

It writes one page for each plug point (`plug_points/KIND.md`) from its hook specification, card, contract, battery and
what is installed, and the tables that other pages mark with `<!-- semibench:NAME -->`. Nothing is stored, so nothing goes
stale: a new hook has its page and its entry in the navigation at once.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import griffe

import semibench
from semibench.conformance import REGISTRATION_CHECKS
from semibench.conformance.battery import CHECKS
from semibench.contracts.cards import Card
from semibench.contracts.deprecation import DEPRECATIONS
from semibench.discovery import hookspecs
from semibench.discovery.registry import KINDS, Kind, registry
from semibench.scaffold import SCAFFOLDS

FOLDER = "plug_points"
INDEX = "contracts.md"
ALSO: dict[str, tuple[str, ...]] = {
    "methods": ("semibench.contracts.schedule",),
    "recipes": ("semibench.contracts.recipe",),
}
"""Modules that define further records of a plug point, besides the module of its class."""


def path_of(kind: Kind) -> str:
    """The path of a plug point's page within the documentation."""
    return f"{FOLDER}/{kind.name}.md"


def title(kind: Kind) -> str:
    """The title of a plug point in the navigation."""
    return {"datasets": "Data sets"}.get(kind.name, kind.name.capitalize())


def text(documented: Any) -> str:
    """The docstring of an object, dedented."""
    return inspect.getdoc(documented) or ""


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in row) + " |" for row in lines)


@functools.cache
def parsed(module: str) -> Any:
    """A module as griffe reads it, which takes a second: it reads the whole package."""
    return griffe.load(module)


def card_fields(kind: Kind) -> str:
    """Fields of the card with type, default and docstring."""
    members = parsed(kind.card.__module__)[kind.card.__name__].all_members
    rows = []
    for name, field in kind.card.model_fields.items():
        shape = field.annotation
        kept = shape.__name__ if isinstance(shape, type) and "[" not in str(shape) else str(shape)
        default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)!r}`"
        docstring = members[name].docstring
        meaning = "" if docstring is None else docstring.value
        rows.append((f"`{name}`", f"`{kept.replace('typing.', '').replace(' | ', ' or ')}`", default, meaning))
    return table(("field", "type", "default", "meaning"), rows)


def example(kind: Kind) -> str:
    """An example module that returns a card for this plug point."""
    values = {"name": "my-own", "title": "My own", "load": "my_package.own:MyOwn", "summary": "one line on it",
             "api": semibench.API, "dims": (2,) if kind.name != "datasets" else 2, "modality": "ultrasound", "dataset": "tus",
             "values": {"iterations": 6000}}  # fmt: skip
    if kind.name == "recipes":
        values |= {"name": "my-budget", "dims": 2}
    names = [name for name in values if name in kind.card.model_fields]
    lines = "\n".join(f"            {name}={values[name]!r}," for name in names)
    card = kind.card.__name__
    return (
        f"```python\nfrom semibench import {card}, hookimpl\n\n\n@hookimpl\ndef {kind.hook}():\n"
        f"    return [\n        {card}(\n{lines}\n        )\n    ]\n```"
    ).replace("'", '"')


def modules(kind: Kind) -> list[str]:
    """The modules that define the class and the records of a plug point."""
    own = [kind.base.split(":")[0]] if kind.base else []
    return [*own, *ALSO.get(kind.name, ())]


def owner(module: str) -> Kind:
    """The plug point whose page documents a module."""
    return next(kind for kind in KINDS.values() if module in modules(kind))


def contract(kind: Kind) -> str:
    """The full reference of the class to subclass and of its records."""
    parts = []
    for module in modules(kind):
        if owner(module) is kind:
            parts.append(f"::: {module}")
        else:
            base = (kind.base or "").split(":")[1]
            parts.append(
                f"{text(getattr(semibench, base))}\n\n"
                f"[`semibench.{base}`][{module}.{base}] is documented in full with the contracts of "
                f"[{title(owner(module)).lower()}]({owner(module).name}.md)."
            )
    return "\n\n".join(parts)


def battery(kind: Kind) -> str:
    """The table of what `bench check` tests."""
    if kind.singular not in CHECKS:
        return ""
    checks = {**REGISTRATION_CHECKS, **CHECKS[kind.singular]}
    rows = [(f"`{name}`", " ".join(text(check).split())) for name, check in checks.items()]
    note = " `beats_chance` and `running_statistics_fit` need `--slow`." if "beats_chance" in checks else ""
    return f"## Checks\n\n`bench check NAME` runs these checks.{note}\n\n{table(('check', 'requirement'), rows)}\n"


def built_in(kind: Kind) -> str:
    """The list of what Semibench itself registers here."""
    items = [item.card for item in registry().cards(kind.name) if item.distribution == "semibench"]
    if not items:
        return "## Built in\n\nNone."
    if kind.name == "recipes":
        names = ", ".join(f"`{name}`" for name in sorted({card.name for card in items}))
        return f"## Built in\n\n{len(items)} cards for the recipes {names}; `bench show recipe NAME` lists them."
    rows = [(f"`{card.name}`", getattr(card, "title", ""), getattr(card, "summary", "")) for card in items]
    return f"## Built in\n\n{table(('name', 'title', 'summary'), rows)}"


def page(kind: Kind) -> str:
    """The page of a plug point."""
    hook = getattr(hookspecs, kind.hook)
    start = (
        f"`bench new {kind.singular} NAME` writes a package with a small working example.\n\n"
        if kind.singular in SCAFFOLDS
        else ""
    )
    parts = [
        f"# {title(kind)}",
        text(hook),
        f"Hook: `{kind.hook}() -> Iterable[{kind.card.__name__}]`. {start}".rstrip(),
        example(kind),
        "An entry point of the group `semibench` names this module ([how](../contracts.md)).",
        f"## `{kind.card.__name__}`",
        text(kind.card),
        text(Card) if kind.card is not Card and issubclass(kind.card, Card) else "",
        card_fields(kind),
        f"## The contract\n\n{contract(kind)}" if modules(kind) else "",
        battery(kind),
        built_in(kind),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def plug_points() -> str:
    """A table with one row for each plug point."""
    rows = [
        (
            f"[{title(kind)}]({path_of(kind)})",
            f"`{kind.hook}`",
            f"`{kind.card.__name__}`",
            text(getattr(hookspecs, kind.hook)),
        )
        for kind in KINDS.values()
    ]
    return table(("plug point", "hook", "card", "description"), rows)


def deprecations() -> str:
    """A table of deprecated forms that still work."""
    if not DEPRECATIONS:
        return "Nothing is deprecated now."
    rows = [(f"`{entry.name}`", entry.since, entry.ends, f"`{entry.instead}`") for entry in DEPRECATIONS.values()]
    return table(("old form", "deprecated since", "ends with", "use"), rows)


def papers() -> str:
    """A table of the papers to cite for built-in items."""
    rows = [
        (kind.singular, f"`{item.name}`", item.card.paper, f"<{item.card.url}>" if item.card.url else "")
        for kind in KINDS.values()
        for item in registry().cards(kind.name)
        if item.distribution == "semibench" and getattr(item.card, "paper", "")
    ]
    return table(("kind", "name", "paper", "where"), rows)


def hooks() -> str:
    """The names of all hooks, as error messages list them."""
    return ", ".join(sorted(kind.hook for kind in KINDS.values()))


def versions() -> str:
    """A sentence with the versions of Semibench and of its contracts."""
    return (
        f"This Semibench is {semibench.__version__}; its contracts have version **{semibench.API}** (`semibench.API`). "
        f"Plug-ins written for version **{semibench.OLDEST_API}** or later run (`semibench.OLDEST_API`)."
    )


MARKS: dict[str, Callable[[], str]] = {
    f"<!-- semibench:{make.__name__} -->": make for make in (plug_points, deprecations, papers, hooks, versions)
}


def fill(markdown: str) -> str:
    """Replaces each mark with its table."""
    for mark, make in MARKS.items():
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    return markdown


def add_pages(nav: list[Any]) -> None:
    """Adds the pages of the plug points to the section that holds only their index, at any depth of the navigation."""
    for entry in nav:
        for section in entry.values() if isinstance(entry, dict) else ():
            if section == [INDEX]:
                section += [{title(kind): path_of(kind)} for kind in KINDS.values()]
            elif isinstance(section, list):
                add_pages(section)


def on_config(config: Any) -> Any:
    """Adds the pages of the plug points to the navigation."""
    add_pages(config.nav)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages of the plug points to the files that mkdocs renders."""
    from mkdocs.structure.files import File

    for kind in KINDS.values():
        files.append(File.generated(config, path_of(kind), content=page(kind)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fills the marks of a page."""
    return fill(markdown)
