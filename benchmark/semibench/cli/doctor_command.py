"""`bench doctor`: versions, devices, plugins with their problems, data roots, the state of the store."""

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
        """Look at the installation: versions, devices, plugins and what is wrong with them, data, the store, and folders of
        runs that can't be read.

        Exit 1 where a plugin is broken."""
        from semibench.process import environment
        from semibench.registry import registry

        environment()
        known = registry()
        record = {
            "versions": versions(),
            "machine": machine(),
            "plugins": plugin_states(known),
            "problems": [_problem(problem) for problem in known.problems] + hidden_commands(app, known),
            "data": data(known, data_root),
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
    """Installed versions, without importing anything."""
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *CLASHING):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if name not in CLASHING:
                found[name] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """System, cores, threads and the devices torch can use (imports torch)."""
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


def hidden_commands(app: typer.Typer, known: Any) -> list[dict[str, Any]]:
    """Commands of plugins that a built-in command of the same name hides."""
    own = {info.name for info in app.registered_commands} | {info.name for info in app.registered_groups}
    return [
        _origin(item)
        | {
            "outcome": "hidden",
            "kind": "commands",
            "message": f"command {item.name!r} is hidden by the built-in one; call it as {item.full_name!r}, or rename it",
            "traceback": "",
        }
        for item in known.cards("commands")
        if item.name in own
    ]


def data(known: Any, data_root: Path | None) -> list[dict[str, Any]]:
    """Per data set: its folder and who named it, or the phantom that stands in."""
    from semibench.data.roots import locate

    rows = []
    for item in known.cards("datasets"):
        location = locate(item.name, data_root)
        rows.append({"name": item.name, "path": location.path, "source": location.source})
    return rows


def store() -> dict[str, Any]:
    """The MLflow store as it is; a SQLite file is opened read-only (mlflow would migrate it)."""
    import sqlite3

    from semibench.tracking.store import sqlite_file, store_uri

    uri = store_uri()
    file = sqlite_file(uri)
    found: dict[str, Any] = {
        "uri": uri,
        "from": "MLFLOW_TRACKING_URI" if os.environ.get("MLFLOW_TRACKING_URI") else "default",
    }
    if file is None:
        return found | {"state": "a server or another data base; not asked"}
    if not file.is_file():
        return found | {"state": "not made yet; the first run makes it"}
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            runs = connection.execute("select count(*) from runs").fetchone()[0]
            version = connection.execute("select version_num from alembic_version").fetchone()[0]
    except sqlite3.Error as error:
        return found | {"state": f"not readable as an MLflow store: {error}"}
    return found | {"state": "ok", "runs": runs, "schema": version, "megabytes": round(file.stat().st_size / 1e6, 2)}


def damaged_runs(runs: Path) -> list[str]:
    """A line for each run folder that can't be read, with what is wrong."""
    from semibench.runfolder.reading import damaged_folders

    found = damaged_folders(runs) if runs.is_dir() else {}
    return [f"damaged: {runs / name}: {why}" for name, why in found.items()]


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
    rows = [[row["name"], row["path"] or "phantom stands in", row["source"]] for row in record["data"]]
    console.show(table(("data set", "folder", "named by"), rows))
    console.show()
    console.show(table(("MLflow store", ""), record["store"].items()))
    for line in record["runs"]:
        console.show(f"\n{line}", style="yellow", soft_wrap=True)
    for problem in record["problems"]:
        console.show(f"\nPROBLEM ({problem['outcome']}): {problem['distribution']} {problem['version']}, entry point "
                      f"{problem['entry_point']!r}: {problem['message']}", style="bold red", soft_wrap=True)  # fmt: skip
        if problem["traceback"]:
            console.show(problem["traceback"].rstrip(), soft_wrap=True)
    console.show(
        f"\n{len(record['problems'])} problem(s) with plugins." if record["problems"] else "\nAll plugins are healthy."
    )
