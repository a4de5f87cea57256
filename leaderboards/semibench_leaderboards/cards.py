"""Cards of the commands, listeners and suites that the leaderboards add. Light: a module is imported when it is used."""

from __future__ import annotations

from importlib import resources

from semibench import CommandCard, ListenerCard, SuiteCard, hookimpl

LEADERBOARD = CommandCard(
    name="leaderboard",
    load="semibench_leaderboards.commands.leaderboard:app",
    summary="Rank the rows of a track: mean, spread, interval, groups that can't be told apart.",
)

COMPARE = CommandCard(
    name="compare",
    load="semibench_leaderboards.commands.compare:app",
    summary="Compare two rows case by case: difference, interval, test, the cases that differ most.",
)

RUNS = CommandCard(
    name="runs",
    load="semibench_leaderboards.commands.runs:app",
    summary="List runs with state, score and time; filter and sort them.",
)

PUBLISHED = CommandCard(
    name="published",
    load="semibench_leaderboards.commands.published_command:published",
    summary="Show numbers that the papers printed, with units and known errors.",
)

SUITE = CommandCard(
    name="suite",
    load="semibench_leaderboards.commands.suite_command:app",
    summary="Show the papers' tables as lists of runs: published, reproduced, difference, what is missing.",
)

RERUN = CommandCard(
    name="rerun",
    load="semibench_leaderboards.commands.rerun:app",
    summary="Repeat a run, or all runs of a row, and compare the digits.",
)

RESCORE = CommandCard(
    name="rescore",
    load="semibench_leaderboards.commands.rescore:app",
    summary="Score a finished run under another convention, from its stored predictions.",
)

EXPORT = CommandCard(
    name="export",
    load="semibench_leaderboards.commands.export:app",
    summary="Write a run's spec, split, predictions and scores to one file that anybody can verify.",
)

IMPORT = CommandCard(
    name="import",
    load="semibench_leaderboards.commands.import_command:app",
    summary="Put runs that `bench export` wrote into a folder of runs.",
)

SCORE = CommandCard(
    name="score",
    load="semibench_leaderboards.commands.score:app",
    summary="Score predictions that were made elsewhere; the harness computes the numbers.",
)

VERIFY = CommandCard(
    name="verify",
    load="semibench_leaderboards.commands.verify:app",
    summary="Recompute every number of a bundle or run folder from its predictions and the data.",
)


@hookimpl
def semibench_commands() -> list[CommandCard]:
    """The commands of this package."""
    return [LEADERBOARD, COMPARE, RUNS, PUBLISHED, SUITE, RERUN, RESCORE, EXPORT, IMPORT, SCORE, VERIFY]


@hookimpl
def semibench_listeners() -> list[ListenerCard]:
    """Updates the rows in MLflow after every run."""
    load = "semibench_leaderboards.mlflow_rows.listening:update"
    return [ListenerCard(name="mlflow-rows", load=load, summary="Updates the run's row and track in MLflow.")]


@hookimpl
def semibench_suites() -> list[SuiteCard]:
    """One suite for each file of this package; a file is read when its suite is used."""
    folder = resources.files(__package__).joinpath("suites", "tables")
    names = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    load = "semibench_leaderboards.suites.for_matrix:cells_of"
    return [SuiteCard(name=name, title=f"table of a paper: bench suite show {name}", load=load) for name in names]
