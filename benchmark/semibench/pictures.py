"""Pictures of a run, as PNG files: overlays of truth and prediction, loss curves, contact sheets.

Everything is drawn on matplotlib's Agg canvas without global state; files are written atomically. Arrays may be numpy arrays
or CPU tensors. The truth is always the thick green line; predictions have one colour for each class.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from semibench.files import write_atomically

TRUTH = "#39e75f"
CLASSES = ("#ff4d6d", "#4cc9f0", "#ffd60a", "#c77dff", "#ff9f1c", "#80ffdb", "#f72585", "#adb5bd")
"""Colours of the predicted classes 1, 2, ... (they repeat after eight)."""

DPI = 110
WRAP = 36
"""Characters in a line of a caption, so that it is not wider than its panel."""


@dataclass(frozen=True)
class Overlay:
    """One panel: an image (C, H, W) or (H, W), with integer label maps (H, W) of truth and prediction, or None."""

    title: str
    image: Any
    truth: Any = None
    prediction: Any = None


def slice_of(title: str, image: Any, truth: Any, prediction: Any, axis: int = 0) -> Overlay:
    """Return the slice of a volume with most foreground in the truth, else in the prediction, else the middle slice.

    Args:
        title: title of the panel.
        image: (C, D, H, W).
        truth: (D, H, W) or None.
        prediction: (D, H, W) or None.
        axis: the spatial axis to slice along.

    Raises:
        ValueError: for other shapes.
    """
    volume = np.asarray(image)
    if volume.ndim != 4:
        raise ValueError(f"{title}: expected an image (C, D, H, W), found shape {volume.shape}")
    index = volume.shape[1 + axis] // 2
    for labels in (truth, prediction):
        if labels is not None:
            others = tuple(number for number in range(3) if number != axis)
            filled = (~np.isin(labels, (0, 255))).sum(axis=others)  # 255: to ignore
            if filled.any():
                index = int(filled.argmax())
                break
    cut = [None if labels is None else np.take(np.asarray(labels), index, axis=axis) for labels in (truth, prediction)]
    return Overlay(f"{title}, slice {index}", np.take(volume, index, axis=1 + axis), cut[0], cut[1])


def spread(values: Mapping[str, float], each: int = 2) -> list[tuple[str, str]]:
    """Choose cases to show: the best, the median and the worst by value. NaN values are left out.

    A case is chosen once; ties are resolved by name, so that the choice is the same everywhere.

    Args:
        values: case -> value.
        each: number of cases of each rank.

    Returns:
        (case, rank) with rank "best", "median" or "worst".
    """
    order = [case for _, case in sorted((-value, case) for case, value in values.items() if not math.isnan(value))]
    middle = max(0, len(order) // 2 - each // 2)
    ranked = [(case, "best") for case in order[:each]]
    ranked += [(case, "median") for case in order[middle : middle + each]]
    ranked += [(case, "worst") for case in order[max(0, len(order) - each) :]]
    first_rank: dict[str, str] = {}
    for case, rank in ranked:
        first_rank.setdefault(case, rank)
    return list(first_rank.items())


def overlays(
    cases: Sequence[Overlay | tuple[str, Any, Any, Any]],
    path: Path,
    *,
    classes: Sequence[str] = ("background", "foreground"),
    title: str = "",
    columns: int = 4,
) -> Path:
    """Draw images with the contours of the truth (one colour) and of each predicted class.

    Args:
        cases: overlays, or tuples (title, image, truth, prediction).
        path: the PNG file.
        classes: names of the classes; the first is the background.
        title: title of the figure.
        columns: number of columns.

    Returns:
        The path.

    Raises:
        ValueError: without cases, or if labels and image differ in size.
    """
    panels = [case if isinstance(case, Overlay) else Overlay(*case) for case in cases]
    if not panels:
        raise ValueError("overlays: expected at least one case, found none")
    titles = [textwrap.fill(panel.title, WRAP) for panel in panels]
    lines = max(text.count("\n") for text in titles) + 1
    figure, axes = _grid(len(panels), columns, _aspect(panels[0].image), title, lines=lines)
    for panel, caption, axis in zip(panels, titles, axes, strict=False):
        picture = gray(panel.image)
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(caption, fontsize=8)
        for labels, what in ((panel.truth, "truth"), (panel.prediction, "prediction")):
            if labels is None:
                continue
            label_map = np.asarray(labels)
            if label_map.shape != picture.shape[:2]:
                raise ValueError(
                    f"{panel.title}: the {what} has shape {label_map.shape}, the image {picture.shape[:2]}"
                )
            _contours(axis, label_map, what, len(classes))
    present = sorted(
        {int(v) for p in panels if p.prediction is not None for v in np.unique(np.asarray(p.prediction))} - {0, 255}
    )
    handles = [Line2D([], [], color=TRUTH, linewidth=2, label="truth")]
    handles += [
        Line2D([], [], color=colour(k), linewidth=2, label=f"predicted {classes[k] if k < len(classes) else k}")
        for k in present
    ]
    figure.legend(handles=handles, loc="lower center", ncols=min(len(handles), 5), fontsize=8, frameon=False)
    return save(figure, path)


def sheet(
    images: Any,
    path: Path,
    *,
    title: str = "",
    captions: Sequence[str] = (),
    labels: Sequence[Any] | None = None,
    columns: int = 8,
) -> Path:
    """Draw a contact sheet.

    Args:
        images: (N, C, H, W), or a sequence of (C, H, W).
        path: the PNG file.
        title: title of the figure.
        captions: one caption for each image.
        labels: one label map (H, W) or None for each image; its contours are drawn.
        columns: number of columns.

    Returns:
        The path.

    Raises:
        ValueError: without images.
    """
    pictures = [gray(image) for image in images]
    if not pictures:
        raise ValueError("sheet: expected at least one image, found none")
    figure, axes = _grid(len(pictures), columns, pictures[0].shape[0] / pictures[0].shape[1], title, legend=False)
    for number, axis in enumerate(axes[: len(pictures)]):
        axis.imshow(pictures[number], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        if number < len(captions):
            axis.set_title(captions[number], fontsize=7)
        if labels is not None and labels[number] is not None:
            label_map = np.asarray(labels[number])
            _contours(axis, label_map, "prediction", int(label_map.max()) + 1)
    return save(figure, path)


def loss_curves(steps: Path | Mapping[str, Sequence[Any]], path: Path, *, title: str = "") -> Path:
    """Draw the curves of everything that training logged.

    Loss terms, validation, weights, learning rates and the rest have a panel each. Long noisy curves are drawn faintly, with
    their running median on top. Dotted lines separate stages.

    Args:
        steps: steps.parquet, or its columns step, stage, name, value.
        path: the PNG file.
        title: title of the figure.

    Returns:
        The path.

    Raises:
        ValueError: if nothing was logged.
    """
    table = _read(steps) if isinstance(steps, Path) else steps
    curves: dict[str, tuple[list[int], list[float]]] = {}
    borders: dict[str, int] = {}
    for step, stage, name, value in zip(table["step"], table["stage"], table["name"], table["value"], strict=True):
        xs, ys = curves.setdefault(str(name), ([], []))
        xs.append(int(step))
        ys.append(float(value))
        borders[stage] = min(int(step), borders.get(stage, int(step)))
    if not curves:
        raise ValueError("loss_curves: expected logged steps, found none")
    panels: dict[str, list[str]] = {}
    for name in sorted(curves):
        panels.setdefault(_panel(name), []).append(name)
    order = [panel for panel in (*PANELS.values(), "other") if panel in panels]
    rows, columns = math.ceil(len(order) / 2), min(2, len(order))
    figure = Figure(figsize=(5.2 * columns, 3.3 * rows + 0.3))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    _margins(figure, rows, columns, left=0.62, right=0.15, bottom=0.48, top=0.32, title=0.3)
    for panel, axis in zip(order, axes, strict=False):
        for number, name in enumerate(panels[panel]):
            _curve(axis, *curves[name], label=name.split("/", 1)[-1], tint=f"C{number % 10}")
        for stage, start in borders.items():
            if len(borders) > 1:
                axis.axvline(start, color="0.6", linestyle=":", linewidth=1)
                axis.text(start, 1.0, f" {stage}", fontsize=7, va="top", transform=axis.get_xaxis_transform())
        axis.set_title(panel, fontsize=10)
        axis.set_xlabel("iteration", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
        axis.legend(fontsize=7)
    for axis in axes[len(order) :]:
        axis.set_visible(False)
    if title:
        figure.suptitle(title, fontsize=11)
    return save(figure, path)


# ---- parts ---------------------------------------------------------------------------------------------------------


def gray(image: Any) -> np.ndarray:
    """Scale an image of any range to [0, 1] by its 0.5th and 99.5th percentile.

    Three channels stay RGB; otherwise the middle channel is shown.

    Args:
        image: (C, H, W) or (H, W).

    Returns:
        (H, W), or (H, W, 3) for RGB.

    Raises:
        ValueError: for other shapes.
    """
    array = np.asarray(image, dtype=np.float32)
    if array.ndim == 3:
        array = np.moveaxis(array, 0, -1) if array.shape[0] == 3 else array[array.shape[0] // 2]
    if array.ndim not in (2, 3):
        raise ValueError(f"expected an image (C, H, W) or (H, W), found shape {array.shape}; cut volumes with slice_of")
    finite = array[np.isfinite(array)]
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    if low >= 0.0 and high <= 1.0 and high - low > 0.25:
        low, high = 0.0, 1.0
    return np.asarray(np.clip(np.nan_to_num((array - low) / max(high - low, 1e-6)), 0.0, 1.0))


def colour(label: int) -> str:
    """Return the colour of a predicted class (1, 2, ...)."""
    return CLASSES[(label - 1) % len(CLASSES)]


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG atomically, and return the path."""
    path = Path(path)
    write_atomically(path, lambda draft: figure.savefig(draft, format="png", dpi=DPI, metadata={"Software": None}))
    return path


