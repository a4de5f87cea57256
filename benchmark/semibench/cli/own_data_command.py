"""`bench data new FOLDER` and `bench data register NAME FOLDER`: data sets of one's own, declared by their folder."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from semibench.cli.console import emit, stderr, stdout
from semibench.cli.options import Debug, Json
from semibench.cli.progress import reporter_for

Folder = Annotated[Path, typer.Argument(help="The folder with images and labels, or a CSV or JSON list of cases.")]


def new(
    folder: Folder,
    name: Annotated[
        str | None, typer.Option("--name", help="The name of the data set (default: the folder's).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a semibench.yaml that is there.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Look at a folder of your own, write semibench.yaml into it, and print what was understood.

    The file names classes, channels, groups and all else that a run needs, with comments: edit it where it is wrong. A picture
    of three cases lies beside it."""
    from semibench.process import environment

    environment()
    from semibench.contracts.errors import UsageError
    from semibench.data.declared.declaration import FILE, Declaration, read_declaration
    from semibench.data.declared.look import look_at
    from semibench.data.declared.naming import declared_set, slug
    from semibench.data.declared.survey import lines_of, survey
    from semibench.data.declared.writing import contact_picture, declaration_text, picture_file, write_declaration
    from semibench.discovery.registry import registry

    home = folder.parent if folder.is_file() else folder
    file = home / FILE
    if file.exists() and not force:
        raise UsageError(f"{file}: expected no such file, found one; edit it, or write it anew with --force")
    if name is not None and slug(name) != name:
        raise UsageError(
            f"--name {name!r}: expected lower case letters, digits and single dashes, e.g. {slug(name) or 'my-data'!r}"
        )
    with closing(reporter_for(stderr())) as reporter:
        start = Declaration() if force else read_declaration(home)
        item = declared_set(folder, registry(), reporter, start=start, read_labels=True, chosen=name)
        look = item.look
        assert look is not None
        dataset = item.resolve()(home, item.resolve().Options())
        result = survey(dataset, look, reporter)
    rows = lines_of(result, look)
    facts = [f"{what}: {value}" for what, value in rows]
    written = write_declaration(
        home, declaration_text(look.declaration, item.name, facts, result.suggested_groups), force=force
    )
    look_at(home, read_declaration(home))  # what was written is read back, or says what is wrong
    picture = contact_picture(dataset, dataset.index(), picture_file(home))
    if as_json:
        emit({"name": item.name, "folder": home, "declaration": look.declaration.model_dump(mode="json"), "written": written,
              "picture": picture, "survey": dataclasses.asdict(result), "notes": look.notes})  # fmt: skip
        return
    out = stdout()
    width = max(len(what) for what, _ in rows)
    for what, value in rows:
        out.show(f"{what:{width}}  {value}", soft_wrap=True)
    for note in look.found.notes[2:] + look.notes[len(look.found.notes) :]:
        out.show(f"decided: {note}", soft_wrap=True)
    for warning in result.warnings:
        stderr().show(f"WARNING: {warning}", style="bold yellow", soft_wrap=True)
    out.show(f"\nwritten: {written}" + ("" if picture is None else f"\npicture: {picture}"), soft_wrap=True)
    path = str(folder) if str(folder).startswith(("/", ".", "~")) else f"./{folder}"
    out.show(f"\nnext:  bench run -p ssmis -d {path} -m mean-teacher", soft_wrap=True)


def register(
    name: Annotated[str, typer.Argument(help="Lower case letters, digits and dashes: my-data.")],
    folder: Folder,
    user: Annotated[
        bool,
        typer.Option("--user", help="For all projects: write into your own configuration file, not ./semibench.toml."),
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Give a folder of your own a name, so that -d NAME means it."""
    from semibench.contracts.cards import NAME
    from semibench.contracts.errors import UsageError
    from semibench.data.declared.naming import declared_set, slug
    from semibench.data.declared.writing import register_name
    from semibench.discovery.registry import registry

    plugins = registry()
    if not NAME.match(name):
        raise UsageError(
            f"{name!r}: expected a name of lower case letters, digits and single dashes, e.g. {slug(name) or 'my-data'!r}"
        )
    if name in {item.name for item in plugins.cards("datasets")}:
        raise UsageError(
            f"{name!r}: expected a name that no data set has, found a built-in data set of this name; take another one"
        )
    with closing(reporter_for(stderr())) as reporter:
        item = declared_set(folder, plugins, reporter, name=name)  # a folder that can't be used is refused now
    assert item.look is not None
    file = register_name(name, folder, user=user)
    cases = item.look.found.cases
    if as_json:
        emit({"name": name, "folder": folder.resolve(), "file": file, "cases": len(cases)})
        return
    stdout().show(f"{name}: {folder.resolve()}, {len(cases)} cases (in {file}, [data.paths])", soft_wrap=True)
    stdout().show(f"next:  bench run -p ssmis -d {name} -m mean-teacher", soft_wrap=True)
