"""Hounsfield units to model units and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def hu_to_model_units(
    hu: NDArray[np.float32], hu_range: tuple[float, float]
) -> NDArray[np.float32]:
    """Clip to the range and map it linearly to [0, 1]; 0 is air, so zero padding is air too."""
    low, high = np.float32(hu_range[0]), np.float32(hu_range[1])
    return (np.clip(hu, low, high) - low) / (high - low)
