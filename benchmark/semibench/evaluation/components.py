"""Post-processing of label maps: the largest connected component of each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def keep_largest(labels: NDArray[np.uint8], classes: int) -> NDArray[np.uint8]:
    """Keep of every foreground class (1..classes-1) its largest component, the rest becomes background.

    labels: (*spatial). Neighbours touch by face, edge or corner (26 in 3D), as in the scripts of this field, which use
    skimage's default. Of two components of one size the first in C order stays. A class without voxels stays empty
    (DTC's script stops there with an assertion).
    """
    from scipy.ndimage import generate_binary_structure, label

    structure = generate_binary_structure(labels.ndim, labels.ndim)
    kept = np.zeros_like(labels)
    for index in range(1, classes):
        components, count = label(labels == index, structure=structure)
        if count:
            sizes = np.bincount(components.ravel())
            sizes[0] = 0
            kept[components == sizes.argmax()] = index
    return kept
