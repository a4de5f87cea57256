"""Finding a data set's folder, and the error that shows what was expected and what is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from semibench import DatasetCard, LayoutError

SHOWN = 10
"""Entries of a folder that an error lists."""


def candidates(root: Path, card: DatasetCard) -> list[Path]:
    """Where the data set may lie: <root>/<name>, <root>, and the card's folders under both; existing ones only, those
    first."""
    bases = [root / card.name, root]
    places = [base / folder for base in bases for folder in card.folders] + bases
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def find_base(root: Path | None, card: DatasetCard, accepts: Callable[[Path], bool]) -> Path:
    """The first candidate folder that `accepts` says yes to. Raises LayoutError with the expected tree, what was found
    and how to obtain the data."""
    if root is not None:
        for place in candidates(root, card):
            if accepts(place):
                return place
    raise layout_error(root, card, f"found no {card.title} here.")


def layout_error(root: Path | None, card: DatasetCard, problem: str) -> LayoutError:
    """LayoutError with the expected tree and the first entries that are there."""
    return LayoutError(
        f"data set {card.name!r}: {problem}\n"
        f"Expected (<root> is the folder given as data root, or its subfolder {card.name!r}):\n{card.tree}\n"
        f"Found:\n{listing(root)}\n"
        f"How to obtain: {card.obtain} Terms: {card.terms}\n"
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


def listing(root: Path | None) -> str:
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
    """The first of the named sub-folders that exists ("" is the folder itself), or None."""
    return next((base / name for name in names if (base / name).is_dir()), None)
