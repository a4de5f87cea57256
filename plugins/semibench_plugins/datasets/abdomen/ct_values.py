"""Values shared by Synapse and AMOS22: the Hounsfield window and the grid of GenericSSL and DHC."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semibench.blocks import scale_to_unit

GRID = (80, 160, 160)
"""A quarter larger than their patch of 64 x 128 x 128."""
LOW, HIGH = -75.0, 275.0


def ct_unit(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clips to -75..275 HU, then scales the volume's minimum and maximum to 0 and 1."""
    return scale_to_unit(np.clip(image, LOW, HIGH))
