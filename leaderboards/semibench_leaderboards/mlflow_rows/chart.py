"""The board as a picture: means with their intervals, as a small SVG written by hand (a full sync writes hundreds)."""

from __future__ import annotations

from html import escape

from semibench_leaderboards.ranking.boards import Board
from semibench_leaderboards.ranking.ranking import Ranking
from semibench_leaderboards.showing.tables import caption, number, ordered

LINE, TOP, LEFT, WIDTH, MOST = 22, 56, 260, 860, 200


def interval_chart(board: Board, ranking: Ranking) -> str:
    """Rows from above, best first: a dot at the mean, a bar over the 95 % interval, ticks at the means of the runs."""
    rows = [row for row in ordered(board, ranking) if row.mean is not None][:MOST]
    height = TOP + LINE * max(1, len(rows)) + 34
    values = [v for row in rows for v in (row.mean, row.low, row.high, *row.means) if v is not None and v == v]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.05
    low, high = low - margin, high + margin
    right = WIDTH - 70

    def x(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * (right - LEFT), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#1b1f24">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="20" font-weight="bold">{escape(caption(board))}</text>',
        '<text x="12" y="38" fill="#57606a">dot: mean; bar: 95 % interval over cases; ticks: runs</text>',
    ]
    bottom = TOP + LINE * len(rows)
    for step in range(5):
        value = low + (high - low) * step / 4
        parts.append(f'<line x1="{x(value)}" y1="{TOP - 6}" x2="{x(value)}" y2="{bottom}" stroke="#d8dee4"/>')
        parts.append(
            f'<text x="{x(value)}" y="{bottom + 16}" text-anchor="middle" fill="#57606a">{number(value, 3)}</text>'
        )
    for place, row in enumerate(rows):
        assert row.mean is not None
        y = TOP + LINE * place + LINE // 2
        position = ranking.position(row.name)
        label = f"{position if position else '–'}  {row.name if len(row.name) <= 34 else row.name[:33] + '…'}"
        parts.append(f'<text x="12" y="{y + 4}"><title>{escape(row.name)}</title>{escape(label)}</text>')
        if row.low is not None and row.high is not None:
            parts.append(
                f'<line x1="{x(row.low)}" y1="{y}" x2="{x(row.high)}" y2="{y}" stroke="#8c959f" stroke-width="5"/>'
            )
        for mean in row.means:
            if mean == mean:
                parts.append(f'<line x1="{x(mean)}" y1="{y - 6}" x2="{x(mean)}" y2="{y + 6}" stroke="#57606a"/>')
        parts.append(f'<circle cx="{x(row.mean)}" cy="{y}" r="4.5" fill="#b3261e"/>')
        parts.append(f'<text x="{right + 8}" y="{y + 4}">{number(row.mean)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
