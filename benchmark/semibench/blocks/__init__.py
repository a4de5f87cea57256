"""Public parts for plugin authors. Names are resolved on first use, so that importing this package is instant."""

# ruff: noqa: F401
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "semibench.blocks.colour": ("colour_jitter",),
    "semibench.blocks.components": ("largest_component", "signed_distance"),
    "semibench.blocks.difficulty": ("ClassDifficulty",),
    "semibench.blocks.diffusion": ("LabelDiffusion",),
    "semibench.blocks.features": ("FeatureDropout", "FeatureNoise"),
    "semibench.blocks.groups": ("group_table_paths", "read_group_table"),
    "semibench.blocks.inner": ("inner_step",),
    "semibench.blocks.losses": (
        "Supervision",
        "bce_dice", "cross_entropy", "dice_between", "dice_ce", "entropy", "js_divergence", "kl_divergence", "log_mean_softmax",
        "masked_cross_entropy", "masked_dice", "masked_mean", "one_hot", "region_loss", "soft_dice", "softmax_mse",
        "supervised_loss", "two_class_logits", "voxel_entropy",
    ),
    "semibench.blocks.mamba": ("Mamba", "selective_scan"),
    "semibench.blocks.masks": ("block_mask", "box_mask", "cutmix_mask", "paste"),
    "semibench.blocks.modes": ("evaluating",),
    "semibench.blocks.smoothing": ("blur3", "gumbel_blur"),
    "semibench.blocks.teacher": ("Teacher",),
    "semibench.blocks.views": (
        "Geometry", "apply_geometry", "draw_geometry", "gaussian_blur", "resample", "strong_view", "weak_view",
    ),
}  # fmt: skip
_WHERE = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_WHERE)

if TYPE_CHECKING:
    from semibench.blocks.colour import colour_jitter
    from semibench.blocks.components import largest_component, signed_distance
    from semibench.blocks.difficulty import ClassDifficulty
    from semibench.blocks.diffusion import LabelDiffusion
    from semibench.blocks.features import FeatureDropout, FeatureNoise
    from semibench.blocks.groups import group_table_paths, read_group_table
    from semibench.blocks.inner import inner_step
    from semibench.blocks.losses import (
        Supervision,
        bce_dice,
        cross_entropy,
        dice_between,
        dice_ce,
        entropy,
        js_divergence,
        kl_divergence,
        log_mean_softmax,
        masked_cross_entropy,
        masked_dice,
        masked_mean,
        one_hot,
        region_loss,
        soft_dice,
        softmax_mse,
        supervised_loss,
        two_class_logits,
        voxel_entropy,
    )
    from semibench.blocks.mamba import Mamba, selective_scan
    from semibench.blocks.masks import block_mask, box_mask, cutmix_mask, paste
    from semibench.blocks.modes import evaluating
    from semibench.blocks.smoothing import blur3, gumbel_blur
    from semibench.blocks.teacher import Teacher
    from semibench.blocks.views import (
        Geometry,
        apply_geometry,
        draw_geometry,
        gaussian_blur,
        resample,
        strong_view,
        weak_view,
    )


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'semibench.blocks' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
