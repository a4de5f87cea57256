"""The option `--plugins`, which every command has: files and folders of plug-ins without a package."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import typer

from semibench.discovery.configuration import add_plugin_places

FLAG = "--plugins"


def with_plugins(command: Any) -> Any:
    """Returns the command with the option added, once. It acts before the command's own code runs."""
    if not any(FLAG in parameter.opts for parameter in command.params):
        command.params = [*command.params, _option()]
    return command


@functools.cache
def _option() -> Any:
    """Returns the option, made by typer from a command that has no other one."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def holder(
        plugins: Annotated[
            list[str] | None,
            typer.Option(
                FLAG,
                help="A folder of plug-ins in files, or one file; repeatable (also SEMIBENCH_PLUGINS, semibench.toml).",
                metavar="FOLDER",
                is_eager=True,
                expose_value=False,
                show_default=False,
                callback=_named,
            ),
        ] = None,
    ) -> None: ...

    return next(parameter for parameter in typer.main.get_command(app).params if FLAG in parameter.opts)


def _named(values: list[str] | None) -> None:
    for value in values or ():
        try:
            found = Path(value).expanduser().exists()
        except (OSError, ValueError):
            found = False
        if not found:
            raise typer.BadParameter(f"{value}: no such file or folder", param_hint=FLAG)
    if values:
        add_plugin_places(tuple(Path(value).expanduser() for value in values))
