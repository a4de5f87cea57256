"""A page of sample images, to look at."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench import UsageError
from semibench_plugins.generators.networks import write_atomically


def contact_sheet(images: Tensor, path: Path, *, columns: int = 8, zoom: int = 1, gap: int = 2) -> Path:
    """Write a PNG grid of 2D images, row by row. images: float (n, 1 or 3, H, W) in [0, 1]; zoom: whole factor, nearest.
    Raises UsageError for other shapes or none."""
    from PIL import Image

    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise UsageError(f"a contact sheet shows images (n, 1 or 3, H, W), n > 0; got {tuple(images.shape)}")
    shown = images.detach().float().cpu().clamp(0, 1)
    if zoom > 1:
        shown = F.interpolate(shown, scale_factor=zoom, mode="nearest")
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    height, width = shown.shape[2] + gap, shown.shape[3] + gap
    page = torch.ones(shown.shape[1], rows * height - gap, columns * width - gap)
    for number, image in enumerate(shown):
        top, left = number // columns * height, number % columns * width
        page[:, top : top + height - gap, left : left + width - gap] = image
    pixels = page.mul(255).round().to(torch.uint8).permute(1, 2, 0)
    picture = Image.fromarray(pixels[..., 0].numpy() if pixels.shape[2] == 1 else pixels.numpy())
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())
    return path
