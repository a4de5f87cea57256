"""`bench list` and `bench show`: what is installed, and everything about one piece of it."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

import typer

from semibench.cli.console import emit, stdout, table
from semibench.cli.options import Debug, Json
from semibench.contracts.errors import UnknownNameError

COLUMNS: dict[str, tuple[str, ...]] = {
    "methods": ("name", "title", "dims", "protocols", "backbone"),
    "backbones": ("name", "title", "dims", "provides", "default_for"),
    "datasets": ("name", "title", "modality", "dims", "classes", "domains", "cases"),
    "protocols": ("name", "title", "summary"),
    "generators": ("name", "title", "dims", "summary"),
    "conventions": ("name", "title", "version", "dims", "summary"),
    "splits": ("name", "title", "dataset"),
    "recipes": ("name", "dims", "protocols", "datasets", "source"),
    "engines": ("name", "title", "summary"),
    "suites": ("name", "title"),
    "commands": ("name", "summary"),
    "listeners": ("name", "summary"),
}


def kind_of(word: str) -> str:
    """ "methods" for "methods", "method" or "Method"; raises UnknownNameError that says what was meant."""
    from semibench.registry import KINDS

    lower = word.lower()
    for name, kind in KINDS.items():
        if lower in (name, kind.singular):
            return name
    near = difflib.get_close_matches(lower, [*KINDS, *(kind.singular for kind in KINDS.values())], n=1, cutoff=0.5)
    raise UnknownNameError(
        "kind", near[0] if near and near[0] in KINDS and lower == near[0] else word, [*KINDS, "plugins"]
    )


def add(app: typer.Typer) -> None:
    """Registers both commands."""

    @app.command("list", epilog="Examples:  bench list  ·  bench list methods  ·  bench list datasets --json")
    def list_command(
        kind: Annotated[str | None, typer.Argument(help="methods, backbones, datasets, protocols, generators, conventions, "
                                                        "splits, recipes, engines, suites, commands, listeners or plugins; "
                                                        "none: a summary.")] = None,
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:  # fmt: skip
        """What is installed: methods, backbones, data sets, protocols ..."""
        from semibench.registry import KINDS, registry

        known = registry()
        if kind is None:
            names = {name: sorted({item.name for item in known.cards(name)}) for name in KINDS}
            if as_json:
                emit(names)
            else:
                rows = [(name, len(found), found) for name, found in names.items() if found]
                stdout().show(table(("kind", "number", "names"), rows))
        elif kind.lower() in ("plugin", "plugins"):
            _plugins(known, as_json)
        else:
            _cards(known, kind_of(kind), as_json)
        _warn_of_problems(known)

    @app.command(
        "show", epilog="Examples:  bench show method mgcc  ·  bench show dataset tus  ·  bench show recipe quick --json"
    )
    def show_command(
        kind: Annotated[
            str, typer.Argument(help="method, backbone, dataset, protocol, generator, convention, split, recipe.")
        ],
        name: Annotated[str, typer.Argument(help="A name that `bench list KIND` shows, or distribution:name.")],
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        """Everything about one plugin: card, options with defaults and ranges, loss terms, where it comes from."""
        from semibench.cli.describe import describe, draw
        from semibench.registry import registry

        record = describe(registry(), kind_of(kind), name)
        if as_json:
            emit(record)
        else:
            draw(stdout(), record)


def _cards(known: Any, kind: str, as_json: bool) -> None:
    items = known.cards(kind)
    if as_json:
        emit([identity(item) | {"card": item.card.model_dump(mode="json")} for item in items])
        return
    columns = COLUMNS[kind]
    rows = [[*(_column(item.card, column) for column in columns), item.distribution] for item in items]
    stdout().show(table([*(column.replace("_", " ") for column in columns), "from"], rows))


def _column(card: Any, column: str) -> Any:
    value = getattr(card, column)
    if column == "protocols" and not value:
        return "all"
    return f"{len(value)}: {', '.join(value[:3])}, …" if column in ("classes", "domains") and len(value) > 4 else value


def identity(item: Any) -> dict[str, Any]:
    """Name and origin of a registered plugin."""
    return {
        "name": item.name,
        "full_name": item.full_name,
        "distribution": item.distribution,
        "version": item.version,
        "entry_point": item.entry_point,
    }


def plugin_states(known: Any) -> list[dict[str, Any]]:
    """Every entry point with its state: healthy, or the outcomes of its problems."""
    states = []
    for name, version, sources, problems in known.owners():
        for source in sources:
            mine = [problem for problem in problems if problem.entry_point == source.entry_point]
            states.append(
                {
                    "distribution": name,
                    "version": version,
                    "entry_point": source.entry_point,
                    "value": source.value,
                    "state": "broken: " + ", ".join(sorted({problem.outcome for problem in mine}))
                    if mine
                    else "healthy",
                    "problems": [{"outcome": problem.outcome, "message": problem.message} for problem in mine],
                }
            )
    return states


def _plugins(known: Any, as_json: bool) -> None:
    states = plugin_states(known)
    if as_json:
        emit(states)
        return
    columns = ("distribution", "version", "entry_point", "value", "state")
    stdout().show(table([column.replace("_", " ") for column in columns], [[s[c] for c in columns] for s in states]))


def _warn_of_problems(known: Any) -> None:
    from semibench.cli.console import stderr

    if known.problems:
        who = ", ".join(sorted({problem.distribution for problem in known.problems}))
        stderr().show(f"{len(known.problems)} problem(s) with plugins of {who}: see `bench doctor`", style="yellow")
