"""Cards of the built-in conventions. Conventions for single data sets have their cards beside those of the data sets. The
classes are imported only when a run is scored."""

from __future__ import annotations

from semibench import ConventionCard, hookimpl
from semibench_plugins.datasets.families import CONVENTIONS

SEMIBENCH_1 = ConventionCard(
    name="semibench-1",
    title="Semibench 1",
    load="semibench_plugins.conventions.semibench_1:Semibench1",
    summary="native grid, correct scores for empty masks, undefined distances kept as NaN and counted, mm and voxels",
)

SEMIBENCH_2 = ConventionCard(
    name="semibench-2",
    title="Semibench 2",
    load="semibench_plugins.conventions.semibench_2:Semibench2",
    summary="semibench-1 with NSD: the share of the surfaces within 2 mm, and within 2 voxels, of each other",
    default=False,
)

MGCC_2023 = ConventionCard(
    name="mgcc-2023",
    title="MGCC 2023",
    load="semibench_plugins.conventions.mgcc_2023:Mgcc2023",
    summary="the released MGCC code on the working grid: for an empty reference, recall and F1 count the whole image",
    paper="Tang et al., Multi-Level Global Context Cross Consistency Model for Semi-Supervised Ultrasound Image "
    "Segmentation with Diffusion Model, 2023",
    url="https://arxiv.org/abs/2305.09447",
    dims=(2,),
)

SSL4MIS = ConventionCard(
    name="ssl4mis",
    title="SSL4MIS",
    load="semibench_plugins.conventions.ssl4mis:Ssl4mis",
    summary="SSL4MIS on slices: nearest zoom to the patch and back, Dice and HD95 in voxels, both 0 for an empty prediction",
    paper="Luo et al., SSL4MIS: semi-supervised learning for medical image segmentation (code), 2020",
    url="https://github.com/HiLab-git/SSL4MIS",
    dims=(3,),
)


@hookimpl
def semibench_conventions() -> list[ConventionCard]:
    """Returns the conventions of this package."""
    return [SEMIBENCH_1, SEMIBENCH_2, MGCC_2023, SSL4MIS, *CONVENTIONS]
