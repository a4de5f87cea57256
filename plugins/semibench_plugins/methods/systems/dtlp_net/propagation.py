"""Label propagation between voxels at feature resolution (eq. 18-20), with bounded memory.

The paper prints C = Softmax(e1^T e2) / sqrt(D), whose rows sum to 1 / sqrt(D), which shrinks the logits. Read here as
C = Softmax(e1^T e2 / sqrt(D)) ("inside"), as in attention and in CorrMatch; "outside" is the printed form. C is N x N
for N voxels (the text calls it 3-D). At stride 16, that of the encoder's last map, it takes .24 MB (LA patch) to
1.05 MB (MM-WHS) per sample; at stride 8 15 to 67 MB, at stride 4 .27 to 4.3 GB, and at full resolution terabytes.

C is therefore computed in blocks of R rows with R N 4 bytes x 3 (scores, softmax, gradient) <= the budget. If there is
more than one block, the backward pass recomputes each block instead of storing it. Peak memory, apart from vectors of
length N, is the budget or one row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

Normalised = Literal["row", "column", "transpose"]
"""row: softmax over the rows of C, z = o C (CorrMatch; z_j is not a convex combination); column: softmax over its
columns, z = o C; transpose: softmax over rows, z_j = sum_i C_ji o_i. The last two are convex combinations of logits."""
Scale = Literal["inside", "outside"]

COPIES = 3
BYTES = 4


def rows_at_once(voxels: int, samples: int, budget: float) -> int:
    """Largest number R of rows with samples x R x voxels x 12 bytes <= budget (MiB); at least 1, at most `voxels`."""
    return max(1, min(voxels, int(budget * 2**20 / (samples * voxels * COPIES * BYTES))))


def _correlation(queries: Tensor, keys: Tensor) -> Tensor:
    """(B, D, R), (B, D, N) -> (B, R, N), softmax over the last axis."""
    return (queries.transpose(1, 2) @ keys).softmax(-1)


def _spread(queries: Tensor, keys: Tensor, logits: Tensor) -> Tensor:
    return logits @ _correlation(queries, keys)


def _gather(queries: Tensor, keys: Tensor, logits: Tensor) -> Tensor:
    # logits @ C^T, written so that the gradient of C doesn't need a transposed copy.
    return (_correlation(queries, keys) @ logits.transpose(1, 2)).transpose(1, 2)


def _run(function: Callable[..., Tensor], whole: bool, *inputs: Tensor) -> Tensor:
    """Calls the function; unless C fits `whole` into the budget, its backward pass recomputes it."""
    if whole:
        return function(*inputs)
    output: Tensor = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    return output


def propagate(
    e1: Tensor,
    e2: Tensor,
    logits: Tensor,
    *,
    norm: Normalised = "row",
    scale: Scale = "inside",
    budget: float = 256.0,
) -> Tensor:
    """Eq. 18, 19: e1, e2 (B, D, N), logits o (B, K, N) -> z (B, K, N) in float32. budget: MiB for C and its copies."""
    e1, e2, logits = e1.float(), e2.float(), logits.float()
    samples, width, voxels = e1.shape
    rows = rows_at_once(voxels, samples, budget)
    whole = rows >= voxels
    root = math.sqrt(width)
    with torch.autocast(e1.device.type, enabled=False):
        # Scaling the smaller factor saves a map of N x N.
        first, values = (e1 / root, logits) if scale == "inside" else (e1, logits / root)
        if norm == "row":
            blocks = zip(first.split(rows, 2), values.split(rows, 2), strict=True)
            total = torch.zeros_like(logits)
            for queries, part in blocks:
                total = total + _run(_spread, whole, queries, e2, part)
            return total
        # The softmax over the columns of e1^T e2 is the softmax over the rows of e2^T e1.
        first, second = (e2, first) if norm == "column" else (first, e2)
        parts = [_run(_gather, whole, queries, second, values) for queries in first.split(rows, 2)]
        return torch.cat(parts, 2)


def propagated(
    e1: Tensor,
    e2: Tensor,
    logits: Tensor,
    **options: Any,
) -> Tensor:
    """Embeddings (B, D, *coarse), logits (B, K, *spatial) -> propagated logits (B, K, *spatial). The logits are averaged
    to the embeddings' grid, propagated there and resized linearly. (Small organs vanish on a grid of stride 16, so the
    loss is computed at full resolution.) options: those of `propagate`."""
    coarse, size = e1.shape[2:], logits.shape[2:]
    low = F.interpolate(logits.float(), tuple(coarse), mode="area")
    z = propagate(e1.flatten(2), e2.flatten(2), low.flatten(2), **options)
    mode = ("bilinear", "trilinear")[len(size) - 2]
    return F.interpolate(z.unflatten(2, coarse), tuple(size), mode=mode)
