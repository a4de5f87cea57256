"""Finds the folder of a data set, and builds the error that shows the expected and the actual contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from semibench.contracts.cards import DatasetCard
from semibench.contracts.errors import LayoutError

SHOWN = 10
"""Number of entries of a folder that an error message lists."""


def candidate_folders(root: Path, card: DatasetCard) -> list[Path]:
    """Lists the folders that may hold a data set.

    Args:
        root: the data root.
        card: the card of the data set; its `folders` are tried in `root` and `root/name`.

    Returns:
        The existing folders, most specific first: the card's folders, then `root/name`, then `root`.

    Examples:
        >>> (folder / "clinic").mkdir()
        >>> candidate_folders(folder, card) == [folder / "clinic", folder]
        True
    """
    bases = [root / card.name, root]
    folders = [base / folder for base in bases for folder in card.folders] + bases
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


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
    names = sorted(entry.name for entry in root.iterdir())
    return f"only {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else "an empty folder"


def _listing(root: Path | None) -> str:
    """Lists the first entries of a folder and of its first sub-folders, as text."""
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
    """Finds the first of several sub-folders that exists.

    Args:
        base: a folder.
        names: names of sub-folders, tried in this order; "" is the folder itself.

    Returns:
        The first existing one, or None.
    """
    return next((base / name for name in names if (base / name).is_dir()), None)
