"""`bench new`: writes a complete, installable package for a new plug-in."""

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
        kind: Annotated[
            str, typer.Argument(help="method, backbone, dataset, protocol, generator, convention, split or recipe.")
        ],
        name: Annotated[str, typer.Argument(help="Lower case letters, digits and dashes: my-method.")],
        directory: Annotated[Path, typer.Option("--dir", help="Where to create the folder NAME.")] = Path(),
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        """Write an installable package with a small working plug-in, its tests and its CI file."""
        from semibench.contracts.errors import UnknownNameError
        from semibench.discovery.registry import registry
        from semibench.scaffold import SCAFFOLDS, write

        if kind not in SCAFFOLDS:
            raise UnknownNameError("scaffold", kind, SCAFFOLDS)
        taken = {item.name for item in registry().cards(SCAFFOLDS[kind])}
        package = write(kind, name, directory, taken=taken)
        steps = [f"cd {package.folder}", "pip install -e .", f"bench check {name}", package.command]
        if as_json:
            files = [str(path) for path in package.files]
            emit({"folder": str(package.folder), "distribution": package.distribution, "files": files, "next": steps})
            return
        out = stdout()
        out.show(f"{package.folder}: {len(package.files)} files. Nothing needs editing before these work:\n")
        for step in steps:
            out.show(f"    {step}", soft_wrap=True)
