"""What can be scored without reading an image: label maps of training cases, copied onto test cases.

A phantom whose patients are alike is solved by an atlas, and neither labels nor unlabeled cases are worth anything there. The
method `atlas` puts the majority vote on boards; here one map is copied as well, and nothing is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from semibench.blocks import centred_box, crop_or_pad, resize_label
from semibench_plugins.methods.baselines.atlas import majority
from semibench_plugins.phantoms.volume_parts import Label


@dataclass(frozen=True)
class AtlasScores:
    """The Dice of an atlas on test cases: the mean over classes of the mean over the cases that have the class.

    Attributes:
        copied: of the label map of one training case; mean over several training cases.
        voted: of the majority vote of the label maps of all training cases.
    """

    copied: float
    voted: float


def atlas_scores(training: Sequence[Label], tests: Sequence[Label], classes: int, copies: int = 6) -> AtlasScores:
    """Scores an atlas on test cases.

    Maps of different shape are brought to one grid in two ways, as data sets do: resized, or cropped and padded about the
    same centre. The better one counts.

    Args:
        training: label maps, one for each training case.
        tests: label maps of the test cases.
        classes: the number of classes with the background.
        copies: the number of training maps that are copied, spread over `training`.

    Returns:
        The better scores of the two ways.
    """
    shape = tuple(int(n) for n in np.median([label.shape for label in (*training, *tests)], axis=0))
    found = []
    for place in (_resized, _centred):
        known, wanted = [place(label, shape) for label in training], [place(label, shape) for label in tests]
        picked = sorted({round(i) for i in np.linspace(0, len(known) - 1, copies)})
        one = float(np.mean([mean_dice([known[i]] * len(wanted), wanted, classes) for i in picked]))
        vote = majority([torch.from_numpy(label) for label in known], classes, max(shape)).numpy()
        found.append((one, mean_dice([vote] * len(wanted), wanted, classes)))
    return AtlasScores(max(one for one, _ in found), max(voted for _, voted in found))


def mean_dice(predictions: Sequence[Label], truths: Sequence[Label], classes: int) -> float:
    """Returns the mean over the foreground classes of the mean Dice over the cases that have the class."""
    scores = []
    for k in range(1, classes):
        dice = []
        for prediction, truth in zip(predictions, truths, strict=True):
            p, t = prediction == k, truth == k
            if t.any():
                dice.append(2.0 * np.count_nonzero(p & t) / (np.count_nonzero(p) + np.count_nonzero(t)))
        if dice:
            scores.append(float(np.mean(dice)))
    return float(np.mean(scores)) if scores else 0.0


def _resized(label: NDArray[np.uint8], shape: Sequence[int]) -> Label:
    return resize_label(torch.from_numpy(label), shape).numpy()


def _centred(label: NDArray[np.uint8], shape: Sequence[int]) -> Label:
    return np.asarray(crop_or_pad(label, centred_box(label.shape, shape)))
