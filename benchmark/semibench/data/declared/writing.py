"""Writes a semibench.yaml with comments, the contact picture, and the name of a data set into a configuration file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semibench.contracts.cases import CaseRef
from semibench.contracts.errors import SemibenchError, UsageError
from semibench.contracts.method import IGNORE
from semibench.data.declared.dataset import DeclaredDataset
from semibench.data.declared.declaration import FILE, Declaration
from semibench.data.declared.found import PICTURE
from semibench.data.roots import config_files
from semibench.files import write_atomically

TEMPLATE = "declaration.yaml.jinja"

PICTURED = 3
"""Cases on the contact picture."""


def declaration_text(declaration: Declaration, name: str, facts: Sequence[str], suggested_groups: str | None) -> str:
    """Returns the text of a semibench.yaml: what was understood, and as comments what else can be said.

    Args:
        declaration: with nothing left open.
        name: the name of the data set.
        facts: lines about the files, for the head.
        suggested_groups: an expression for groups that the names suggest.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    place = Environment(
        loader=PackageLoader("semibench.data.declared", "."), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        undefined=StrictUndefined,
    )  # fmt: skip
    place.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    lines = [" ".join(line.split()) for line in facts]
    return place.get_template(TEMPLATE).render(d=declaration, name=name, facts=lines, suggested=suggested_groups)


def write_declaration(folder: Path, text: str, *, force: bool) -> Path:
    """Writes semibench.yaml.

    Raises:
        UsageError: if there is one and `force` doesn't replace it.
    """
    file = folder / FILE
    if file.exists() and not force:
        raise UsageError(f"{file}: expected no such file, found one; edit it, or write it anew with --force")
    write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))
    return file


def contact_picture(dataset: DeclaredDataset, refs: Sequence[CaseRef], path: Path) -> Path | None:
    """Draws three cases with the outlines of their labels: the first, the middle and the last with a label.

    Returns:
        The file; None if no case could be read.
    """
    from semibench.pictures import sheet, slice_of

    labeled = [ref for ref in refs if ref.has_label] or list(refs)
    chosen = list(dict.fromkeys(labeled[at] for at in (0, len(labeled) // 2, len(labeled) - 1)))
    images, labels, captions = [], [], []
    for ref in chosen[:PICTURED]:
        try:
            case = dataset.read(ref)
        except SemibenchError:
            continue
        image, label = case.image.numpy(), None if case.label is None else case.label.numpy()
        title = ref.id
        if image.ndim == 4:
            cut = slice_of(ref.id, image, label, None, axis=dataset.card.slice_axis or 0)
            image, label, title = np.asarray(cut.image), cut.truth, cut.title
        images.append(image)
        labels.append(None if label is None else np.where(label == IGNORE, len(dataset.card.classes), label))
        captions.append(title)
    if not images:
        return None
    outlined = [*dataset.card.classes[1:], *(["ignored"] if dataset.declaration.ignore else [])]
    return sheet(images, path, title=f"{dataset.card.name}: {', '.join(outlined)}", captions=captions,
                 labels=labels, columns=PICTURED)  # fmt: skip


def picture_file(folder: Path) -> Path:
    """Returns where the contact picture of a folder is."""
    return folder / PICTURE


def register_name(name: str, path: Path, *, user: bool) -> Path:
    """Writes `[data.paths] NAME = "FOLDER"` into ./semibench.toml, or into the user's configuration file.

    Args:
        name: the name of the data set.
        path: its folder, or its list.
        user: whether to use the user's file, for all projects.

    Returns:
        The file that was written.

    Raises:
        UsageError: if the name has another folder there, or the file can't be changed without losing something.
    """
    file = config_files()[1 if user else 0]
    old = file.read_text(encoding="utf-8") if file.is_file() else ""
    try:
        before = tomllib.loads(old)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not a readable TOML file: {error}. Correct it or remove it.") from error
    paths = before.get("data", {}).get("paths", {}) if isinstance(before.get("data", {}), dict) else {}
    target = path.resolve()
    text = _relative(target, file.parent) if not user else str(target)
    if not isinstance(paths, dict) or name in paths:
        known = paths.get(name) if isinstance(paths, dict) else None
        if isinstance(known, str) and (file.parent / Path(known).expanduser()).resolve() == target:
            return file
        raise UsageError(
            f"{file}: expected no {name} under [data.paths], found {known!r}; remove that line, or take another name"
        )
    line = f"{json.dumps(name)} = {json.dumps(text, ensure_ascii=False)}"
    new = _with_line(old, line)
    wanted = dict(paths) | {name: text}
    try:
        after = tomllib.loads(new)
        kept = {k: v for k, v in after.items() if k != "data"} == {k: v for k, v in before.items() if k != "data"}
        if not kept or after["data"]["paths"] != wanted:
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{file}: can't be changed without losing something; add under [data.paths] by hand: {line}"
        ) from error
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, lambda draft: draft.write_text(new, encoding="utf-8"))
    return file


def _with_line(text: str, line: str) -> str:
    """Returns a TOML text with a line at the beginning of [data.paths]."""
    lines = text.splitlines()
    for number, old in enumerate(lines):
        if old.split("#")[0].replace(" ", "") == "[data.paths]":
            return "\n".join([*lines[: number + 1], line, *lines[number + 1 :]]) + "\n"
    return (text.rstrip("\n") + "\n\n" if text.strip() else "") + f"[data.paths]\n{line}\n"


def _relative(target: Path, base: Path) -> str:
    """Returns a path relative to a folder, if it is inside of it."""
    try:
        return f"./{target.relative_to(base.resolve()).as_posix()}"
    except ValueError:
        return str(target)
