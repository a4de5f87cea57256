"""What a folder holds, in numbers, and what is suspicious about it: for `bench data new`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semibench.contracts.cases import CaseRef
from semibench.contracts.errors import SemibenchError, one_line
from semibench.data.declared.dataset import DeclaredDataset
from semibench.data.declared.found import FoundCase
from semibench.data.declared.look import Look
from semibench.data.hashes import HashMemory
from semibench.reporting import Reporter

MOST_DECODED = 200
"""Cases whose images are decoded; `bench data verify` decodes all."""

FEW_GROUPS = 4
"""Fewer groups with a label can't be split into training, validation and test."""

RARE = 1e-4
"""Share of the pixels below which a class is called rare."""

SHOWN = 5
"""Files that warnings of one kind name."""


@dataclass(frozen=True)
class Survey:
    """A folder in numbers.

    cases, labeled, groups: counts. decoded: cases whose image was read. sizes, spacings: text -> cases. shares: name of a class ->
    share of the pixels of all labels. values: stored label value -> cases that have it. warnings: one line each.
    """

    cases: int
    labeled: int
    groups: int
    domains: dict[str, int]
    decoded: int
    sizes: dict[str, int]
    spacings: dict[str, int]
    shares: dict[str, float]
    values: dict[int, int]
    suggested_groups: str | None
    warnings: tuple[str, ...]


def survey(dataset: DeclaredDataset, look: Look, reporter: Reporter | None = None) -> Survey:
    """Counts cases, groups, sizes, spacings and label values, and looks for what is suspicious.

    Args:
        dataset: the data set.
        look: what was found, with the values of labels.
        reporter: receives progress.
    """
    reporter = reporter or Reporter()
    refs = dataset.index()
    sizes: Counter[str] = Counter()
    spacings: Counter[str] = Counter()
    problems: list[str] = []
    chosen = spread_over(refs, MOST_DECODED)
    reporter.phase("look at images", len(chosen))
    for done, ref in enumerate(chosen, 1):
        try:
            case = dataset.read(ref)
            sizes[" x ".join(map(str, case.frame.shape))] += 1
            spacing = case.frame.spacing
            spacings["not stated" if spacing is None else " x ".join(f"{mm:.3g}" for mm in spacing) + " mm"] += 1
            problems += [remark.message for remark in dataset.remarks(ref)]
        except SemibenchError as error:
            problems.append(one_line(error))
        reporter.advance(done)
    reporter.end()
    shares, values = _shares(dataset, look)
    groups = {ref.group for ref in refs}
    suggested = suggest_groups(look.found.cases) if len(groups) == len(refs) else None
    warnings = [*look.warnings, *_first(problems), *_suspicions(dataset, look, refs, shares, suggested)]
    return Survey(
        len(refs), sum(ref.has_label for ref in refs), len(groups),
        dict(Counter(ref.domain for ref in refs)), len(chosen), dict(sizes.most_common()), dict(spacings.most_common()),
        shares, values, suggested, tuple(dict.fromkeys(warnings)),
    )  # fmt: skip


