"""`bench check`: runs the conformance battery on a registered plug-in and prints the outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semibench.cli.console import duration, emit, stderr, stdout, table
from semibench.cli.options import Debug, Json

if TYPE_CHECKING:
    from semibench.conformance.verdicts import Verdict


def shown(verdicts: Sequence[Verdict]) -> list[tuple[Verdict, str]]:
    """Returns the rows of the table. Checks that fail for one and the same reason are one row, which counts the others."""
    from semibench.conformance.verdicts import FAILED

    same: dict[str, list[Verdict]] = {}
    for one in verdicts:
        if one.state in FAILED:
            same.setdefault(one.reason, []).append(one)
    rows = []
    for one in verdicts:
        text = one.reason or one.found or one.must
        if one.state not in FAILED:
            rows.append((one, text))
        elif same[one.reason][0] is one:
            others = len(same[one.reason]) - 1
            rows.append(
                (
                    one,
                    f"{text} (and {others} more fail{'s' if others == 1 else ''} for this reason)" if others else text,
                )
            )
    return rows


def add(app: typer.Typer) -> None:
    """Registers the command."""

    @app.command(
        "check", epilog="Examples:  bench check my-method  ·  bench check unet --kind backbone --junit unet.xml"
    )
    def check_command(
        name: Annotated[
            str,
            typer.Argument(
                help="A method, backbone, data set, protocol, generator, convention, split or recipe; or a folder of your own."
            ),
        ],
        kind: Annotated[
            str | None, typer.Option("--kind", help="Kind of the plug-in, if several kinds have one of this name.")
        ] = None,
        only: Annotated[
            list[str] | None, typer.Option("--only", metavar="FACT", help="Run only this check; repeatable.")
        ] = None,
        junit: Annotated[Path | None, typer.Option("--junit", help="Also write JUnit XML to this file.")] = None,
        slow: Annotated[
            bool, typer.Option("--slow", help="Also train a method and check what it learned (minutes).")
        ] = False,
        data_root: Annotated[
            Path | None,
            typer.Option(
                "--data-root",
                help="Check a data set on the real files in this folder: every case is read, two steps are trained.",
            ),
        ] = None,
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        """Check that a plug-in keeps its contract. The exit code is 1 if a fact doesn't hold.

        A plug-in may also be a class in a file: bench check ./my_method.py:MyMethod. A data set of your own is checked on its
        files: bench check ./mydata reads every case and trains two steps.
        """
        from semibench.process import environment

        environment()
        import torch

        from semibench.conformance.battery import checks_of
        from semibench.conformance.verdicts import FAILED, verdict, write_junit
        from semibench.contracts.errors import UnknownNameError

        torch.set_num_threads(1)
        checks = checks_of(name, kind, slow=slow, data_root=data_root)
        facts = {check.fact for check in checks}
        for fact in only or ():
            if fact not in facts:
                raise UnknownNameError(f"check of a {checks[0].kind}", fact, facts)
        selected = [check for check in checks if not only or check.fact in only]
        progress = stderr()
        verdicts = []
        for number, check in enumerate(selected, 1):
            if progress.is_terminal:
                progress.show(f"\r{number}/{len(selected)} {check}\x1b[K", end="")
            verdicts.append(verdict(check))
        if progress.is_terminal:
            progress.show("\r\x1b[K", end="")
        if junit is not None:
            write_junit(junit, name, verdicts)
        failed = [one for one in verdicts if one.state in FAILED]
        known = sum(one.state == "known" for one in verdicts)
        if as_json:
            counts = {"checks": len(verdicts), "failed": len(failed), "known": known}
            emit({"kind": checks[0].kind, "name": name, **counts, "results": [one.record() for one in verdicts]})
        else:
            rows = [(one.fact, f"{one.dims}D" if one.dims else None, one.state, text) for one, text in shown(verdicts)]
            out = stdout()
            out.show(table(("check", "dims", "state", "what must hold, or the outcome"), rows))
            total = duration(sum(one.seconds for one in verdicts))
            summary = f"{checks[0].kind} {name}: {len(verdicts) - len(failed) - known} of {len(verdicts)} facts hold"
            out.show(
                f"\n{summary}, {known} known failures, {len(failed)} broken ({total})",
                style="red" if failed else "green",
            )
        if failed:
            raise typer.Exit(1)
