"""`bench split`: shows which cases are labeled, unlabeled, validation and test."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semibench.cli.console import emit, stderr, stdout, table
from semibench.cli.generated import Fields, with_options
from semibench.cli.options import Debug, Json
from semibench.cli.progress import reporter_for
from semibench.process import environment
from semibench.run.request import Cell

if TYPE_CHECKING:
    from semibench.contracts.cases import Split


ASKED = ("protocol", "dataset", "recipe", "draw", "fold", "settings", "split", "data_root", "phantom")
"""Fields of a cell that a split depends on; a recipe may come with protocol options."""


def record_of(split: Split) -> dict[str, Any]:
    """Returns cases by role as [dataset, id, group, domain], the source of validation cases, and excluded cases."""
    return {
        "roles": {
            role: [[ref.dataset, ref.id, ref.group, ref.domain] for ref in refs] for role, refs in split.roles().items()
        },
        "validation_from": split.validation_from,
        "excluded": dict(split.excluded),
    }


def add(app: typer.Typer) -> None:
    """Registers the command."""

    @app.command(
        "split",
        epilog="Examples:  bench split -p ssmis -d la --set labeled=8  ·  bench split -p umda -d mmwhs --draw 1 --json  ·  "
        "bench split -p self -d tus --out split.json",
    )
    @with_options
    def split_command(
        cell: Annotated[Cell, Fields(Cell, only=ASKED)],
        ids: Annotated[bool, typer.Option("--ids", help="List the cases too.")] = False,
        out: Annotated[
            Path | None,
            typer.Option("--out", metavar="FILE", help="Write the split to a JSON or CSV file, which --split reads."),
        ] = None,
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        """Draw the split of a protocol, and print or export it."""
        environment()
        from semibench.run.prepare import draw_split
        from semibench.run.resolve import resolve

        reporter = reporter_for(stderr())
        try:
            resolved = resolve(cell.request(), reporter)
            split, warnings = draw_split(resolved)
        finally:
            reporter.close()
        replicate = resolved.spec.replicate
        if out is not None:
            write_split(out, split, resolved.names.card.name)
        if as_json:
            head = {
                "protocol": resolved.spec.track.protocol.model_dump(mode="json"),
                "dataset": resolved.spec.track.dataset.model_dump(mode="json"),
                "data": resolved.spec.track.data,
                "draw": replicate.draw,
                "fold": replicate.fold,
                "warnings": warnings,
            }
            emit(head | record_of(split))
            return
        where = "phantom" if resolved.data.phantom else "real files"
        title = f"{cell.protocol} on {cell.dataset} ({where}), draw {replicate.draw}, fold {replicate.fold}"
        stdout().show(table(("role", "cases", "groups", "with label", "by domain"), summary(split), title=title))
        stdout().show(f"validation from: {split.validation_from} · excluded: {len(split.excluded)}")
        for warning in warnings:
            stderr().show(f"WARNING: {warning}", style="bold yellow")
        if out is not None:
            stdout().show(f"written: {out} (use it with --split {out})", soft_wrap=True)
        if ids:
            for role, refs in split.roles().items():
                stdout().show(f"\n{role}: " + (" ".join(ref.key for ref in refs) or "none"), soft_wrap=True)


def write_split(file: Path, split: Split, main: str) -> None:
    """Writes a split as `--split` reads it, as JSON or, by its ending, as CSV.

    Raises:
        UsageError: for another ending, or a folder that isn't there.
    """
    from semibench.contracts.errors import UsageError
    from semibench.files import write_atomically, write_json
    from semibench.run.own_split import split_record

    if file.suffix.lower() not in (".json", ".csv"):
        raise UsageError(
            f"--out {file}: expected a name that ends in .json or .csv, found {file.suffix or 'no ending'!r}; add it"
        )
    if not file.parent.is_dir() or file.is_dir():
        raise UsageError(f"--out {file}: expected a file in a folder that is there, found none; make the folder first")
    if file.suffix.lower() == ".json":
        write_json(file, split_record(split, main))
        return
    roles = split_record(split, main)
    rows = [("case", "role"), *((name, role) for role, names in roles.items() for name in names)]

    def write(draft: Path) -> None:
        with draft.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(rows)

    write_atomically(file, write)


def summary(split: Split) -> list[tuple[str, int, int, int, str]]:
    """Returns for each role: cases, groups, cases whose files have a label, cases by domain."""
    rows = []
    for role, refs in split.roles().items():
        domains = Counter(f"{ref.dataset}/{ref.domain}" for ref in refs)
        by_domain = ", ".join(f"{domain} {count}" for domain, count in sorted(domains.items()))
        groups = len({(ref.dataset, ref.group) for ref in refs})
        rows.append((role, len(refs), groups, sum(ref.has_label for ref in refs), by_domain))
    return rows
