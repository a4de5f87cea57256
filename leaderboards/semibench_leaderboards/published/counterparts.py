"""Selects the published values that are counterparts of a board's rows. They are shown there and never ranked."""

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
"""Data sets whose name in the harness differs from the one in the tables."""

BLOCKS = {"self": ("self",), "similar": ("similar",), "synthetic": ("synthetic",), "umda": ("uda",)}
"""Protocol -> blocks of the tables. ssmis and semi-mdg have a block for each labeled count."""

PERCENT = re.compile(r"(\d+(?:\.\d+)?)pct$")
FRACTION = re.compile(r"^labeled-1-(\d+)$")
NEAR = 0.15
"""Largest relative difference between a labeled ratio and the one that a table names; papers round counts differently."""

DISTANCES = ("hd95", "asd", "assd")


@dataclass(frozen=True)
class Counterpart:
    """A published value that a board's rows can be compared with."""

    value: Value
    shown: float | None
    """The value in the board's unit (overlaps in 0..1); None where the paper prints no number."""
    convention: str | None
    """The installed convention that scores as the paper does; None where there is none."""
    remarks: tuple[str, ...] = ()
    """Why it is not the same quantity as the board's; empty where it is."""
    marks: tuple[Mark, ...] = field(default=())
    """What is wrong with the value as printed."""

    def own(
        self, scores: Iterable[ScoreSummary], *, checkpoint: str = "last", predictor: str | None = None
    ) -> float | None:
        """The same quantity of a reproduced run under the paper's own convention, in the board's unit; None where the run has no
        such score.

        Args:
            scores: the score summaries of the run.
            checkpoint: which weights.
            predictor: which network; None for the method's default.
        """
        if self.convention is None:
            return None
        group = class_of(self.value)
        for metric in metric_names(self.value):
            number = figure(
                scores, metric, convention=self.convention, checkpoint=checkpoint, predictor=predictor, group=group
            )
            if number is not None:
                return number
        return None


def metric_names(value: Value) -> tuple[str, ...]:
    """The harness's names of a value's metric. Distances have their unit in the name; where the paper prints none, voxels come
    first, because the code of these papers computes voxels."""
    if value.metric not in DISTANCES:
        return (value.metric,)
    units = ("mm", "voxel") if value.unit == "mm" else ("voxel", "mm")
    return tuple(f"{value.metric}_{unit}" for unit in units)


def counterparts(
    *,
    protocol: str,
    dataset: str,
    options: Mapping[str, Any],
    metric: str,
    convention: str,
    labeled: int | None = None,
    group: str = "mean",
    conventions: Iterable[str] = (),
) -> list[Counterpart]:
    """The published values to show with a board's rows, in the order of the tables.

    Args:
        protocol: short name.
        dataset: short name.
        options: options of the protocol, as in the track.
        metric: the board's metric.
        convention: the board's convention.
        labeled: labeled cases of the runs, where known (default: read from the options).
        group: "mean" or the name of a class.
        conventions: short names of the installed conventions, for `Counterpart.convention`.
    """
    available = tuple(conventions)
    matching_blocks = blocks(protocol, options, labeled)
    base = re.sub(r"_(mm|voxel)$", "", metric)
    table_dataset = _dataset(protocol, dataset, options)
    selected = []
    for value in values():
        if value.dataset != table_dataset or value.metric != base or value.task in ("ablation", "efficiency"):
            continue
        if not _in_group(value, protocol, options, group) or not any(
            _in_block(value, block) for block in matching_blocks
        ):
            continue
        if labeled is not None and not _same_count(value, labeled):
            continue
        own = own_convention(value, available)
        remarks = _remarks(value, metric, convention, own)
        selected.append(Counterpart(value, value.share, own, remarks, marks(value)))
    return selected


def blocks(protocol: str, options: Mapping[str, Any], labeled: int | None = None) -> tuple[str | float | int, ...]:
    """The blocks of the tables that correspond to a protocol with these options: names, or an amount of labels (a count as int,
    a ratio as float)."""
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
    """The labeled cases (int) or labeled ratio (float) of a split; None where it isn't known.

    For a published split it is read from the name ("la-4", "to-A-2pct"), otherwise it is the option `labeled`.
    """
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
    """The labeled ratio in the name of a block: .05 for "labeled-5pct", .125 for "labeled-1-8"."""
    percent, part = PERCENT.search(block), FRACTION.match(block)
    if percent:
        return float(percent[1]) / 100
    return 1 / int(part[1]) if part else None


def _in_block(value: Value, block: str | float | int) -> bool:
    if isinstance(block, str):
        return value.block == block
    if isinstance(block, int):
        if value.role == "upper-bound":  # uses all labels; printed in a block of its own or in the block of a ratio
            return value.block.startswith(("labeled-", "supervised-full"))
        return value.labeled == block
    ratio = ratio_of(value.block)
    return ratio is not None and abs(ratio - block) <= NEAR * block


def _same_count(value: Value, labeled: int) -> bool:
    """True if the published label count matches. Rows that use all labels, and values without a count, always match."""
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
    remarks = []
    if value.metric in DISTANCES:
        unit = metric.rsplit("_", 1)[-1]
        if value.unit == "unspecified":
            remarks.append(f"the paper prints no unit (its code computes voxels); the board is in {unit}")
        elif value.unit != unit:
            remarks.append(f"printed in {value.unit}, the board is in {unit}")
    if own != convention:
        remarks.append(
            f"the board is scored with {convention}, the paper with {own}"
            if own
            else f"the board is scored with {convention}; no installed convention scores as the paper does"
        )
    return tuple(remarks)
