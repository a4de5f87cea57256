"""The loss that only DTLP-Net has."""

from __future__ import annotations

from torch import Tensor

EPSILON = 1e-6


def relative_error(student: Tensor, teacher: Tensor, valid: Tensor | None = None) -> Tensor:
    """Eq. 16: mean over samples of |s - t|^2 / (|t|^2 + 1e-6), norms over channels and voxels of each sample.

    Maps (B, K, *spatial); valid: bool (B, *spatial), False on padding. 0 for s = t, 1 for s = 0."""
    s, t = student.float(), teacher.float().detach()
    if valid is not None:
        s, t = s * valid.unsqueeze(1), t * valid.unsqueeze(1)
    return ((s - t).square().flatten(1).sum(1) / (t.square().flatten(1).sum(1) + EPSILON)).mean()