def spread_over(refs: Sequence[CaseRef], most: int) -> list[CaseRef]:
    """Returns at most so many of some cases, evenly spread."""
    if len(refs) <= most:
        return list(refs)
    return [refs[(at * (len(refs) - 1)) // (most - 1)] for at in range(most)] if most > 1 else [refs[0]]


def _first(problems: list[str]) -> list[str]:
    more = (
        [f"{len(problems) - SHOWN} more doubtful files: bench data verify lists all"] if len(problems) > SHOWN else []
    )
    return [*problems[:SHOWN], *more]


def _shares(dataset: DeclaredDataset, look: Look) -> tuple[dict[str, float], dict[int, int]]:
    """Returns the share of each class among the pixels of all labels that aren't ignored, and how many cases have each value."""
    known, names = dataset.declaration.class_of(), dataset.card.classes
    pixels, cases = Counter[str](), Counter[int]()
    for item in look.values:
        for value, count in item.counts.items():
            cases[value] += 1
            if value in dataset.declaration.ignore:
                continue
            pixels[names[known[value]] if value in known else f"value {value} (not declared)"] += count
    total = sum(pixels.values())
    ordered = sorted(pixels, key=lambda name: names.index(name) if name in names else len(names))
    return {name: pixels[name] / total for name in ordered}, dict(sorted(cases.items()))


def _suspicions(
    dataset: DeclaredDataset, look: Look, refs: Sequence[CaseRef], shares: dict[str, float], suggested: str | None
) -> list[str]:
    labeled = [ref for ref in refs if ref.has_label]
    groups, with_label = {ref.group for ref in refs}, {ref.group for ref in labeled}
    found: list[str] = []
    if not labeled:
        found.append("no image has a label: nothing can be trained or tested; check the names of the labels")
    elif len(labeled) < len(refs) / 2:
        found.append(
            f"only {len(labeled)} of {len(refs)} images have a label: right if the others are the unlabeled ones, else check the "
            "names of the labels"
        )
    if len(refs) > 1 and len(groups) == 1:
        found.append(f"all cases are in one group ({next(iter(groups))}): nothing can be split; correct `groups`")
    elif labeled and len(with_label) < FEW_GROUPS:
        found.append(f"only {len(with_label)} groups have a label: too few for training, validation and test")
    if suggested is not None:
        found.append(
            f"names look like several images of one patient: put groups: '{suggested}' into semibench.yaml, so that no patient is "
            "trained and tested"
        )
    undeclared = [name for name in shares if name.endswith("(not declared)")]
    if undeclared:
        found.append(f"labels hold {', '.join(undeclared)}: list them under classes or ignore")
    found += _merged(dataset)
    for name in dataset.card.classes[1:]:
        share = shares.get(name)
        if shares and not share:
            found.append(f"no label holds the class {name}")
        elif share and share < RARE:
            found.append(f"the class {name} has {share:.4%} of the pixels of all labels: a network may never find it")
    return [*found, *_exchanged(look)]


def _merged(dataset: DeclaredDataset) -> list[str]:
    """Tells which values are one class. 1 and 255 are the two ways to write a foreground, and no reason to warn."""
    by_name: dict[str, list[int]] = {}
    for value, name in (dataset.declaration.classes or {}).items():
        by_name.setdefault(name, []).append(value)
    return [
        f"the label values {' and '.join(map(str, values))} are one class, {name}: give them names of their own under classes if "
        "they are different things"
        for name, values in by_name.items()
        if len(values) > 1 and values != [1, 255]
    ]


def _exchanged(look: Look) -> list[str]:
    """Tells which labels are copies of their images."""
    pairs = [
        (case.images[0], case.label)
        for case in look.found.cases
        if case.label is not None and case.label != case.images[0] and _size(case.images[0]) == _size(case.label)
    ]
    memory = HashMemory()
    same = [label for image, label in pairs if memory.sha256(image) == memory.sha256(label)]
    return [f"{same[0]}: the label has the same bytes as its image ({len(same)} such files)"] if same else []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def suggest_groups(cases: Sequence[FoundCase]) -> str | None:
    """Suggests an expression for groups where names look like a patient's name and a short addition (p01_l, p01_r).

    Returns:
        An expression under which between a fifth and nine tenths as many groups as cases remain; None if there is none.
    """
    stems = [case.id for case in cases]
    for expression in (r"^(.*[0-9])[_-]?[A-Za-z]{1,5}$", r"^(.*[0-9])[_-][0-9]{1,4}$", r"^(.*?[0-9]+)[_-]"):
        found = [re.match(expression, stem) for stem in stems]
        if not all(found):
            continue
        groups = {match[1] for match in found if match is not None}
        if 2 <= len(groups) <= 0.9 * len(stems):
            return _on_paths(expression)
    return None


def _on_paths(expression: str) -> str:
    """Turns an expression for ids into one for paths, which end in the ending of a file."""
    body = expression.removeprefix("^").removesuffix("$")
    body = body.replace("(.*[0-9])", "([^/]*[0-9])").replace("(.*?[0-9]+)", "([^/]*?[0-9]+)")
    return body + (r"\." if expression.endswith("$") else "")


def lines_of(result: Survey, look: Look) -> list[tuple[str, Any]]:
    """Returns what a survey found, as rows (what, value)."""
    declaration = look.declaration
    shown = dict(list(result.sizes.items())[:4])
    more = "" if len(result.sizes) <= 4 else f" and {len(result.sizes) - 4} others"
    return [
        ("layout", "; ".join(look.found.notes[:2])),
        ("cases", f"{result.cases}: {result.labeled} with label, {result.cases - result.labeled} without"),
        ("dims", f"{declaration.dims}D, channels: {', '.join(declaration.channels or ())}"),
        ("sizes", ", ".join(f"{size} ({count})" for size, count in shown.items()) + more),
        ("spacings", ", ".join(f"{text} ({count})" for text, count in list(result.spacings.items())[:4])),
        ("label values", ", ".join(f"{value} in {count} cases" for value, count in result.values.items()) or "none"),
        ("classes", ", ".join(f"{name} {share:.2%}" for name, share in result.shares.items()) or "none"),
        ("groups", f"{result.groups}"),
        ("domains", ", ".join(f"{name} ({count})" for name, count in result.domains.items())),
        ("values of images", f"{declaration.scale}" + (f" {declaration.window}" if declaration.window else "")),
        *([("slices along", f"axis {declaration.slice_axis}")] if declaration.dims == 3 else []),
    ]
