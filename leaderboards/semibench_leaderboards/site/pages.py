"""From ranked boards to the text of the pages."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from semibench.tracking.tables import metric_label
from semibench_leaderboards.ranking.boards import Board, Row, board_differences
from semibench_leaderboards.ranking.ranking import Ranking
from semibench_leaderboards.reading.differences import MISSING, flat, track_record
from semibench_leaderboards.reading.records import RunRecord
from semibench_leaderboards.showing.tables import footnotes, number, ordered
from semibench_leaderboards.site import beside_rows
from semibench_leaderboards.site.columns import cell
from semibench_leaderboards.site.content import (
    Ranked,
    board_data,
    case_keys,
    facts,
    families,
    family_key,
    layout,
    page_name,
)  # fmt: skip
from semibench_leaderboards.site.gallery import gallery
from semibench_leaderboards.site.writing import ours, put

SCRIPTS = ("elements", "table", "details", "scales", "plots", "ranks", "cases", "viewer", "page")
CASES = 12
"""Test cases in the viewer of each board, unless told otherwise."""

HEADS = (
    ("data set", "text", "up", True), ("protocol", "text", "up", True), ("recipe", "text", "up", True),
    ("labels", "number", "up", False), ("rows", "number", "down", False), ("runs", "number", "down", False),
    ("best row", "text", "up", True), ("mean", "number", "down", True), ("score", "text", "up", False),
    ("track", "number", "up", False),
)  # fmt: skip
"""Columns of the list of tracks: head, kind, first direction of sorting, shown on a phone."""

SECTIONS = (
    ("real", "Real data", "Results on the official files of the data sets."),
    (
        "phantom",
        "Phantom data",
        "Procedural stand-ins, so that everything runs on a fresh machine. Not patients: never compare them with results on "
        "real files.",
    ),
)


def write(
    ranked: Sequence[Ranked], out: Path, *, runs: Path, cases: int = CASES, data_root: Path | None = None
) -> Path:
    """Writes the site into a folder and returns its index.html.

    ranked: boards with their rankings. runs: the folder they were read from. cases: most test cases in the viewer of a board
    (0: none). data_root: where the data sets lie, as for `bench run`. Same runs, same bytes. Raises UsageError for a folder
    that holds something else.
    """
    ours(out)  # before the work
    put(render(ranked, cases=cases, data_root=data_root), out)
    return out / "index.html"


def render(ranked: Sequence[Ranked], *, cases: int = CASES, data_root: Path | None = None) -> dict[str, str]:
    """The pages: file name -> text."""
    environment = Environment(
        loader=PackageLoader("semibench_leaderboards.site"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.globals |= {
        "plain": beside_rows.plain,
        "signed": beside_rows.signed,
        **_assets(),
        "version": version("semibench"),
    }
    related = families(ranked)
    pages = {}
    for board, ranking in ranked:
        family = related[family_key(board)]
        context = _board(board, ranking, family, [other for other, _ in ranked], cases, data_root)
        pages[page_name(board)] = environment.get_template("board.html.j2").render(context)
    pages["index.html"] = environment.get_template("index.html.j2").render(_index(ranked))
    return pages


def _assets() -> dict[str, Any]:
    """Styles and scripts as they stand in the page, and what the page's policy lets run: them and nothing else."""
    folder = resources.files(__package__).joinpath("assets")

    def read(name: str) -> str:
        return folder.joinpath(name).read_text(encoding="utf-8")

    script = '(() => {\n"use strict";\n' + "".join(read(f"{name}.js") for name in SCRIPTS) + "})();\n"
    found = {"style": read("page.css"), "theme": read("theme.js"), "script": script}
    hashes = {f"{name}_hash": _integrity(text) for name, text in found.items()}
    return {name: Markup(text) for name, text in found.items()} | hashes


