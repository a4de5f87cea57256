"""Contact sheets of phantoms for the documentation: tiles of cases, with the truth as an outline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from semibench.blocks import Drawing, FloatArray
from semibench_plugins.phantoms.spec_phantom import SpecPhantom
from semibench_plugins.phantoms.tissue import Label

_COLOURS = ("#ffd60a", "#ff453a", "#32d74b", "#0a84ff")
_PICTURES = 12


def contact_sheet(dataset: SpecPhantom, path: Path | str, n: int = _PICTURES, dpi: int = 60) -> Path:
    """Writes a PNG with cases spread over groups and domains.

    Each tile of a 2D data set is a case, and every second one has an outline. A volume takes three tiles, for three planes
    through the middle of its labeled part.

    Args:
        dataset: the phantom.
        path: the file to write.
        n: the number of tiles.
        dpi: dots per inch of the figure.

    Returns:
        The path.
    """
    refs = dataset.index()
    groups: dict[str, list[int]] = {}
    for i, ref in enumerate(refs):
        groups.setdefault(ref.group, []).append(i)
    flat = dataset.card.dims == 2
    count = n if flat else max(1, n // 3)
    order = [members[k % len(members)] for k, members in enumerate(groups.values())]
    picked = (order + [i for i in range(len(refs)) if i not in set(order)])[:count]
    tiles: list[tuple[str, FloatArray, Label]] = []
    for i in picked:
        drawing = dataset.native(refs[i])
        title = f"{refs[i].id} {refs[i].domain} {'x'.join(map(str, drawing.label.shape))}"
        planes = (
            [(drawing.image, drawing.label)]
            if flat
            else _planes(drawing, dataset.card.slice_axis or 0, dataset.spec.upright)
        )
        tiles += [(title if k == 0 else "", a, b) for k, (a, b) in enumerate(planes)]
    columns = 4 if flat else 6
    rows = -(-len(tiles) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.1 * rows), layout="tight")
    FigureCanvasAgg(figure)
    for k, (title, image, label) in enumerate(tiles):
        axes = figure.add_subplot(rows, columns, k + 1)
        low, high = (0.0, 255.0) if flat else np.percentile(image, [0.5, 99.5])
        if image.ndim > label.ndim:
            image = np.moveaxis(image, 0, -1) / 255.0
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        if not flat or k % 2 == 1:
            for value in range(1, int(label.max()) + 1):
                if (label == value).any():
                    axes.contour(label == value, [0.5], colors=_COLOURS[(value - 1) % 4], linewidths=0.9)
        axes.set_title(title, fontsize=7)
        axes.axis("off")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    figure.set_dpi(dpi)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    coloured = dataset.native(refs[0]).image.ndim > dataset.card.dims
    few = picture.quantize(96) if coloured else picture.quantize(palette=_palette(), dither=Image.Dither.NONE)
    few.save(target, optimize=True)
    return target


def _palette() -> Image.Image:
    """Returns a palette of 40 greys and four shades of each outline colour, which keeps files small."""
    greys = [(v, v, v) for v in np.linspace(0, 255, 40).astype(int).tolist()]
    hues = [tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in _COLOURS]
    blends = [
        tuple(int(f * c + (1 - f) * g) for c in hue)
        for hue in hues
        for f, g in ((1, 0), (0.7, 40), (0.7, 120), (0.4, 90))
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in greys + blends for value in colour])
    return palette


def _planes(drawing: Drawing, slice_axis: int, upright: bool) -> list[tuple[FloatArray, Label]]:
    """Returns three planes through the labeled part: at three positions along the slice axis if that is short (stacks of thick
    slices), otherwise one plane across each axis."""
    shape = drawing.label.shape
    inside = np.argwhere(drawing.label > 0)
    if shape[slice_axis] < 0.5 * max(shape):
        low, high = inside[:, slice_axis].min(), inside[:, slice_axis].max()
        cuts = [(slice_axis, round(float(low + f * (high - low)))) for f in (0.15, 0.5, 0.9)]
    else:
        middle = np.median(inside, axis=0).astype(int)
        cuts = [(axis, int(middle[axis])) for axis in (2, 1, 0)]
    out = []
    for axis, at in cuts:
        image, label = np.take(drawing.image, at, axis), np.take(drawing.label, at, axis)
        if upright:  # z up; the axial plane with the front on top
            out.append((image[::-1], label[::-1]) if axis != 0 else (image, label))
            continue
        turned = shape[slice_axis] >= 0.5 * max(shape)
        if turned:  # x to the right, z up; the axial plane is seen with the front (small y) on top
            image, label = image.T, label.T
            if axis != 2:
                image, label = image[::-1], label[::-1]
        out.append((image, label))
    return out
