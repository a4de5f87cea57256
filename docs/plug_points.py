"""Pages generated from the code: mkdocs calls this module while it builds.

It writes one page for each plug point (`plug_points/KIND.md`) from its hook specification, card, contract, battery and
what is installed, and the tables that other pages mark with `<!-- semibench:NAME -->`. Nothing is stored, so nothing goes
stale: a new hook has its page and its entry in the navigation at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import griffe

import semibench
from semibench import hookspecs
from semibench.conformance import REGISTRATION_CHECKS
from semibench.conformance.battery import CHECKS
from semibench.contracts.cards import Card
from semibench.contracts.deprecation import DEPRECATIONS
from semibench.registry import KINDS, Kind, registry
from semibench.scaffold import SCAFFOLDS

FOLDER = "plug_points"
INDEX = "contracts.md"
ALSO: dict[str, tuple[str, ...]] = {
    "methods": ("semibench.contracts.schedule",),
    "recipes": ("semibench.contracts.recipe",),
}
"""Modules with records of a plug point beside that of its class."""


def path_of(kind: Kind) -> str:
    """Of a plug point's page within the documentation."""
    return f"{FOLDER}/{kind.name}.md"


def title(kind: Kind) -> str:
    """As it stands in the navigation."""
    return {"datasets": "Data sets"}.get(kind.name, kind.name.capitalize())


def text(found: Any) -> str:
    """A docstring as paragraphs."""
    return inspect.getdoc(found) or ""


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in row) + " |" for row in lines)


def card_fields(kind: Kind) -> str:
    """Fields of the card with type, default and docstring."""
    members = griffe.load(kind.card.__module__)[kind.card.__name__].all_members
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
    """The module of cards of a package that fills this plug point."""
    shown = {"name": "my-own", "title": "My own", "load": "my_package.own:MyOwn", "summary": "one line on it",
             "api": semibench.API, "dims": (2,) if kind.name != "datasets" else 2, "modality": "ultrasound", "dataset": "tus",
             "values": {"iterations": 6000}}  # fmt: skip
    if kind.name == "recipes":
        shown |= {"name": "my-budget", "dims": 2}
    names = [name for name in shown if name in kind.card.model_fields]
    lines = "\n".join(f"            {name}={shown[name]!r}," for name in names)
    card = kind.card.__name__
    return (
        f"```python\nfrom semibench import {card}, hookimpl\n\n\n@hookimpl\ndef {kind.hook}():\n"
        f"    return [\n        {card}(\n{lines}\n        )\n    ]\n```"
    ).replace("'", '"')


def modules(kind: Kind) -> list[str]:
    """Where the class and the records of a plug point are defined."""
    own = [kind.base.split(":")[0]] if kind.base else []
    return [*own, *ALSO.get(kind.name, ())]


def owner(module: str) -> Kind:
    """The plug point on whose page a module's names stand."""
    return next(kind for kind in KINDS.values() if module in modules(kind))


def contract(kind: Kind) -> str:
    """The class to subclass and what it deals with, in full."""
    parts = []
    for module in modules(kind):
        if owner(module) is kind:
            parts.append(f"::: {module}")
        else:
            base = (kind.base or "").split(":")[1]
            parts.append(
                f"{text(getattr(semibench, base))}\n\n"
                f"[`semibench.{base}`][{module}.{base}] stands in full among the contracts of "
                f"[{title(owner(module)).lower()}]({owner(module).name}.md)."
            )
    return "\n\n".join(parts)


def battery(kind: Kind) -> str:
    """What `bench check` looks at."""
    if kind.singular not in CHECKS:
        return ""
    checks = {**REGISTRATION_CHECKS, **CHECKS[kind.singular]}
    rows = [(f"`{name}`", " ".join(text(check).split())) for name, check in checks.items()]
    note = "`beats_chance` and `unlabeled_samples_help` run with `--slow`.\n\n" if "beats_chance" in checks else ""
    return f"## What must hold\n\nThe battery of `bench check NAME`, one fact a line. {note}{table(('check', 'fact'), rows)}\n"


def built_in(kind: Kind) -> str:
    """What Semibench itself registers here."""
    items = [item.card for item in registry().cards(kind.name) if item.distribution == "semibench"]
    if not items:
        return "## Built in\n\nNone."
    if kind.name == "recipes":
        names = ", ".join(f"`{name}`" for name in sorted({card.name for card in items}))
        return f"## Built in\n\n{len(items)} cards of the recipes {names}; `bench show recipe NAME` lists them."
    rows = [(f"`{card.name}`", getattr(card, "title", ""), getattr(card, "summary", "")) for card in items]
    return f"## Built in\n\n{table(('name', 'title', 'summary'), rows)}"


def page(kind: Kind) -> str:
    """The page of a plug point."""
    hook = getattr(hookspecs, kind.hook)
    start = (
        f"`bench new {kind.singular} NAME` writes a package with a small working one.\n\n"
        if kind.singular in SCAFFOLDS
        else ""
    )
    parts = [
        f"# {title(kind)}",
        text(hook),
        f"Hook: `{kind.hook}() -> Iterable[{kind.card.__name__}]`. {start}".rstrip(),
        example(kind),
        "The module is named by an entry point of the group `semibench` ([how](../contracts.md)).",
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
    """One line for each plug point."""
    rows = [
        (
            f"[{title(kind)}]({path_of(kind)})",
            f"`{kind.hook}`",
            f"`{kind.card.__name__}`",
            text(getattr(hookspecs, kind.hook)),
        )
        for kind in KINDS.values()
    ]
    return table(("plug point", "hook", "card", "what"), rows)


def deprecations() -> str:
    """All that still works under an old form."""
    if not DEPRECATIONS:
        return "Nothing is deprecated now."
    rows = [(f"`{entry.name}`", entry.since, entry.ends, f"`{entry.instead}`") for entry in DEPRECATIONS.values()]
    return table(("old form", "deprecated since", "ends with", "use"), rows)


def papers() -> str:
    """Whom to cite for what is built in."""
    rows = [
        (kind.singular, f"`{item.name}`", item.card.paper, f"<{item.card.url}>" if item.card.url else "")
        for kind in KINDS.values()
        for item in registry().cards(kind.name)
        if item.distribution == "semibench" and getattr(item.card, "paper", "")
    ]
    return table(("kind", "name", "paper", "where"), rows)


def hooks() -> str:
    """All hooks, as messages list them."""
    return ", ".join(sorted(kind.hook for kind in KINDS.values()))


def versions() -> str:
    """The versions of the contracts."""
    return (
        f"This Semibench is {semibench.__version__}; its contracts have version **{semibench.API}** (`semibench.API`), and "
        f"plug-ins from version **{semibench.OLDEST_API}** on run (`semibench.OLDEST_API`)."
    )


MARKS: dict[str, Callable[[], str]] = {
    f"<!-- semibench:{make.__name__} -->": make for make in (plug_points, deprecations, papers, hooks, versions)
}


def fill(markdown: str) -> str:
    """Puts the tables in the places of their marks."""
    for mark, make in MARKS.items():
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    return markdown


def on_config(config: Any) -> Any:
    """Adds the pages to the navigation, below the index of plug points."""
    for entry in config.nav:
        for name, inner in entry.items():
            if inner == [INDEX]:
                entry[name] = [INDEX, *({title(kind): path_of(kind)} for kind in KINDS.values())]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages."""
    from mkdocs.structure.files import File

    for kind in KINDS.values():
        files.append(File.generated(config, path_of(kind), content=page(kind)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fills the marks."""
    return fill(markdown)
