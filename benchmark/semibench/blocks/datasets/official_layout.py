"""Finding a data set's folder, and the error that shows what was expected and what is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from semibench.contracts.cards import DatasetCard
from semibench.contracts.errors import LayoutError

SHOWN = 10
"""Entries of a folder that an error lists."""


def candidate_folders(root: Path, card: DatasetCard) -> list[Path]:
    """List the folders in which a data set may lie.

    Args:
        root: the data root.
        card: the data set; its `folders` are tried under `root` and `root/name`.

    Returns:
        Existing folders, most specific first: the card's folders, then `root/name` and `root` themselves.
    """
    bases = [root / card.name, root]
    folders = [base / folder for base in bases for folder in card.folders] + bases
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def find_data_folder(root: Path | None, card: DatasetCard, accepts: Callable[[Path], bool]) -> Path:
    """Find the folder that holds a data set.

    Args:
        root: the data root; None where none was given.
        card: the data set.
        accepts: tells whether a folder holds the data set.

    Returns:
        The first of `candidate_folders` that `accepts` says yes to.

    Raises:
        LayoutError: there is none. The error shows the expected tree, what is there and how to obtain the data.
    """
    if root is not None:
        for folder in candidate_folders(root, card):
            if accepts(folder):
                return folder
    raise layout_error(root, card, f"found no {card.title} here.")


def layout_error(root: Path | None, card: DatasetCard, problem: str) -> LayoutError:
    """Make the error for files that are not laid out as expected.

    Args:
        root: the folder that was searched.
        card: the data set: its tree, how to obtain it and its terms are shown.
        problem: what is wrong, as a sentence.

    Returns:
        The error to raise, with the expected tree and the first entries that are there.
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
    """The first lines of the card's tree in one."""
    lines = [" ".join(line.split()) for line in card.tree.splitlines()[1:4]]
    return " ".join(line.replace("(or its content directly)", "").strip() for line in lines)


def _at_a_glance(root: Path | None) -> str:
    """What is in a folder, in a few words."""
    if root is None or not root.is_dir():
        return "no folder"
    names = sorted(entry.name for entry in root.iterdir())
    return f"only {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else "an empty folder"


def _listing(root: Path | None) -> str:
    """The first entries of a folder and of its first sub-folders, as text."""
    if root is None:
        return "  no data root was given"
    if not root.is_dir():
        return f"  {root} is not a folder"
    lines = [f"  {root}/"]
    entries = sorted(root.iterdir())
    for entry in entries[:SHOWN]:
        if not entry.is_dir():
            lines.append(f"    {entry.name}")
            continue
        inside = sorted(item.name for item in entry.iterdir())
        lines.append(
            f"    {entry.name}/  {', '.join(inside[:3])}{' ...' if len(inside) > 3 else ''} ({len(inside)} entries)"
        )
    if len(entries) > SHOWN:
        lines.append(f"    ... and {len(entries) - SHOWN} more")
    return "\n".join(lines) if entries else f"  {root}/ is empty"


def first_folder(base: Path, names: Sequence[str]) -> Path | None:
    """Find the first of several sub-folders.

    Args:
        base: a folder.
        names: names of sub-folders, in the order in which they are tried; "" is the folder itself.

    Returns:
        The first one that exists, or None.
    """
    return next((base / name for name in names if (base / name).is_dir()), None)