def _aspect(image: Any) -> float:
    shape = np.asarray(image).shape
    return float(shape[-2] / shape[-1])


def _grid(
    count: int, columns: int, aspect: float, title: str, legend: bool = True, lines: int = 1
) -> tuple[Figure, Any]:
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    width = 2.4 if legend else 1.7
    caption = 0.15 + 0.15 * lines  # inches
    figure = Figure(figsize=(width * columns, rows * (width * min(aspect, 2.0) + caption) + (0.7 if legend else 0.4)))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    height = figure.get_figheight()
    top, bottom = 1 - ((caption + (0.25 if title else 0.0)) / height), (0.35 if legend else 0.05) / height
    figure.subplots_adjust(
        left=0.01, right=0.99, top=top, bottom=bottom, wspace=0.04, hspace=caption / (width * min(aspect, 2.0))
    )
    if title:
        figure.suptitle(title, fontsize=10, y=1 - 0.04 / height, va="top")
    return figure, axes


def _margins(
    figure: Figure, rows: int, columns: int, *, left: float, right: float, bottom: float, top: float, title: float
) -> None:
    """Sets the inches around each panel, and above all of them. (A layout that matplotlib measures costs half of the drawing.)"""
    width, height = figure.get_size_inches()
    inner_width = width / columns - left - right
    inner_height = (height - title) / rows - bottom - top
    figure.subplots_adjust(
        left=left / width, right=1 - right / width, bottom=bottom / height, top=1 - (top + title) / height,
        wspace=(left + right) / inner_width, hspace=(bottom + top) / inner_height,
    )  # fmt: skip


