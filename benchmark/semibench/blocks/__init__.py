"""Public parts for plugin authors. Names are resolved on first use, so that importing this package is instant."""

# ruff: noqa: F401
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "semibench.blocks.colour": ("colour_jitter",),
    "semibench.blocks.components": ("largest_component", "signed_distance"),
    "semibench.blocks.datasets.dicom_series": ("read_dicom_series",),
    "semibench.blocks.datasets.file_dataset": ("FileDataset",),
    "semibench.blocks.datasets.file_patterns": (
        "RASTER_ENDINGS", "CaseFiles", "FilePattern", "find_case_files", "image_and_mask_patterns", "layout_problems",
    ),
    "semibench.blocks.datasets.flat_folders": ("MASK_FOLDERS", "pair_image_folders"),
    "semibench.blocks.datasets.id_lists": ("read_id_list", "read_packaged_table", "read_split_roles"),
    "semibench.blocks.datasets.image_dataset": ("ImageDataset", "ImageEntry", "ImageOptions"),
    "semibench.blocks.datasets.intensity": (
        "IMAGENET_MEAN", "IMAGENET_STD", "imagenet_normalised", "intensity_window", "scale_percentiles",
        "scale_to_unit", "z_score",
    ),
    "semibench.blocks.datasets.official_layout": (
        "candidate_folders", "find_data_folder", "first_folder", "layout_error",
    ),
    "semibench.blocks.datasets.pattern_dataset": ("PatternDataset",),
    "semibench.blocks.datasets.phantom_dataset": ("Drawing", "Normalise", "PhantomDataset"),
    "semibench.blocks.datasets.published_lists": ("IdSplit", "PublishedLists", "SplitRules", "half_of_groups"),
    "semibench.blocks.datasets.raster_files": (
        "image_files", "is_image_file", "merge_masks", "read_colour", "read_grey", "read_mask",
    ),
    "semibench.blocks.datasets.small_tables": ("read_table",),
    "semibench.blocks.datasets.volume_dataset": (
        "PreparedVolume", "Scaling", "VolumeDataset", "VolumeEntry", "VolumeOptions",
    ),
    "semibench.blocks.datasets.volume_files": (
        "Volume", "map_labels", "metaimage_data_file", "read_h5", "read_h5_volume", "read_metaimage", "read_nifti",
        "read_nifti_lps", "read_nrrd", "z_first",
    ),
    "semibench.blocks.datasets.working_grid": (
        "Box", "Interpolation", "case_on_grid", "centred_box", "crop_or_pad", "foreground_box", "resize_image", "resize_label",
        "scaled_spacing",
    ),
    "semibench.blocks.difficulty": ("ClassDifficulty",),
    "semibench.blocks.diffusion": ("LabelDiffusion",),
    "semibench.blocks.drawing.fields": (
        "FloatArray", "Contour", "Wave", "random_stream", "ridge", "smooth_curve", "smooth_field", "soft_step",
        "spline_basis",
    ),
    "semibench.blocks.drawing.shapes": (
        "Point", "Points", "deform_points", "ellipsoid", "grid_points", "random_rotation", "rotate_points",
        "shape_union", "tube",
    ),
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
    "semibench.blocks.ordering": ("hash_order",),
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
    from semibench.blocks.datasets.dicom_series import read_dicom_series
    from semibench.blocks.datasets.file_dataset import FileDataset
    from semibench.blocks.datasets.file_patterns import (
        RASTER_ENDINGS,
        CaseFiles,
        FilePattern,
        find_case_files,
        image_and_mask_patterns,
        layout_problems,
    )
    from semibench.blocks.datasets.flat_folders import MASK_FOLDERS, pair_image_folders
    from semibench.blocks.datasets.id_lists import read_id_list, read_packaged_table, read_split_roles
    from semibench.blocks.datasets.image_dataset import ImageDataset, ImageEntry, ImageOptions
    from semibench.blocks.datasets.intensity import (
        IMAGENET_MEAN,
        IMAGENET_STD,
        imagenet_normalised,
        intensity_window,
        scale_percentiles,
        scale_to_unit,
        z_score,
    )
    from semibench.blocks.datasets.official_layout import (
        candidate_folders,
        find_data_folder,
        first_folder,
        layout_error,
    )
    from semibench.blocks.datasets.pattern_dataset import PatternDataset
    from semibench.blocks.datasets.phantom_dataset import Drawing, Normalise, PhantomDataset
    from semibench.blocks.datasets.published_lists import IdSplit, PublishedLists, SplitRules, half_of_groups
    from semibench.blocks.datasets.raster_files import (
        image_files,
        is_image_file,
        merge_masks,
        read_colour,
        read_grey,
        read_mask,
    )
    from semibench.blocks.datasets.small_tables import read_table
    from semibench.blocks.datasets.volume_dataset import (
        PreparedVolume,
        Scaling,
        VolumeDataset,
        VolumeEntry,
        VolumeOptions,
    )
    from semibench.blocks.datasets.volume_files import (
        Volume,
        map_labels,
        metaimage_data_file,
        read_h5,
        read_h5_volume,
        read_metaimage,
        read_nifti,
        read_nifti_lps,
        read_nrrd,
        z_first,
    )
    from semibench.blocks.datasets.working_grid import (
        Box,
        Interpolation,
        case_on_grid,
        centred_box,
        crop_or_pad,
        foreground_box,
        resize_image,
        resize_label,
        scaled_spacing,
    )
    from semibench.blocks.difficulty import ClassDifficulty
    from semibench.blocks.diffusion import LabelDiffusion
    from semibench.blocks.drawing.fields import (
        Contour,
        FloatArray,
        Wave,
        random_stream,
        ridge,
        smooth_curve,
        smooth_field,
        soft_step,
        spline_basis,
    )
    from semibench.blocks.drawing.shapes import (
        Point,
        Points,
        deform_points,
        ellipsoid,
        grid_points,
        random_rotation,
        rotate_points,
        shape_union,
        tube,
    )
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
    from semibench.blocks.ordering import hash_order
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
