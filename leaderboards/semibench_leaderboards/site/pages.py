"""Renders ranked boards as the text of the pages."""

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
from semibench_leaderboards.ranking.boards import Board, board_differences
from semibench_leaderboards.ranking.ranks import Ranking
from semibench_leaderboards.ranking.rows import Row
from semibench_leaderboards.reading.differences import MISSING, flat, track_record
from semibench_leaderboards.reading.records import RunRecord
from semibench_leaderboards.showing.tables import footnotes, interval_text, number, ordered
from semibench_leaderboards.site import published_values
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
from semibench_leaderboards.site.writing import previous_files, write_files

SCRIPTS = ("elements", "table", "details", "scales", "plots", "ranks", "cases", "viewer", "page")
CASES = 12
"""Default number of test cases in the viewer of each board."""

HEADS = (
    ("data set", "text", "up", True), ("protocol", "text", "up", True), ("recipe", "text", "up", True),
    ("labels", "number", "up", False), ("rows", "number", "down", False), ("runs", "number", "down", False),
    ("best row", "text", "up", True), ("mean", "number", "down", True), ("score", "text", "up", False),
    ("track", "number", "up", False),
)  # fmt: skip
"""Columns of the list of tracks: head, kind, order of the first click, whether a phone shows it."""

SECTIONS = (
    ("real", "Real data", "Results on the official files of the data sets."),
    (
        "phantom",
        "Phantom data",
        "Procedural stand-ins that make everything run on a fresh machine. They are not patients: never compare them with results "
        "on real files.",
    ),
)


def write(
    ranked: Sequence[Ranked], out: Path, *, runs: Path, cases: int = CASES, data_root: Path | None = None
) -> Path:
    """Writes the site into a folder and returns its index.html. The same runs give the same bytes.

    Args:
        ranked: boards with their rankings.
        out: a folder that is new, empty, or has an earlier page.
        runs: the folder that the boards were read from.
        cases: most test cases in the viewer of a board (0: no viewer).
        data_root: folder of the data sets, as for `bench run`.

    Raises:
        UsageError: the folder contains something else.
    """
    previous_files(out)  # refuses a wrong folder before the work
    write_files(render(ranked, cases=cases, data_root=data_root), out)
    return out / "index.html"