def _contours(axis: Any, label_map: np.ndarray, what: str, classes: int) -> None:
    """Draw outlines at label borders. The truth is a thick line under the thin lines of the prediction."""
    for label in range(1, max(classes, 2)):
        mask = np.pad((label_map == label).astype(np.float32), 1)
        if not mask.any():
            continue
        rows, columns = np.arange(mask.shape[0]) - 1, np.arange(mask.shape[1]) - 1
        style = (
            {"colors": TRUTH, "linewidths": 2.2} if what == "truth" else {"colors": colour(label), "linewidths": 1.1}
        )
        axis.contour(columns, rows, mask, levels=[0.5], **style)


def _read(file: Path) -> Mapping[str, Sequence[Any]]:
    import pyarrow.parquet as parquet

    if not file.is_file():
        raise ValueError(f"loss_curves: expected a file of steps at {file}, found none")
    columns: Mapping[str, Sequence[Any]] = parquet.read_table(
        file, columns=["step", "stage", "name", "value"]
    ).to_pydict()
    return columns


PANELS = {"loss": "loss", "validation": "validation", "weight": "weights", "lr": "learning rate"}
"""Prefix of a name in steps.parquet, before the slash -> its panel."""


def _panel(name: str) -> str:
    return PANELS.get(name.split("/", 1)[0], "other")


def _curve(axis: Any, xs: list[int], ys: list[float], *, label: str, tint: str) -> None:
    if len(xs) < 60:
        axis.plot(xs, ys, color=tint, linewidth=1.4, marker="o" if len(xs) < 25 else None, markersize=3, label=label)
        return
    x, y = _blocks(np.asarray(xs, float)), _blocks(np.asarray(ys, float))
    axis.plot(x, y, color=tint, linewidth=0.6, alpha=0.35)
    half = max(2, len(y) // 60)
    padded = np.pad(y, half, mode="reflect")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    axis.plot(x, smooth, color=tint, linewidth=1.5, label=label)


def _blocks(values: np.ndarray, most: int = 1500) -> np.ndarray:
    """Reduce to about `most` values: means of equal blocks (the remainder is a separate block)."""
    size = -(-len(values) // most)
    starts = np.arange(0, len(values), size)
    return np.asarray(np.add.reduceat(values, starts) / np.diff([*starts, len(values)]))
