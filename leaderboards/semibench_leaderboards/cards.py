"""Cards of the leaderboards: the commands they add to `bench`. Light: a command's module is imported when it is called."""

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
    summary="Compare two rows case by case: differences, interval, test, the cases that differ most.",
)

RUNS = CommandCard(
    name="runs",
    load="semibench_leaderboards.commands.runs:app",
    summary="List runs: state, score, time; filter and sort them.",
)

PUBLISHED = CommandCard(
    name="published",
    load="semibench_leaderboards.commands.published_command:published",
    summary="Numbers that the papers printed, with units, and what is known to be wrong with them.",
)

SUITE = CommandCard(
    name="suite",
    load="semibench_leaderboards.commands.suite_command:app",
    summary="The papers' tables as lists of runs: published, reproduced, difference, what is missing.",
)

RERUN = CommandCard(
    name="rerun",
    load="semibench_leaderboards.commands.rerun:app",
    summary="The same run, or all of a row, once more: do the digits agree, and within what?",
)

RESCORE = CommandCard(
    name="rescore",
    load="semibench_leaderboards.commands.rescore:app",
    summary="Score a finished run under another convention, from its stored predictions.",
)

EXPORT = CommandCard(
    name="export",
    load="semibench_leaderboards.commands.export:app",
    summary="One file with a run's spec, split, predictions and scores, that anybody can verify.",
)

SCORE = CommandCard(
    name="score",
    load="semibench_leaderboards.commands.score:app",
    summary="Score predictions that were made elsewhere; the harness computes the number.",
)

VERIFY = CommandCard(
    name="verify",
    load="semibench_leaderboards.commands.verify:app",
    summary="Compute every number of a bundle, or a run folder, again from its predictions and the data.",
)


@hookimpl
def semibench_commands() -> list[CommandCard]:
    """The commands of this package."""
    return [LEADERBOARD, COMPARE, RUNS, PUBLISHED, SUITE, RERUN, RESCORE, EXPORT, SCORE, VERIFY]


@hookimpl
def semibench_listeners() -> list[ListenerCard]:
    """Rows in MLflow follow every run that ends."""
    load = "semibench_leaderboards.mlflow_rows.listening:update"
    return [ListenerCard(name="mlflow-rows", load=load, summary="Brings the run's row and track in MLflow up to date.")]


@hookimpl
def semibench_suites() -> list[SuiteCard]:
    """One suite per file of this package; the files are read when a suite is used."""
    folder = resources.files(__package__).joinpath("suites", "tables")
    names = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    load = "semibench_leaderboards.suites.for_matrix:cells_of"
    return [SuiteCard(name=name, title=f"table of a paper: bench suite show {name}", load=load) for name in names]
