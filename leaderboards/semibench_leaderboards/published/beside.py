"""Which published values belong beside the rows of a board. They are shown there and never ranked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from semibench.runfolder.records import ScoreSummary
from semibench_leaderboards.published.groups import class_of
from semibench_leaderboards.published.marks import Mark, marks
from semibench_leaderboards.published.papers import own_convention
from semibench_leaderboards.published.reproduced import figure
from semibench_leaderboards.published.values import Value, values

DATASETS = {"isic2018": "isic18", "amos22": "amos"}
"""Data sets that the harness calls otherwise than the tables."""

BLOCKS = {"self": ("self",), "similar": ("similar",), "synthetic": ("synthetic",), "umda": ("uda",)}
"""Protocol -> blocks of the tables. ssmis and semi-mdg have one for each labeled count."""

PERCENT = re.compile(r"(\d+(?:\.\d+)?)pct$")
FRACTION = re.compile(r"^labeled-1-(\d+)$")
NEAR = 0.15
"""Relative difference within which a labeled ratio is the one a table names (its counts are rounded in several ways)."""

DISTANCES = ("hd95", "asd", "assd")


@dataclass(frozen=True)
class Beside:
    """A published value for a board.

    shown: in the board's unit (overlaps 0..1), None where the paper prints no number. convention: the installed convention
    that scores as its paper does, None where there is none. remarks: why it is not the same quantity as the board's,
    empty where it is. marks: what is wrong with the value as printed.
    """

    value: Value
    shown: float | None
    convention: str | None
    remarks: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = field(default=())

    def own(
        self, scores: Iterable[ScoreSummary], *, checkpoint: str = "last", predictor: str | None = None
    ) -> float | None:
        """The same number of a reproduced run under the paper's own convention, in the board's unit; None where the run
        wasn't scored so. scores: the summaries of its result.json."""
        if self.convention is None:
            return None
        group = class_of(self.value)
        for metric in metric_names(self.value):
            found = figure(
                scores, metric, convention=self.convention, checkpoint=checkpoint, predictor=predictor, group=group
            )
            if found is not None:
                return found
        return None


def metric_names(value: Value) -> tuple[str, ...]:
    """What the harness calls the metric of a value: distances carry their unit, voxels first where the paper prints none (the
    code of these papers gives voxels)."""
    if value.metric not in DISTANCES:
        return (value.metric,)
    units = ("mm", "voxel") if value.unit == "mm" else ("voxel", "mm")
    return tuple(f"{value.metric}_{unit}" for unit in units)


def beside(
    *,
    protocol: str,
    dataset: str,
    options: Mapping[str, Any],
    metric: str,
    convention: str,
    labeled: int | None = None,
    group: str = "mean",
    conventions: Iterable[str] = (),
) -> list[Beside]:
    """The published values to be shown beside a board's rows, in the order of the tables.

    protocol, dataset: short names; options: the protocol's, as in the track. metric, convention: of the board. labeled: labeled
    cases of its runs, where known (else read from the options). group: "mean" or a class name. conventions: short
    names of those installed, for `Beside.convention`.
    """
    available = tuple(conventions)
    wanted = blocks(protocol, options, labeled)
    base = re.sub(r"_(mm|voxel)$", "", metric)
    place = _dataset(protocol, dataset, options)
    found = []
    for value in values():
        if value.dataset != place or value.metric != base or value.task in ("ablation", "efficiency"):
            continue
        if not _in_group(value, protocol, options, group) or not any(_in_block(value, block) for block in wanted):
            continue
        if labeled is not None and not _same_count(value, labeled):
            continue
        own = own_convention(value, available)
        remarks = _remarks(value, metric, convention, own)
        found.append(Beside(value, value.share, own, remarks, marks(value)))
    return found


def blocks(protocol: str, options: Mapping[str, Any], labeled: int | None = None) -> tuple[str | float | int, ...]:
    """The blocks of the tables that a protocol with these options stands for: names, or an amount of labels (a count as
    int, a ratio as float)."""
    if protocol == "synthetic" and options.get("labels") == "all":
        return ("synthetic-full",)
    if protocol in ("self", "similar", "synthetic"):
        amount = options.get("labeled", 0.5)
        half = isinstance(amount, float) and abs(amount - 0.5) <= NEAR * 0.5
        return BLOCKS[protocol] if half or options.get("source", "drawn") != "drawn" else ()
    if protocol in BLOCKS:
        return BLOCKS[protocol]
    amount = labeled if labeled is not None and protocol == "ssmis" else amount_of(options)
    return () if amount is None else (amount,)


def amount_of(options: Mapping[str, Any]) -> int | float | None:
    """The labeled cases (int) or ratio (float) of a split: of its name where it is published ("la-4", "to-A-2pct"), else the
    option `labeled`; None where the name tells nothing."""
    name = str(options.get("split", options.get("source", "drawn")))
    if name == "drawn":
        amount = options.get("labeled")
        return amount if isinstance(amount, int | float) else None
    percent = PERCENT.search(name)
    if percent:
        return float(percent[1]) / 100
    number = re.search(r"-(\d+)$", name)
    return int(number[1]) if number else None


def ratio_of(block: str) -> float | None:
    """The labeled ratio a block's name says: "labeled-5pct" is .05, "labeled-1-8" is .125."""
    percent, part = PERCENT.search(block), FRACTION.match(block)
    if percent:
        return float(percent[1]) / 100
    return 1 / int(part[1]) if part else None


def _in_block(value: Value, block: str | float | int) -> bool:
    if isinstance(block, str):
        return value.block == block
    if isinstance(block, int):
        if value.role == "upper-bound":  # all labels; printed in a block of its own or in that of a ratio
            return value.block.startswith(("labeled-", "supervised-full"))
        return value.labeled == block
    ratio = ratio_of(value.block)
    return ratio is not None and abs(ratio - block) <= NEAR * block


def _same_count(value: Value, labeled: int) -> bool:
    """Whether a stated count fits; rows that use all labels and values without a count always do."""
    if value.labeled is None or value.role in ("upper-bound", "lower-bound"):
        return True
    return abs(value.labeled - labeled) <= max(1, NEAR * value.labeled)


def _dataset(protocol: str, dataset: str, options: Mapping[str, Any]) -> str:
    if protocol == "umda":
        return f"{dataset}-{options.get('source')}2{options.get('target')}"
    return DATASETS.get(dataset, dataset)


def _in_group(value: Value, protocol: str, options: Mapping[str, Any], group: str) -> bool:
    if protocol == "semi-mdg":
        return group == "mean" and value.group == f"domain-{str(options.get('target', '')).lower()}"
    return class_of(value) == group


def _remarks(value: Value, metric: str, convention: str, own: str | None) -> tuple[str, ...]:
    found = []
    if value.metric in DISTANCES:
        unit = metric.rsplit("_", 1)[-1]
        if value.unit == "unspecified":
            found.append(f"the paper prints no unit (its code gives voxels); the board is in {unit}")
        elif value.unit != unit:
            found.append(f"printed in {value.unit}, the board is in {unit}")
    if own != convention:
        found.append(
            f"the board is scored as {convention}, the paper as {own}"
            if own
            else f"the board is scored as {convention}; no installed convention scores as the paper does"
        )
    return tuple(found)
