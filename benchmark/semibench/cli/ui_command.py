"""`bench ui`: opens the MLflow user interface on the runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from semibench.cli.console import stderr
from semibench.cli.options import Debug
from semibench.contracts.errors import SemibenchError, UsageError
from semibench.process import interrupt, on_signals

if TYPE_CHECKING:
    import psutil

PATIENCE = 5.0
"""Seconds that a server has to end after it was asked to."""


def server_command(uri: str, host: str, port: int) -> list[str]:
    """Returns the command that starts an MLflow server with one worker on a store.

    The store's address isn't in it, since everybody on a machine can list commands and an address may hold a password;
    MLFLOW_BACKEND_STORE_URI names it."""
    from semibench.tracking.store import artifact_root

    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        host,
        "--port",
        str(port),
    ]
    root = artifact_root(uri)
    artifacts = ["--default-artifact-root", root.as_uri()] if root is not None else []
    return [*command, "--workers", "1", *artifacts]


def serve(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs a server until it ends and returns its exit code. It and its workers end with this process.

    Raises:
        KeyboardInterrupt: if Ctrl-C, SIGTERM or the end of the terminal ended this process.
    """
    import psutil

    server = psutil.Popen(list(command), env=dict(environment))
    # SIGINT too: in a command that a shell started in the background it is ignored unless a handler is set
    stops = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    restore = on_signals(interrupt, *stops)
    try:
        return int(server.wait())
    finally:
        restore()
        _end(server)


def _end(server: psutil.Popen) -> None:
    """Ends a process and those that it started, politely at first."""
    import psutil

    try:
        processes = [*server.children(recursive=True), server]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(processes, timeout=PATIENCE)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def add(app: typer.Typer) -> None:
    """Registers the command."""

    @app.command(
        "ui",
        epilog="Examples:  bench ui  ·  bench ui --port 5001  ·  bench ui --tracking-uri sqlite:////shared/mlflow.db",
    )
    def ui_command(
        tracking_uri: Annotated[
            str | None,
            typer.Option(help="MLflow store (default: MLFLOW_TRACKING_URI, else ./mlflow.db).", show_default=False),
        ] = None,
        host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
        port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
        debug: Debug = False,
    ) -> None:
        """Open the MLflow user interface on the runs (stop it with Ctrl-C)."""
        from semibench.process import quiet_mlflow
        from semibench.tracking.answering import why_unreachable
        from semibench.tracking.store import open_store, sqlite_file, store_uri

        quiet_mlflow()
        uri = store_uri(tracking_uri)
        if uri.startswith(("http://", "https://")):
            reason = why_unreachable(uri)
            if reason is not None:
                raise SemibenchError(
                    f"the store {uri} is a server that doesn't answer ({reason}); start it, or name another store with "
                    "--tracking-uri"
                )
            stderr().show(f"The store is a server: open {uri} in a browser.")
            return
        file = sqlite_file(uri)
        if file is not None and not file.is_file():
            raise UsageError(
                f"there is no MLflow store at {file} yet; the first `bench run` in this folder creates it. "
                "Go to the folder of your runs, or name the store with --tracking-uri or MLFLOW_TRACKING_URI"
            )
        open_store(uri)
        stderr().show(f"MLflow on {uri}: open http://{host}:{port} in a browser; stop it with Ctrl-C.")
        environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_BACKEND_STORE_URI": uri}
        try:
            code = serve(server_command(uri, host, port), environment)
        except KeyboardInterrupt:
            return
        if code not in (0, -2, -15, 130):
            raise SemibenchError(
                f"the MLflow server ended with code {code}; is port {port} in use? Try --port {port + 1}"
            )
