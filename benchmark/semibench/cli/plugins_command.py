"""`bench list` and `bench show`: list what is installed, and show everything about one plug-in."""

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
    """Returns "methods" for "methods", "method" or "Method". Raises UnknownNameError with a suggestion for other words."""
    from semibench.discovery.registry import KINDS

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
        """List what is installed: methods, backbones, data sets, protocols ..."""
        from semibench.discovery.registry import KINDS, registry

        plugins = registry()
        if kind is None:
            names = {name: sorted({item.name for item in plugins.cards(name)}) for name in KINDS}
            if as_json:
                emit(names)
            else:
                rows = [(name, len(members), members) for name, members in names.items() if members]
                stdout().show(table(("kind", "number", "names"), rows))
        elif kind.lower() in ("plugin", "plugins"):
            _plugins(plugins, as_json)
        else:
            _cards(plugins, kind_of(kind), as_json)
        _warn_of_problems(plugins)

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
        """Show everything about one plug-in: card, options with defaults and ranges, loss terms, origin."""
        from semibench.cli.describe import describe, draw
        from semibench.discovery.registry import registry

        record = describe(registry(), kind_of(kind), name)
        if as_json:
            emit(record)
        else:
            draw(stdout(), record)


def _cards(plugins: Any, kind: str, as_json: bool) -> None:
    items = plugins.cards(kind)
    if as_json:
        emit([identity(item) | {"card": item.card.model_dump(mode="json")} for item in items])
        return
    columns = COLUMNS[kind]
    rows = [[*(_column(item.card, column) for column in columns), item.distribution] for item in items]
    stdout().show(table([*(column.replace("_", " ") for column in columns), "from"], rows))
    if kind == "datasets":
        _own_data_sets(plugins)


def _own_data_sets(plugins: Any) -> None:
    """Shows the names that `bench data register` gave."""
    from semibench.cli.console import stderr
    from semibench.contracts.errors import UsageError
    from semibench.data.declared.naming import own_names

    try:
        named = own_names(plugins)
    except UsageError as error:  # of a configuration file: the list is right all the same
        stderr().show(str(error), style="yellow")
        return
    for name, folder in named.items():
        stdout().show(f"your own: {name} ({folder})", soft_wrap=True)


def _column(card: Any, column: str) -> Any:
    value = getattr(card, column)
    if column == "protocols" and not value:
        return "all"
    return f"{len(value)}: {', '.join(value[:3])}, …" if column in ("classes", "domains") and len(value) > 4 else value


def identity(item: Any) -> dict[str, Any]:
    """Returns name and origin of a registered plug-in."""
    return {
        "name": item.name,
        "full_name": item.full_name,
        "distribution": item.distribution,
        "version": item.version,
        "entry_point": item.entry_point,
    }


def plugin_states(plugins: Any) -> list[dict[str, Any]]:
    """Returns every entry point with its state: healthy, or broken with the outcomes of its problems."""
    states = []
    for name, version, sources, problems in plugins.owners():
        for source in sources:
            own = [problem for problem in problems if problem.entry_point == source.entry_point]
            states.append(
                {
                    "distribution": name,
                    "version": version,
                    "entry_point": source.entry_point,
                    "value": source.value,
                    "state": "broken: " + ", ".join(sorted({problem.outcome for problem in own})) if own else "healthy",
                    "problems": [{"outcome": problem.outcome, "message": problem.message} for problem in own],
                }
            )
    return states


def _plugins(plugins: Any, as_json: bool) -> None:
    states = plugin_states(plugins)
    if as_json:
        emit(states)
        return
    columns = ("distribution", "version", "entry_point", "value", "state")
    stdout().show(table([column.replace("_", " ") for column in columns], [[s[c] for c in columns] for s in states]))


def _warn_of_problems(plugins: Any) -> None:
    from semibench.cli.console import stderr

    if plugins.problems:
        distributions = ", ".join(sorted({problem.distribution for problem in plugins.problems}))
        stderr().show(
            f"{len(plugins.problems)} problem(s) with plugins of {distributions}: see `bench doctor`", style="yellow"
        )
