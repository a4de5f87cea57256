"""The `bench` application: built-in commands, commands of plug-ins, and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage. Errors that the harness raises on purpose are printed without a traceback.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from semibench.cli.console import stderr, tolerant_streams
from semibench.cli.options import DEBUG
from semibench.cli.plugins_option import with_plugins
from semibench.contracts.errors import SemibenchError, UnknownNameError, UsageError
from semibench.files import explain
from semibench.process import ends_with_its_work, importing
from semibench.untrusted import printable

EPILOG = (
    "First steps:  bench run --protocol synthetic --dataset tus  ·  bench list methods  ·  bench show method mgcc  ·  "
    "bench doctor"
)


CLICK: tuple[type[BaseException], ...] = (
    typer.Exit, typer.Abort, *(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")
)  # fmt: skip
"""How a command ends on purpose: with an exit code, or with words about its options."""


class PluginCommand(TyperCommand):
    """A command from another package. Its module is imported when the command is called, not when it is listed."""

    def __init__(self, registered: Any, name: str) -> None:
        summary = escape(printable(registered.card.summary)) or f"from {registered.distribution}"
        super().__init__(name=name, help=summary, callback=None)
        self.registered = registered

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Returns the context of the real command, which replaces this one."""
        application = self.registered.resolve()
        if not isinstance(application, typer.Typer):
            group = typer.Typer(add_completion=False)
            group.command(self.registered.name, help=self.registered.card.summary or None)(application)
            application = group
        command = with_plugins(typer.main.get_command(application))
        return command.make_context(info_name, args, parent, **extra)


class BenchGroup(TyperGroup):
    """Adds the commands of plug-ins and turns the harness's errors into messages and exit codes."""

    def list_commands(self, ctx: Any) -> list[str]:
        own = list(super().list_commands(ctx))
        return list(dict.fromkeys([*own, *_plugin_commands()]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        built_in = super().get_command(ctx, cmd_name)
        if built_in is not None:
            return with_plugins(built_in)
        found = _plugin_command(cmd_name)
        return None if found is None else PluginCommand(found, cmd_name)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _naming_plugin(ctx):
                return super().invoke(ctx)
        except BrokenPipeError:  # the reader of a pipe has ended; typer knows what to do
            raise
        except (SemibenchError, OSError) as error:
            if ctx.meta.get(DEBUG):
                stderr().show("".join(traceback.format_exception(error)), end="")
            else:
                text = explain(error) if isinstance(error, OSError) else str(error)
                stderr().show(f"error: {text}", style="red", soft_wrap=True)
            raise typer.Exit(2 if isinstance(error, UsageError) else 1) from error


def _plugin_commands() -> list[str]:
    """Returns the names of the commands of all packages, including Semibench's own leaderboards; the full name of one that
    another package's command is called, too.

    This reads cards only and takes a tenth of a second, only to list the commands or to find one that isn't built in."""
    from semibench.discovery.registry import registry

    known = registry()
    return [known.label(item) for item in known.cards("commands")]


def _plugin_command(name: str) -> Any:
    """Returns the registered command of this name; None without one.

    Raises:
        UsageError: if several distributions have a command of this name.
        PluginError: if the command's card is broken.
    """
    from semibench.discovery.registry import registry

    try:
        return registry().get("commands", name)
    except UnknownNameError:
        return None


@contextmanager
def _naming_plugin(ctx: Any) -> Iterator[None]:
    """Within the block, an error of another package's command names that package, as an error of any plug-in does."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (*CLICK, SemibenchError, BrokenPipeError)):
            raise
        from semibench.discovery.guard import calling
        from semibench.discovery.registry import BUILT_IN

        item = ctx.invoked_subcommand and _plugin_command(ctx.invoked_subcommand)
        if not item or item.distribution == BUILT_IN:
            raise
        with calling(item, item.card.load.partition(":")[2]):
            raise


def _version(show: bool) -> None:
    if show:
        from semibench import __version__

        typer.echo(f"semibench {__version__}")
        raise typer.Exit()


def build() -> typer.Typer:
    """Returns a new application."""
    from semibench.cli import (
        check_command,
        data_command,
        doctor_command,
        matrix_command,
        new_command,
        plugins_command,
        run_command,
        split_command,
        tune_command,
        ui_command,
    )

    app = typer.Typer(
        name="bench",
        cls=BenchGroup,
        help="Semibench: the benchmark harness for semi-supervised medical image segmentation.",
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        ctx: typer.Context,
        debug: bool = typer.Option(False, "--debug", help="Show tracebacks of errors (also: bench COMMAND --debug)."),
        version: bool = typer.Option(
            False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ) -> None:
        ctx.meta[DEBUG] = ctx.meta.get(DEBUG, False) or debug

    run_command.add(app)
    matrix_command.add(app)
    tune_command.add(app)
    plugins_command.add(app)
    split_command.add(app)
    data_command.add(app)
    doctor_command.add(app)
    ui_command.add(app)
    new_command.add(app)
    check_command.add(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `bench` as the console script does; always raises SystemExit."""
    ends_with_its_work()
    tolerant_streams()
    with importing():
        app = build()
    app(args=None if arguments is None else list(arguments), prog_name="bench")
    sys.exit(0)
