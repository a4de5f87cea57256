"""`bench data where|verify|audit NAME`: locates, checks and compares the files of data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semibench.cli.console import emit, stderr, stdout, table
from semibench.cli.options import DataRoot, Debug, Json, PhantomChoice, Settings
from semibench.cli.own_data_command import new, register
from semibench.cli.progress import reporter_for
from semibench.contracts.errors import LayoutError, SemibenchError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from semibench.contracts.cases import Dataset

Name = Annotated[str, typer.Argument(help="A data set: `bench list datasets`, or a folder of your own: ./mydata.")]
NEW = "Examples:  bench data new ./mydata  ·  bench data new ./mydata --name my-clinic --force"
REGISTER = "Examples:  bench data register my-clinic ./mydata  ·  bench data register my-clinic ~/data/mine --user"


def add(app: typer.Typer) -> None:
    """Registers the group of commands."""
    group = typer.Typer(
        name="data",
        no_args_is_help=True,
        help="Locate the files of data sets, check them, find duplicate images, and declare data sets of your own.",
        epilog="Examples:  bench data where tus  ·  bench data verify bus-bra --data-root ~/data  ·  bench data audit busi --write",
    )
    group.command("where")(where)
    group.command("verify")(verify)
    group.command("audit")(audit)
    group.command("new", epilog=NEW)(new)
    group.command("register", epilog=REGISTER)(register)
    app.add_typer(group)


def where(name: Name, data_root: DataRoot = None, as_json: Json = False, debug: Debug = False) -> None:
    """Show where the files of a data set are searched, and the expected folder tree."""
    from semibench.data.declared.naming import find_dataset, place_of
    from semibench.discovery.registry import registry

    item = find_dataset(registry(), name)
    card = item.card
    location = place_of(item, data_root)
    if as_json:
        tried = [{"source": a.source, "path": a.path, "outcome": a.outcome} for a in location.tried]
        emit(
            {
                "name": card.name,
                "path": location.path,
                "source": location.source,
                "tried": tried,
                "tree": card.tree,
                "obtain": card.obtain,
            }
        )
        return
    console = stdout()
    console.show(location.explain(), soft_wrap=True)
    if location.path is None:
        for title, text in (("expected there", card.tree), ("how to obtain it", card.obtain), ("terms", card.terms)):
            if text:
                console.show(f"\n{title}", style="bold")
                console.show(text)


def open_dataset(name: str, data_root: Path | None, settings: list[str] | None, phantom: bool | None) -> Dataset:
    """Opens a data set on its files, or its phantom if that is requested.

    Raises:
        LayoutError: if there are no files; the message shows where they are searched and the expected tree.
    """
    from semibench.contracts.cases import PhantomOptions
    from semibench.data.declared.naming import find_dataset, place_of
    from semibench.discovery.guard import calling
    from semibench.discovery.registry import registry
    from semibench.run.settings import assign, build, parse

    item = find_dataset(registry(), name)
    cls = item.resolve()
    given = assign(parse(settings or ()), {"dataset": cls.Options.model_fields, "phantom": PhantomOptions.model_fields})
    options = build(cls.Options, f"data set {item.name!r}", given["dataset"])
    if phantom:
        choice = build(PhantomOptions, "phantom", given["phantom"])
        with calling(cls, "phantom"):
            stand_in: Dataset = cls.phantom(options, choice)
        return stand_in
    location = place_of(item, data_root)
    if location.path is None:
        obtain = f"\n  how to obtain it: {item.card.obtain}" if item.card.obtain else ""
        raise LayoutError(location.lacking(item.card.tree) + obtain)
    with calling(cls, "__init__"):
        dataset: Dataset = cls(location.path, options)
    return dataset


def verify(
    name: Name,
    settings: Settings = None,
    data_root: DataRoot = None,
    phantom: PhantomChoice = None,
    fast: Annotated[bool, typer.Option("--fast", help="Check names and counts only; decode no files.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check layout, counts, sizes and label values of a data set's files. The exit code is 1 if something is wrong."""
    from semibench.process import environment

    environment()
    from semibench.data.verify import verify as check

    dataset = open_dataset(name, data_root, settings, phantom)
    with closing(reporter_for(stderr())) as reporter:
        findings = check(dataset, decode=not fast, reread=not fast, reporter=reporter)
    counts = Counter(finding.level for finding in findings)
    if as_json:
        emit(
            {
                "name": name,
                "root": dataset.root,
                "counts": dict(counts),
                "findings": _records(findings),
            }
        )
    else:
        for finding in findings:
            case = f" {finding.case}:" if finding.case is not None else ""
            stdout().show(f"{finding.level:8}{finding.check:7}{case} {finding.message}", soft_wrap=True)
        stdout().show(f"{name}: {counts['error']} errors, {counts['warning']} warnings, {counts['note']} notes")
    if counts["error"]:
        raise SemibenchError(
            f"data set {name!r} in {dataset.root} is not as published: {counts['error']} errors (see above)"
        )


def audit(
    name: Name,
    settings: Settings = None,
    data_root: DataRoot = None,
    phantom: PhantomChoice = None,
    distance: Annotated[
        int, typer.Option(min=0, max=64, help="Largest number of differing bits of the perceptual hash.")
    ] = 8,
    likeness: Annotated[float, typer.Option(min=0, max=1, help="Smallest correlation of a near copy.")] = 0.8,
    write: Annotated[
        bool, typer.Option("--write", help="Write the group table, which the data set then reads.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Find identical and near-identical images, and groups that cross a published split."""
    from semibench.process import environment

    environment()
    from semibench.data.audit import audit as audit_images
    from semibench.data.audit import write_group_table

    dataset = open_dataset(name, data_root, settings, phantom)
    with closing(reporter_for(stderr())) as reporter:
        report = audit_images(dataset, distance=distance, likeness=likeness, reporter=reporter)
    written: Path | None = None
    if write:
        if dataset.root is None:
            raise SemibenchError("a phantom has no files, so no group table can be written")
        written = write_group_table(report, dataset.card.name, dataset.root)
    if as_json:
        emit({"name": name, "summary": report.summary(), "pairs": _records(report.pairs), "crossings": _records(report.crossings),
              "groups": _records(report.rows), "written": written})  # fmt: skip
        return
    stdout().show(report.summary())
    if report.pairs:
        stdout().show(table(*_columns(_records(report.pairs)), title="identical and near-identical images"))
    if report.crossings:
        stdout().show(table(*_columns(_records(report.crossings)), title="groups that cross a split"))
    if written is not None:
        stdout().show(f"group table: {written}", soft_wrap=True)


def _records(items: Iterable[DataclassInstance]) -> list[dict[str, Any]]:
    return [asdict(item) for item in items]


def _columns(records: list[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    names = list(records[0])
    return names, [[record[name] for name in names] for record in records]
