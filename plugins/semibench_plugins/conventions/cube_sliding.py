"""Sliding windows of 96^3 as in the literature on NIH Pancreas-CT and BraTS 2019: `la-sliding` with other strides."""

from __future__ import annotations

from semibench import Inference
from semibench_plugins.conventions.la_sliding import LaSliding
from semibench_plugins.datasets.abdomen.cards import PANCREAS_SLIDING
from semibench_plugins.datasets.brain.cards import BRATS19_SLIDING


class PancreasSliding(LaSliding):
    """Uses a stride of 16 along all axes (MC-Net, CAML, ML-RPL, Diff-CL). Voxels of the processed volumes are 1 mm long.
    Everything else, quirks included, is as in `la-sliding`."""

    card = PANCREAS_SLIDING
    inference = Inference(mode="window", stride=(16, 16, 16), blend="constant")


class Brats19Sliding(LaSliding):
    """Uses a stride of 64 along all axes (SSL4MIS, AC-MT, Diff-CL). Voxels are 1 mm long. Everything else, quirks included, is
    as in `la-sliding`.

    SSL4MIS's test script doesn't print the Jaccard index, so Diff-CL's table must come from another script. Its validation
    also scores a case with an empty reference as 0, which doesn't matter here: every case has a tumour."""

    card = BRATS19_SLIDING
    inference = Inference(mode="window", stride=(64, 64, 64), blend="constant")
