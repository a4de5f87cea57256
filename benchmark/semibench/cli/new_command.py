"""`bench new`: a package for a plug-in of one's own, complete and installable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semibench.cli.console import emit, stdout
from semibench.cli.options import Debug, Json


def add(app: typer.Typer) -> None:
    """Registers the command."""

    @app.command("new", epilog="Examples:  bench new method my-method  ·  bench new dataset my-clinic --dir ~/work")
    def new_command(
        kind: Annotated[str, typer.Argument(help="method, backbone, dataset, protocol or generator.")],
        name: Annotated[str, typer.Argument(help="Lower case letters, digits and dashes: my-method.")],
        directory: Annotated[Path, typer.Option("--dir", help="Where the new folder NAME is made.")] = Path(),
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        """Write an installable package with a small working plug-in, its tests and its CI file."""
        from semibench.contracts.errors import UnknownNameError
        from semibench.registry import registry
        from semibench.scaffold import SCAFFOLDS, write

        if kind not in SCAFFOLDS:
            raise UnknownNameError("scaffold", kind, SCAFFOLDS)
        taken = [item.name for item in registry().cards(SCAFFOLDS[kind])]
        made = write(kind, name, directory, taken=taken)
        steps = [f"cd {made.folder}", "pip install -e .", f"bench check {name}", made.command]
        if as_json:
            files = [str(path) for path in made.files]
            emit({"folder": str(made.folder), "distribution": made.distribution, "files": files, "next": steps})
            return
        out = stdout()
        out.show(f"{made.folder}: {len(made.files)} files. Nothing needs editing before these work:\n")
        for step in steps:
            out.show(f"    {step}", soft_wrap=True)
