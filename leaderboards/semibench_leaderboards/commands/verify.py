"""`bench verify`: recomputes the numbers of a run from its predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semibench.cli.console import emit, stderr, stdout, table
from semibench.cli.options import Debug, Json
from semibench.cli.progress import reporter_for
from semibench_leaderboards.commands import naming, options

if TYPE_CHECKING:
    from semibench_leaderboards.evidence.verify import Verification

EPILOG = "Examples:\n\nbench verify cps-seed-0.zip\n\nbench verify 4f14c4c98d88\n\nbench verify entry.zip --data-root ~/data --json"

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command("verify", epilog=EPILOG)
def verify_command(
    bundle: Annotated[
        str, typer.Argument(help="File written by `bench export`, a run folder, or a run's key.", metavar="BUNDLE")
    ],
    runs: options.Runs = Path("runs"),
    data_root: naming.DataRoot = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Recompute every number of a bundle from its predictions and the local data, and check everything else that it claims.

    Checked are the digests of the files, the key, the data digest, the split, every value of every case, and every mean. Nothing
    in the file is executed. The exit code is 1 if something is wrong or a score can't be recomputed.
    """
    from semibench_leaderboards.evidence.containers import open_container
    from semibench_leaderboards.evidence.verify import verify_run

    given = Path(bundle)
    path = given if given.exists() else naming.run_folder(bundle, runs)
    reporter = reporter_for(stderr())
    try:
        with open_container(path) as container:
            verification = verify_run(container, data_root, reporter)
    finally:
        reporter.close()
    if as_json:
        emit(
            {
                "path": str(verification.path),
                "key": verification.key,
                "well": verification.well,
                "unverified": verification.unverified,
                "checks": [vars(c) for c in verification.checks],
                "scores": verification.scores,
            }
        )
    else:
        _show(verification)
    if not verification.well:
        raise typer.Exit(1)


def _show(verification: Verification) -> None:
    console = stdout()
    styles = {"ok": None, "wrong": "bold red", "unknown": "yellow"}
    for check in verification.checks:
        console.show(f"{check.outcome:8s}{check.name}: {check.text}", style=styles[check.outcome], soft_wrap=True)
    heads = [
        "checkpoint",
        "predictor",
        "convention",
        "metric",
        "values",
        "claimed",
        "computed",
        "largest difference",
        "",
    ]
    rows = [
        [
            s["checkpoint"], s["predictor"], s["convention"], s["metric"], s["values"],
            _figure(s["claimed"]), _figure(s["computed"]),
            "none" if s["largest_difference"] == 0 else f"{s['largest_difference']:.2g}", "agrees" if s["agrees"] else "DIFFERS",
        ]
        for s in verification.scores
    ]  # fmt: skip
    if rows:
        console.show()
        console.show(table(heads, rows))
    values = sum(s["values"] for s in verification.scores)
    exact = all(s["largest_difference"] == 0 and s["mean_difference"] == 0 for s in verification.scores)
    worst = max((s["largest_difference"] for s in verification.scores), default=0.0)
    console.show()
    if not verification.scores:
        console.show("NOT VERIFIED: no number could be recomputed", style="bold red")
    elif verification.unverified and all(check.outcome != "wrong" for check in verification.checks):
        console.show(f"NOT VERIFIED: can't be recomputed: {', '.join(verification.unverified)}", style="bold red")
    elif verification.well:
        within = "digit for digit" if exact else f"within {worst:.2g}"
        console.show(f"verified: {values} values in {len(verification.scores)} scores agree {within}", style="bold")
    else:
        console.show("NOT VERIFIED: see what is wrong above", style="bold red")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.6f}"
