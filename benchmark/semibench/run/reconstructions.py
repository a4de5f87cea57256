"""Draws the pictures that a method makes of test images: reconstructions, maps of parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from semibench.contracts.cases import Case
from semibench.contracts.errors import PluginError
from semibench.contracts.metric import Inference
from semibench.discovery.guard import calling
from semibench.evaluation.inference import predict, resolve
from semibench.evaluation.network import Network
from semibench.pictures import sheet

MOST = 4
"""Largest number of cases on a sheet."""


@runtime_checkable
class Illustrated(Protocol):
    """A method with pictures of its own. It declares nothing: it has this function, or no pictures are drawn."""

    def pictures(self, images: Tensor) -> Mapping[str, Tensor]:
        """Return what to show beside images, in eval mode and without gradients.

        Args:
            images: (B, C, *spatial), test images as the network gets them.

        Returns:
            Title -> pictures (B, any channels, *spatial) of any range.
        """
        ...


class Shown(NamedTuple):
    """A case on the sheet."""

    title: str
    case: Case


def draw_pictures(
    method: Illustrated, cases: Sequence[Shown], network: Network, path: Path, *, title: str = ""
) -> Path:
    """Draw a sheet with one row for each case: the image, then what the method makes of it.

    Args:
        method: the method, in eval mode.
        cases: what to show; the first four are drawn.
        network: what inference knows about the network.
        path: the PNG file.
        title: title of the sheet.

    Returns:
        The path.

    Raises:
        PluginError: if the method returns other than maps of the images.
    """
    images = torch.stack([network_input(shown.case, network) for shown in cases[:MOST]])
    with torch.no_grad(), calling(method, "pictures"):
        pictures = method.pictures(images)
    for name, maps in pictures.items():
        if not isinstance(maps, Tensor) or len(maps) != len(images) or maps.shape[2:] != images.shape[2:]:
            found = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise PluginError(
                f"{type(method).__name__}.pictures: expected {name!r} to be a tensor (B, channels, *spatial) for images of "
                f"shape {tuple(images.shape)}, found {found}"
            )
    columns = [images, *pictures.values()]
    panels = [plane(maps[row]) for row in range(len(images)) for maps in columns]
    captions = [caption for shown in cases[:MOST] for caption in (shown.title.split(",")[0], *pictures)]
    return sheet(panels, path, title=title, captions=captions, columns=len(columns))


def network_input(case: Case, network: Network) -> Tensor:
    """Return what the network gets of a case, (C, *spatial): the image, the slice with most foreground in the truth, or the
    middle window."""
    # windows side by side: those that overlap would fill the memory with many times the volume
    plan = resolve(Inference(overlap=0.0), dims=network.dims, case_dims=case.image.ndim - 1)
    seen: list[Tensor] = []

    def recording(images: Tensor) -> Tensor:
        seen.append(images)
        return images.new_zeros((len(images), 2, *images.shape[2:]))

    predict(recording, case.image, plan, network)
    given = torch.cat(seen)
    index = len(given) // 2
    if plan.mode == "slices" and case.label is not None and network.slice_axis is not None:
        labels = case.label.movedim(network.slice_axis, 0).flatten(1)
        filled = ((labels != 0) & (labels != 255)).sum(1)  # 255: to ignore
        index = int(filled.argmax()) if bool(filled.any()) else index
    return given[index]


def plane(maps: Tensor) -> np.ndarray:
    """Return maps (C, H, W), or the middle slice of maps (C, D, H, W), as an array on the CPU."""
    flat = maps if maps.ndim == 3 else maps[:, maps.shape[1] // 2]
    return np.asarray(flat.float().cpu())
