"""Letters for rows that can't be told apart (compact letter display)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from string import ascii_lowercase

MOST_GROUPS = 300
"""Boards with more groups (hundreds of rows whose differences don't follow the order) show neighbours only."""


def letters(order: Sequence[str], different: Collection[tuple[str, str]]) -> tuple[dict[str, str], bool]:
    """Assigns letters so that two names share one exactly where they can't be told apart.

    The groups are the maximal cliques of the pairs that are not different. Where that takes more than 300 groups, only
    neighbours in the order form groups: names that share a letter still can't be told apart, but some pairs without a shared
    letter can't be either.

    Args:
        order: names, best first, which is the order of the letters.
        different: pairs of names that differ.

    Returns:
        Name -> its letters, separated by blanks, and whether the letters are complete.
    """
    near: dict[str, set[str]] = {name: set(order) - {name} for name in order}
    for first, second in different:
        near[first].discard(second)
        near[second].discard(first)
    groups = list(islice(_cliques(near), MOST_GROUPS + 1))
    complete = len(groups) <= MOST_GROUPS
    if not complete:
        groups = _neighbours(order, near)
    position = {name: number for number, name in enumerate(order)}
    groups.sort(key=lambda group: sorted(position[name] for name in group))
    marks: dict[str, list[str]] = {name: [] for name in order}
    for number, group in enumerate(groups):
        for name in group:
            marks[name].append(_letter(number))
    return {name: " ".join(texts) for name, texts in marks.items()}, complete


def _cliques(near: Mapping[str, set[str]]) -> Iterator[set[str]]:
    """Maximal cliques: Bron and Kerbosch with the pivot of Tomita, Tanaka and Takahashi, Theoretical Computer Science 363,
    2006."""
    stack: list[tuple[set[str], set[str], set[str]]] = [(set(), set(near), set())]
    while stack:
        clique, candidates, excluded = stack.pop()
        if not candidates:
            if not excluded and clique:
                yield clique
            continue
        pivot = max(sorted(candidates | excluded), key=lambda name: len(near[name] & candidates))
        for name in sorted(candidates - near[pivot]):
            stack.append((clique | {name}, candidates & near[name], excluded & near[name]))
            candidates = candidates - {name}
            excluded = excluded | {name}


def _neighbours(order: Sequence[str], near: Mapping[str, set[str]]) -> list[set[str]]:
    """The longest stretches of the order in which no pair differs."""
    groups: list[set[str]] = []
    end = 0
    for start, name in enumerate(order):
        stop = start + 1
        while stop < len(order) and all(order[stop] in near[other] for other in order[start:stop]):
            stop += 1
        if stop > end:
            groups.append({name, *order[start + 1 : stop]})
            end = stop
    return groups


def _letter(number: int) -> str:
    """a ... z, then aa, ab ..."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, len(ascii_lowercase))
        text = ascii_lowercase[rest] + text
    return text
