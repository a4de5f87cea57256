"""Sliding windows of 96^3 as in the literature on NIH Pancreas-CT and BraTS 2019: scored as `la-sliding`, other strides."""

from __future__ import annotations

from semibench import Inference
from semibench_plugins.conventions.la_sliding import LaSliding
from semibench_plugins.datasets.abdomen.cards import PANCREAS_SLIDING
from semibench_plugins.datasets.brain.cards import BRATS19_SLIDING


class PancreasSliding(LaSliding):
    """Stride 16 in all axes (MC-Net, CAML, ML-RPL, Diff-CL); voxels of 1 mm in the processed volumes. All else, quirks
    included, as `la-sliding`."""

    card = PANCREAS_SLIDING
    inference = Inference(mode="window", stride=(16, 16, 16), blend="constant")


class Brats19Sliding(LaSliding):
    """Stride 64 in all axes (SSL4MIS, AC-MT, Diff-CL); voxels of 1 mm. All else, quirks included, as `la-sliding`.

    SSL4MIS's test script prints no Jaccard (Diff-CL's table must come from another one), and its validation counts
    a case whose reference is empty as 0, too; both don't occur here: every case holds a tumour."""

    card = BRATS19_SLIDING
    inference = Inference(mode="window", stride=(64, 64, 64), blend="constant")