def render(ranked: Sequence[Ranked], *, cases: int = CASES, data_root: Path | None = None) -> dict[str, str]:
    """The pages: file name -> text."""
    environment = Environment(
        loader=PackageLoader("semibench_leaderboards.site"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.globals |= {
        "unsigned": published_values.unsigned,
        "signed": published_values.signed,
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
    """Styles and scripts as they are embedded in the page, with the hashes that its content security policy allows."""
    folder = resources.files(__package__).joinpath("assets")

    def read(name: str) -> str:
        return folder.joinpath(name).read_text(encoding="utf-8")

    script = '(() => {\n"use strict";\n' + "".join(read(f"{name}.js") for name in SCRIPTS) + "})();\n"
    assets = {"style": read("page.css"), "theme": read("theme.js"), "script": script}
    hashes = {f"{name}_hash": _integrity(text) for name, text in assets.items()}
    return {name: Markup(text) for name, text in assets.items()} | hashes


def _integrity(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def embedded(value: Any) -> Markup:
    """JSON that is safe inside <script>: nothing in it can end the element or begin another."""
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
    published = published_values.published_of(board)
    named = {None: "default predictor", "all": "all predictors"}
    return {
        "board": board, "phantom": board.phantom, "label": metric_label(board.metric, board.unit),
        "predictor": named.get(board.score.predictor, f"predictor {board.score.predictor}"),
        "runs": sum(len(row.states.runs) for row in board.own_rows),
        "failed": sum(row.states.failed for row in board.own_rows), "cases": len(case_keys(board)),
        "warnings": [text for text in board.warnings if not text.startswith("PHANTOM")],
        "has_scores": any(row.n for row in rows), "backbones": sorted({row.identity.backbone for row in rows}), "columns": columns,
        "lines": _lines(board, ranking, rows, data["rows"]), "notes": footnotes(board, ranking),
        "independent": ranking.n, "unit": ranking.unit, "viewer": pictures, "no_viewer": reason,
        "published": published, "severities": published_values.severities(published), "facts": facts(board),
        "relatives": _relatives(board, every), "newest": _newest([run for row in rows for run in row.states.runs]),
        "data": embedded(data), "viewer_json": embedded(pictures) if pictures else "",
    }  # fmt: skip


def _lines(
    board: Board, ranking: Ranking, rows: Sequence[Row], records: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    columns, _ = layout(board)
    intervals = [(row.statistics.low, row.statistics.mean, row.statistics.high) for row in rows]
    spans = [
        (low, mean, high) for low, mean, high in intervals if low is not None and mean is not None and high is not None
    ]
    low = min((span[0] for span in spans), default=0.0)
    high = max((span[2] for span in spans), default=1.0)
    means = [row.statistics.mean for row in rows if not row.identity.role and row.statistics.mean is not None]

    def at(value: float) -> str:
        return f"{4 + 112 * (value - low) / ((high - low) or 1.0):.1f}"

    best = at((max if board.higher else min)(means)) if means else None
    bounds = [
        (row.identity.role.split()[0], row.name, at(row.statistics.mean))
        for row in rows
        if row.identity.role in ("labels alone", "all labels") and row.statistics.mean is not None
    ]
    lines = []
    for row, record, span in zip(rows, records, intervals, strict=True):
        lines.append(
            {
                "id": record["id"], "cells": [(column, cell(column, board, ranking, row, record)) for column in columns],
                "unranked": row.name in ranking.unranked, "tuned": row.identity.tuned,
                "stale": "; ".join(row.doubts.code_changes), "flags": "; ".join(row.doubts.notes),
                "bar": None if None in span else [at(value) for value in span if value is not None], "best": best,
                "bounds": bounds, "role": row.identity.role,
            }
        )  # fmt: skip
    return lines


def _relatives(board: Board, every: Sequence[Board]) -> list[dict[str, Any]]:
    """Other boards of the same data set, and what they differ in."""
    relatives = []
    for other in every:
        if other is not board and other.track.dataset.name == board.track.dataset.name:
            differs = "; ".join(
                f"{name}: {left} / {right}" for name, left, right in board_differences(board, other)[:4]
            )
            relatives.append(
                {"page": page_name(other), "title": other.title, "phantom": other.phantom, "differs": differs}
            )
    return relatives


def _newest(runs: Sequence[RunRecord]) -> str:
    return max((run.ended or "" for run in runs), default="")[:16].replace("T", " ")


def _index(ranked: Sequence[Ranked]) -> dict[str, Any]:
    apart = distinctions([board for board, _ in ranked])
    sections = []
    for kind, head, description in SECTIONS:
        lines = [_track(board, ranking, apart) for board, ranking in ranked if board.phantom == (kind == "phantom")]
        if lines:
            sections.append({"kind": kind, "head": head, "description": description, "lines": lines})
    runs = [run for board, _ in ranked for row in board.rows for run in row.states.runs]
    return {"phantom": False, "sections": sections, "heads": HEADS, "newest": _newest(runs)}


def distinctions(every: Sequence[Board]) -> dict[str, str]:
    """Track -> what distinguishes it from other tracks of the same data set, protocol and recipe; empty for the only one."""
    alike: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for board in every:
        names = (board.track.dataset.name, board.track.protocol.name, board.recipe, board.phantom, board.track.tuning)
        alike.setdefault(names, {})[board.digest] = flat(track_record(board.track))
    texts = {}
    for records in alike.values():
        options = dict.fromkeys(name for record in records.values() for name in record)
        differing = [name for name in options if len({repr(record.get(name)) for record in records.values()}) > 1]
        shown = [name for name in differing if name != "data"] or differing
        for digest, record in records.items():
            texts[digest] = ", ".join(f"{name.split('.', 1)[-1]} {record.get(name, MISSING)}" for name in shown[:3])
    return texts


def _track(board: Board, ranking: Ranking, apart: Mapping[str, str]) -> dict[str, Any]:
    rows = ordered(board, ranking)
    best = next((row for row in rows if row.statistics.mean is not None and not row.identity.role), None)
    mean = best.statistics.mean if best else None
    best_letters = set(ranking.letters.get(best.name, "").split()) if best else set()
    ties = sum(bool(best_letters & set(text.split())) for text in ranking.letters.values()) - 1
    labels = max((row.costs.label_budget for row in board.own_rows if row.costs.label_budget is not None), default=None)
    names = [text for row in rows for text in (row.name, row.identity.method, row.identity.backbone)]
    words = [board.title, *names, "phantom" if board.phantom else "real"]
    return {
        "page": page_name(board), "dataset": board.track.dataset.short, "protocol": board.track.protocol.short,
        "recipe": board.recipe, "tuning": "" if board.track.tuning == "default" else board.track.tuning,
        "labels": labels, "rows": len(board.own_rows), "runs": sum(len(row.states.runs) for row in board.own_rows),
        "failed": sum(row.states.failed for row in rows), "best": best.name if best else "", "ties": max(0, ties),
        "mean": mean, "shown": number(mean), "apart": apart.get(board.digest, ""),
        "interval": interval_text(best) if best and best.statistics.low is not None else "",
        "score": f"{metric_label(board.metric, board.unit)} · {board.score.convention} · {board.score.checkpoint}",
        "digest": board.digest[:12], "text": " ".join([*words, apart.get(board.digest, "")]),
    }  # fmt: skip
