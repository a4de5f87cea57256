"""`bench doctor`: reports versions, devices, plug-ins and their problems, data sets, the store and damaged runs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from semibench.cli.console import emit, stdout, table
from semibench.cli.options import DataRoot, Debug, Json
from semibench.cli.plugins_command import plugin_states

PACKAGES = (
    "semibench", "torch", "monai", "mlflow", "optuna", "diffusers", "numpy", "scipy", "pandas", "pyarrow", "pydantic",
    "typer", "rich", "pluggy", "nibabel", "SimpleITK", "h5py",
)  # fmt: skip
RunsFolder = Annotated[Path, typer.Option("--runs", help="Folder of the run folders.", show_default=True)]
CLASHING = ("torchvision", "torchaudio", "timm")


def add(app: typer.Typer) -> None:
    """Registers the command."""

    @app.command("doctor", epilog="Examples:  bench doctor  ·  bench doctor --json")
    def doctor_command(
        data_root: DataRoot = None, runs: RunsFolder = Path("runs"), as_json: Json = False, debug: Debug = False
    ) -> None:
        """Examine the installation: versions, devices, plug-ins and their problems, data sets, the MLflow store, and run folders
        that can't be read.

        The exit code is 1 if a plug-in is broken."""
        from semibench.discovery.registry import registry
        from semibench.process import environment

        environment()
        plugins = registry()
        record = {
            "versions": versions(),
            "machine": machine(),
            "plugins": plugin_states(plugins),
            "problems": [_problem(problem) for problem in plugins.problems] + hidden_commands(app, plugins),
            "data": data(plugins, data_root),
            "store": store(),
            "runs": damaged_runs(runs),
        }
        if as_json:
            emit(record)
        else:
            _draw(record)
        if record["problems"]:
            raise typer.Exit(1)


def versions() -> dict[str, str]:
    """Returns installed versions without importing the packages."""
    by_name = {"python": platform.python_version()}
    for name in (*PACKAGES, *CLASHING):
        try:
            by_name[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if name not in CLASHING:
                by_name[name] = "not installed"
    return by_name


def machine() -> dict[str, Any]:
    """Returns system, cores, threads and the devices that torch can use; imports torch."""
    import torch

    from semibench.training.device import available

    return {
        "system": platform.platform(),
        "executable": sys.executable,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": list(available()),
        "cuda": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
    }


def _origin(item: Any) -> dict[str, Any]:
    """The package that something comes from."""
    return {"distribution": item.distribution, "version": item.version, "entry_point": item.entry_point}


def _problem(problem: Any) -> dict[str, Any]:
    return _origin(problem) | {
        "outcome": problem.outcome,
        "kind": problem.kind,
        "message": problem.message,
        "traceback": problem.trace,
    }


def hidden_commands(app: typer.Typer, plugins: Any) -> list[dict[str, Any]]:
    """Returns problems for commands of plug-ins that a built-in command of the same name hides."""
    own = {info.name for info in app.registered_commands} | {info.name for info in app.registered_groups}
    return [
        _origin(item)
        | {
            "outcome": "hidden",
            "kind": "commands",
            "message": f"command {item.name!r} is hidden by the built-in one; call it as {item.full_name!r}, or rename it",
            "traceback": "",
        }
        for item in plugins.cards("commands")
        if item.name in own
    ]


def data(plugins: Any, data_root: Path | None) -> list[dict[str, Any]]:
    """Returns the folder of each data set and what named it. Without one, its phantom is used, unless a folder for data that
    doesn't hold it is named somewhere."""
    from semibench.data.declared.naming import own_names
    from semibench.data.roots import locate

    rows = []
    for item in plugins.cards("datasets"):
        location = locate(item.name, data_root, aliases=item.card.folders)
        rows.append({"name": item.name, "path": location.path, "source": location.source, "named": location.named})
    rows += [
        {"name": name, "path": folder if folder.exists() else None, "source": "[data.paths]", "named": True}
        for name, folder in own_names(plugins).items()
    ]
    return rows


def store() -> dict[str, Any]:
    """Returns the state of the MLflow store. A SQLite file is opened read-only, since mlflow would migrate it."""
    import sqlite3

    from semibench.tracking.store import sqlite_file, store_uri

    uri = store_uri()
    file = sqlite_file(uri)
    record: dict[str, Any] = {
        "uri": uri,
        "from": "MLFLOW_TRACKING_URI" if os.environ.get("MLFLOW_TRACKING_URI") else "default",
    }
    if file is None:
        return record | {"state": "a server or another database; not checked"}
    if file.is_dir():
        return record | {"state": "not readable as an MLflow store: it is a folder"}
    if not file.is_file():
        return record | {"state": "doesn't exist yet; the first run creates it"}
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            runs = connection.execute("select count(*) from runs").fetchone()[0]
            version = connection.execute("select version_num from alembic_version").fetchone()[0]
    except sqlite3.Error as error:
        return record | {"state": f"not readable as an MLflow store: {error}"}
    return record | {"state": "ok", "runs": runs, "schema": version, "megabytes": round(file.stat().st_size / 1e6, 2)}


def damaged_runs(runs: Path) -> list[str]:
    """Returns a line for each run folder that can't be read, with what is wrong."""
    from semibench.runfolder.reading import damaged_folders

    reasons = damaged_folders(runs) if runs.is_dir() else {}
    return [f"damaged: {runs / name}: {why}" for name, why in reasons.items()]


def _draw(record: dict[str, Any]) -> None:
    console = stdout()
    console.show(table(("package", "version"), record["versions"].items()))
    clashing = [name for name in CLASHING if name in record["versions"]]
    if clashing:
        console.show(
            f"WARNING: {', '.join(clashing)} beside a CPU build of torch breaks diffusers; uninstall it",
            style="bold yellow",
        )
    console.show()
    console.show(table(("machine", ""), record["machine"].items()))
    console.show()
    columns = ("distribution", "version", "entry_point", "state")
    rows = [[state[column] for column in columns] for state in record["plugins"]]
    console.show(table(("distribution", "version", "entry point", "state"), rows))
    console.show()
    absent = {True: "not in the named folder", False: "phantom is used"}
    rows = [[row["name"], row["path"] or absent[row["named"]], row["source"]] for row in record["data"]]
    console.show(table(("data set", "folder", "named by"), rows))
    console.show()
    console.show(table(("MLflow store", ""), record["store"].items()))
    for line in record["runs"]:
        console.show(f"\n{line}", style="yellow", soft_wrap=True)
    for problem in record["problems"]:
        point = f", entry point {problem['entry_point']!r}" if problem["entry_point"] else ""
        origin = f"{problem['distribution']} {problem['version']}{point}"
        console.show(
            f"\nPROBLEM ({problem['outcome']}): {origin}: {problem['message']}", style="bold red", soft_wrap=True
        )
        if problem["traceback"]:
            console.show(problem["traceback"].rstrip(), soft_wrap=True)
    console.show(
        f"\n{len(record['problems'])} problem(s) with plug-ins."
        if record["problems"]
        else "\nAll plug-ins are healthy."
    )