def _integrity(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def embedded(value: Any) -> Markup:
    """JSON that may stand inside <script>: nothing in it can end the element or begin another."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _board(
    board: Board, ranking: Ranking, family: Sequence[Ranked], every: Sequence[Board], cases: int, data_root: Path | None
) -> dict[str, Any]:
    data = board_data(board, ranking, family)
    columns, _ = layout(board)
    rows = ordered(board, ranking)
    pictures, reason = gallery(board, ranking, count=cases, data_root=data_root)
    found = beside_rows.published_of(board)
    named = {None: "default predictor", "all": "all predictors"}
    return {
        "board": board, "phantom": board.phantom, "label": metric_label(str(board.view.metric), board.unit),
        "predictor": named.get(board.view.predictor, f"predictor {board.view.predictor}"),
        "runs": sum(len(row.runs) for row in rows), "failed": sum(row.failed for row in rows), "cases": len(case_keys(board)),
        "warnings": [text for text in board.warnings if not text.startswith("PHANTOM")],
        "has_scores": any(row.n for row in rows), "backbones": sorted({row.backbone for row in rows}), "columns": columns,
        "lines": _lines(board, ranking, rows, data["rows"]), "notes": footnotes(board, ranking),
        "independent": ranking.n, "unit": ranking.unit, "viewer": pictures, "no_viewer": reason,
        "published": found, "severities": beside_rows.severities(found), "facts": facts(board),
        "relatives": _relatives(board, every), "newest": _newest([run for row in rows for run in row.runs]),
        "data": embedded(data), "viewer_json": embedded(pictures) if pictures else "",
    }  # fmt: skip


def _lines(
    board: Board, ranking: Ranking, rows: Sequence[Row], records: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    columns, _ = layout(board)
    spans = [
        (row.low, row.mean, row.high)
        for row in rows
        if row.low is not None and row.high is not None and row.mean is not None
    ]
    low = min((span[0] for span in spans), default=0.0)
    high = max((span[2] for span in spans), default=1.0)
    means = [span[1] for span in spans]

    def at(value: float) -> str:
        return f"{4 + 112 * (value - low) / ((high - low) or 1.0):.1f}"

    best = at((max if board.higher else min)(means)) if means else None
    found = []
    for row, record in zip(rows, records, strict=True):
        span = (row.low, row.mean, row.high)
        found.append(
            {
                "id": record["id"], "cells": [(column, cell(column, board, ranking, row, record)) for column in columns],
                "unranked": row.name in ranking.unranked, "tuned": row.tuned, "flags": "; ".join(row.notes),
                "bar": None if None in span else [at(value) for value in span if value is not None], "best": best,
            }
        )  # fmt: skip
    return found


def _relatives(board: Board, every: Sequence[Board]) -> list[dict[str, Any]]:
    """Other boards of the same data set, and what differs."""
    found = []
    for other in every:
        if other is not board and other.track.dataset.name == board.track.dataset.name:
            told = "; ".join(f"{name}: {there} / {here}" for name, there, here in board_differences(board, other)[:4])
            found.append({"page": page_name(other), "title": other.title, "phantom": other.phantom, "differs": told})
    return found


def _newest(runs: Sequence[RunRecord]) -> str:
    return max((run.ended or "" for run in runs), default="")[:16].replace("T", " ")


def _index(ranked: Sequence[Ranked]) -> dict[str, Any]:
    apart = told_apart([board for board, _ in ranked])
    sections = []
    for kind, head, told in SECTIONS:
        lines = [_track(board, ranking, apart) for board, ranking in ranked if board.phantom == (kind == "phantom")]
        if lines:
            sections.append({"kind": kind, "head": head, "told": told, "lines": lines})
    runs = [run for board, _ in ranked for row in board.rows for run in row.runs]
    return {"phantom": False, "sections": sections, "heads": HEADS, "newest": _newest(runs)}


def told_apart(every: Sequence[Board]) -> dict[str, str]:
    """Track -> what tells it from others of the same data set, protocol and recipe; for those that have such."""
    alike: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for board in every:
        place = (board.track.dataset.name, board.track.protocol.name, board.recipe, board.phantom, board.track.tuning)
        alike.setdefault(place, {})[board.digest] = flat(track_record(board.track))
    found = {}
    for records in alike.values():
        names = dict.fromkeys(name for record in records.values() for name in record)
        differing = [name for name in names if len({repr(record.get(name)) for record in records.values()}) > 1]
        shown = [name for name in differing if name != "data"] or differing
        for digest, record in records.items():
            found[digest] = ", ".join(f"{name.split('.', 1)[-1]} {record.get(name, MISSING)}" for name in shown[:3])
    return found


def _track(board: Board, ranking: Ranking, apart: Mapping[str, str]) -> dict[str, Any]:
    rows = ordered(board, ranking)
    best = next((row for row in rows if row.mean is not None), None)
    mine = set(ranking.letters.get(best.name, "").split()) if best else set()
    ties = sum(bool(mine & set(text.split())) for text in ranking.letters.values()) - 1
    labels = max((row.label_budget for row in rows if row.label_budget is not None), default=None)
    names = [text for row in rows for text in (row.name, row.method, row.backbone)]
    words = [board.title, *names, "phantom" if board.phantom else "real"]
    return {
        "page": page_name(board), "dataset": board.track.dataset.short, "protocol": board.track.protocol.short,
        "recipe": board.recipe, "tuning": "" if board.track.tuning == "default" else board.track.tuning,
        "labels": labels, "rows": len(rows), "runs": sum(len(row.runs) for row in rows),
        "failed": sum(row.failed for row in rows), "best": best.name if best else "", "ties": max(0, ties),
        "mean": best.mean if best else None, "shown": number(best.mean if best else None), "apart": apart.get(board.digest, ""),
        "interval": f"{number(best.low)} … {number(best.high)}" if best and best.low is not None else "",
        "score": f"{metric_label(str(board.view.metric), board.unit)} · {board.view.convention} · {board.view.checkpoint}",
        "digest": board.digest[:12], "text": " ".join([*words, apart.get(board.digest, "")]),
    }  # fmt: skip
