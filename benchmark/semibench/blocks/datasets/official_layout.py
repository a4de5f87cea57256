"""Finds the folder of a data set, and builds the error that shows the expected and the actual contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from semibench.blocks.datasets.folder_walk import composed, passed_over, plain_name, printable, sub_folders
from semibench.contracts.cards import DatasetCard
from semibench.contracts.errors import LayoutError

SHOWN = 10
"""Number of entries of a folder that an error message lists."""


def candidate_folders(root: Path, card: DatasetCard) -> list[Path]:
    """Lists the folders that may hold a data set.

    Names of folders are compared without capitals and punctuation. A folder inside is a candidate, too, if it has such a name
    again, or if there is no other: unpacking an archive often adds one.

    Args:
        root: the data root.
        card: the card of the data set; its `folders` are tried in `root` and `root/name`.

    Returns:
        The existing folders, most specific first: the card's folders, then `root/name`, then `root`, then what they hold.

    Examples:
        >>> (folder / "clinic").mkdir()
        >>> candidate_folders(folder, card) == [folder / "clinic", folder]
        True
    """
    bases = [*_named(root, card.name), root]
    outer = [found for base in bases for name in card.folders for found in _named(base, name)] + bases
    outer = [folder for folder in dict.fromkeys(outer) if folder.is_dir()]
    names = {plain_name(name) for name in (card.name, *(PurePosixPath(folder).name for folder in card.folders))}
    inner: list[Path] = []
    for folder in outer:
        nested = sub_folders(folder)
        again = [sub for sub in nested if plain_name(sub.name) in names] or (nested if len(nested) == 1 else [])
        inner += [found for sub in again for name in card.folders for found in _named(sub, name)] + again
    return list(dict.fromkeys([*outer, *inner]))


def _named(base: Path, name: str) -> list[Path]:
    """Returns the folder of a relative path inside another one: of exactly that name, else of names that differ in capitals and
    punctuation."""
    if (base / name).is_dir():
        return [base / name]
    folders = [base]
    for part in PurePosixPath(name).parts:
        folders = [sub for folder in folders for sub in sub_folders(folder) if plain_name(sub.name) == plain_name(part)]
    return folders


def find_data_folder(root: Path | None, card: DatasetCard, accepts: Callable[[Path], bool]) -> Path:
    """Finds the folder that holds a data set.

    Args:
        root: the data root; None if none was given.
        card: the card of the data set.
        accepts: returns True for a folder that holds the data set.

    Returns:
        The first of `candidate_folders` that `accepts` accepts.

    Raises:
        LayoutError: if there is none. The error shows the expected tree, the actual contents and how to obtain the data.

    Examples:
        >>> (folder / "images").mkdir()
        >>> find_data_folder(folder, card, lambda path: (path / "images").is_dir()) == folder
        True
    """
    if root is not None:
        for folder in candidate_folders(root, card):
            if accepts(folder):
                return folder
    raise layout_error(root, card, f"found no {card.title} here.")


def layout_error(root: Path | None, card: DatasetCard, problem: str) -> LayoutError:
    """Builds the error for files that are not laid out as expected.

    Args:
        root: the folder that was searched.
        card: the card of the data set; the error shows its tree, how to obtain it and its terms.
        problem: what is wrong, as a sentence.

    Returns:
        The error to raise, with the expected tree and the first entries of the folder.

    Examples:
        >>> print(str(layout_error(folder, card, "found no masks.")).splitlines()[0])
        data set 'clinic': found no masks.
    """
    return LayoutError(
        f"data set {card.name!r}: {problem}\n"
        f"Expected (<root> is the folder given as data root, or its subfolder {card.name!r}):\n{card.tree}\n"
        f"Found:\n{_listing(root)}\n"
        f"How to obtain: {card.obtain}{f' Terms: {card.terms}' if card.terms else ''}\n"
        f"Then give the folder as the data root (--data-root), or try the procedural stand-in (--phantom).",
        brief=f"{root}: {problem.rstrip('.')}; expected {_first_files(card)}, found {_at_a_glance(root)}; {card.obtain}",
    )


def _first_files(card: DatasetCard) -> str:
    """Joins the first lines of the card's tree into one."""
    lines = [" ".join(line.split()) for line in card.tree.splitlines()[1:4]]
    return " ".join(line.replace("(or its content directly)", "").strip() for line in lines)


def _at_a_glance(root: Path | None) -> str:
    """Summarises the contents of a folder in a few words."""
    if root is None or not root.is_dir():
        return "no folder"
    names = [entry.name for entry in _entries(root)]
    shown = printable(", ".join(names[:3]))
    return f"only {shown}{' ...' if len(names) > 3 else ''}" if names else "an empty folder"


def _listing(root: Path | None) -> str:
    """Lists the first entries of a folder and of its first sub-folders, as text."""
    if root is None:
        return "  no data root was given"
    if not root.is_dir():
        return f"  {root} is not a folder"
    lines = [f"  {root}/"]
    entries = _entries(root)
    for entry in entries[:SHOWN]:
        if not entry.is_dir():
            lines.append(f"    {entry.name}")
            continue
        inside = [item.name for item in _entries(entry)]
        lines.append(
            f"    {entry.name}/  {', '.join(inside[:3])}{' ...' if len(inside) > 3 else ''} ({len(inside)} entries)"
        )
    if len(entries) > SHOWN:
        lines.append(f"    ... and {len(entries) - SHOWN} more")
    return printable("\n".join(lines)) if entries else f"  {root}/ is empty"


def _entries(folder: Path) -> list[Path]:
    """Lists what a folder holds, sorted, without hidden files; empty if it can't be listed."""
    try:
        return sorted(entry for entry in folder.iterdir() if not passed_over(entry.name))
    except OSError:
        return []


def first_folder(base: Path, names: Sequence[str]) -> Path | None:
    """Finds the first of several sub-folders that exists.

    Args:
        base: a folder.
        names: names of sub-folders, tried in this order; "" is the folder itself. Capitals don't matter.

    Returns:
        The first existing one, or None.

    Examples:
        >>> (folder / "Masks").mkdir()
        >>> first_folder(folder, ["labels", "masks"]).name
        'Masks'
    """
    folders = {composed(folder.name).casefold(): folder for folder in reversed(sub_folders(base))}
    for name in names:
        exact = base / name
        if exact.is_dir():
            return exact
        if composed(name).casefold() in folders:
            return folders[composed(name).casefold()]
    return None
