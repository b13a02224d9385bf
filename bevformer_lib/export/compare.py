"""How far two tensors are apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def relative_difference(given: NDArray[Any], reference: NDArray[Any]) -> float:
    """Return the norm of the difference over the norm of ``reference``, computed in float64.

    Infinite where the shapes differ, where ``given`` holds a NaN or an infinity, or where ``reference`` alone is zero.
    """
    if given.shape != reference.shape or not np.isfinite(given).all():
        return math.inf
    wide = reference.astype(np.float64)
    difference = float(np.linalg.norm((given.astype(np.float64) - wide).ravel()))
    norm = float(np.linalg.norm(wide.ravel()))
    if norm == 0.0:
        return 0.0 if difference == 0.0 else math.inf
    return difference / norm
