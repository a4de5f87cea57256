"""Malformed files of a run folder: records, tables, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults.damage import BINARY_FILE, TEXT_FILE, Damage, dropped, edited, put
from faults.feeding import SMALL, Given

"""The command that made the run of the base folder."""

LIST = ("runs",)
EXPORT = ("export", "KEY", "--out", "x.zip")
BOARD = ("leaderboard", "--all", "--format", "json")
PAGE = ("leaderboard", "--all", "--format", "html", "--out", "page")


def in_run(name: str, damage: Damage) -> Callable[[Path], object]:
    """Returns the damage to one file of the only run under a folder."""
    return lambda work: damage(run_folder(work) / name)


def run_folder(work: Path) -> Path:
    """Returns the only run folder."""
    return next(path for path in sorted((work / "runs").iterdir()) if not path.name.startswith("."))


NEEDED = ("spec.json", "status.json", "provenance.json", "result.json", "split.json", "scores.parquet")


def records(key: str) -> Iterator[Given]:
    """Yields damaged records and tables of a finished run. key: of the run."""
    export = tuple(key if word == "KEY" else word for word in EXPORT)
    for file in ("spec.json", "status.json", "provenance.json", "result.json", "split.json"):
        for name, damage in TEXT_FILE.items():
            harmless = file == "provenance.json" and name in ("empty object", "NaN")
            right = "either" if harmless or (file == "status.json" and "link to nothing" in name) else "refuse"
            yield Given("records", f"{file} {name}, run", SMALL, in_run(file, damage), right)
            yield Given("records", f"{file} {name}, runs", LIST, in_run(file, damage), "either")
            yield Given(
                "records", f"{file} {name}, export", export, in_run(file, damage), "either" if harmless else "refuse"
            )
    for file in ("plan.json", "steps.parquet", "log.txt"):
        for name, damage in (TEXT_FILE if file == "plan.json" else BINARY_FILE).items():
            yield Given("records", f"{file} {name}, run", SMALL, in_run(file, damage), "either")
            yield Given("records", f"{file} {name}, page", PAGE, in_run(file, damage), "either")
    for name, damage in BINARY_FILE.items():
        harmless = name == "flipped in the middle"
        yield Given(
            "records",
            f"scores.parquet {name}, run",
            SMALL,
            in_run("scores.parquet", damage),
            "either" if name.startswith("flipped") or name in ("zeros",) else "refuse",
        )
        yield Given("records", f"scores.parquet {name}, board", BOARD, in_run("scores.parquet", damage), "either")
        yield Given("records", f"scores.parquet {name}, page", PAGE, in_run("scores.parquet", damage), "either")
        assert harmless in (True, False)
    for name, file, damage in fields():
        for command in (LIST, BOARD, PAGE, export):
            yield Given("records", f"{name}, {command[0]} {command[-1]}", command, in_run(file, damage), "either")


def fields() -> Iterator[tuple[str, str, Damage]]:
    """Yields (name, file, damage) of single wrong values in records."""
    yield "state unknown", "status.json", put("state", "asleep")
    yield "state number", "status.json", put("state", 3)
    yield "ended number", "status.json", put("ended", 7)
    yield "ended no time", "status.json", put("ended", "yesterday")
    yield "process huge", "status.json", put("process", 10**30)
    yield "process negative", "status.json", put("process", -4)
    yield "started far", "status.json", put("started", "9999-99-99")
    yield "host list", "status.json", put("host", [])
    yield "format of the future", "status.json", put("format", 99)
    yield "format text", "result.json", put("format", "two")
    yield "format negative", "result.json", put("format", -1)
    yield "mean text", "result.json", put("scores.0.mean", "x")
    yield "mean list", "result.json", put("scores.0.mean", [1])
    yield "scores numbers", "result.json", put("scores", [1, 2])
    yield "scores object", "result.json", put("scores", {})
    yield "scores none", "result.json", put("scores", [])
    yield "score without metric", "result.json", dropped("scores.0.metric")
    yield "per_class list", "result.json", put("scores.0.per_class", [1])
    yield "training list", "result.json", put("training", [])
    yield "model text", "result.json", put("model", "unet")
    yield "result of another run", "result.json", put("key", "0" * 64)
    yield "machine list", "provenance.json", put("machine", [])
    yield "plugins list", "provenance.json", put("plugins", [])
    yield "versions numbers", "provenance.json", put("versions", {"numerics": 2})
    yield "git text", "provenance.json", put("git", "clean")
    yield "split rows numbers", "split.json", put("test", [1, 2])
    yield "split rows short", "split.json", put("test", [["tus", "a"]])
    yield "split text", "split.json", put("test", "everything")
    yield "split case gone", "split.json", dropped("test.0")
    yield "track text", "spec.json", put("track", "self")
    yield "entry null", "spec.json", put("entry", None)
    yield "recipe own without one", "spec.json", put("track.recipe", "own")
    yield "seed text", "spec.json", put("replicate.seed", "one")
    yield "seed other", "spec.json", put("replicate.seed", 5)
    yield "spec key added", "spec.json", put("banana", 1)
    yield "patch text", "spec.json", put("track.recipe.options.patch", "big")
    yield "escape sequences in names", "spec.json", put("entry.method.name", "semibench:\x1b[2Jevil\x07")


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def checkpoints() -> Iterator[Given]:
    """Yields damaged checkpoints of an interrupted run."""
    for name, damage in BINARY_FILE.items():
        spoilt = both if name not in ("folder", "link to nothing") else only_last
        yield Given("checkpoints", f"{name}, both", SMALL, interrupted(spoilt(damage)), "either", equal=True)
        yield Given(
            "checkpoints", f"last {name}, previous well", SMALL, interrupted(only_last(damage)), "either", equal=True
        )
    for name, change in changes():
        yield Given(
            "checkpoints", name, SMALL, interrupted(only_last(saved(change))), "either", equal=True
        )  # the one before is whole
    yield Given("checkpoints", "pickle that runs a command", SMALL, interrupted(both(_dangerous)), "refuse")
    yield Given("checkpoints", "well", SMALL, interrupted(lambda folder: None), "serve", equal=True)


def interrupted(damage: Callable[[Path], object]) -> Callable[[Path], object]:
    """Returns a damage that makes the run an interrupted one first."""

    def change(work: Path) -> None:
        folder = run_folder(work)
        for name in ("result.json", "scores.parquet"):
            (folder / name).unlink()
        edited(lambda content: content.update(state="interrupted"))(folder / "status.json")
        damage(folder / "checkpoints")

    return change


def both(damage: Damage) -> Callable[[Path], object]:
    """Returns a damage to both checkpoints."""

    def change(folder: Path) -> None:
        damage(folder / "last.pt")
        damage(folder / "previous.pt")

    return change


def only_last(damage: Damage) -> Callable[[Path], object]:
    """Returns a damage to the last checkpoint."""
    return lambda folder: damage(folder / "last.pt")


def saved(change: Callable[[dict[str, Any]], object]) -> Damage:
    """Returns a damage that changes the content of a checkpoint."""

    def damage(file: Path) -> None:
        import torch

        content = torch.load(file, weights_only=True)
        replaced = change(content)
        torch.save(content if replaced is None else replaced, file)

    return damage


def _dangerous(file: Path) -> None:
    import torch

    class Command:
        def __reduce__(self) -> Any:
            import os

            return os.system, (f"touch {file.parent / 'executed'}",)

    torch.save({"format": 1, "method": Command()}, file)


def changes() -> Iterator[tuple[str, Callable[[dict[str, Any]], object]]]:
    """Yields (name, change) of the content of a checkpoint."""
    import torch

    for key in (
        "method",
        "optimisers",
        "stage",
        "step",
        "iteration",
        "frozen",
        "scale",
        "best",
        "seconds",
        "busy",
        "key",
        "format",
    ):
        yield f"no {key}", lambda content, key=key: content.pop(key) and None
        yield f"{key} is text", lambda content, key=key: content.update({key: "abc"})
        yield f"{key} is a list", lambda content, key=key: content.update({key: [1, 2, 3]})
    for key in ("stage", "step", "iteration"):
        yield f"{key} -1", lambda content, key=key: content.update({key: -1})
        yield f"{key} huge", lambda content, key=key: content.update({key: 10**12})
        yield f"{key} fraction", lambda content, key=key: content.update({key: 2.5})
    yield "optimisers renamed", lambda content: content.update(optimisers={"banana": content["optimisers"]["main"]})
    yield "optimisers empty", lambda content: content.update(optimisers={})
    yield (
        "state of other shapes",
        lambda content: content["optimisers"]["main"]["state"].update({0: {"momentum_buffer": torch.zeros(7)}}),
    )
    yield (
        "weights of other names",
        lambda content: content.update(method={f"x.{name}": value for name, value in content["method"].items()}),
    )
    yield (
        "weights of other shapes",
        lambda content: content.update(method={name: torch.zeros(3) for name in content["method"]}),
    )
    yield (
        "weights NaN",
        lambda content: content.update(
            method={
                name: torch.full_like(value, torch.nan) if value.is_floating_point() else value
                for name, value in content["method"].items()
            }
        ),
    )
    yield "weights are numbers", lambda content: content.update(method=dict.fromkeys(content["method"], 1.0))
    yield "another run", lambda content: content.update(key="0" * 64)
    yield "another layout", lambda content: content.update(format=99)
    yield "a list", lambda content: [content]
    yield "a tensor", lambda content: torch.zeros(3)
    yield "a number", lambda content: 7
    yield "best is a number", lambda content: content.update(best=3)
    yield "frozen numbers", lambda content: content.update(frozen=[1, 2])
    yield "seconds nan", lambda content: content.update(seconds="nan and void")
