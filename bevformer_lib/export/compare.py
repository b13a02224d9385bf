"""How far two tensors are apart, as one number to hold against a tolerance."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from bevformer_lib.evaluate.fidelity import tensor_fidelity


def relative_difference(given: NDArray[Any], reference: NDArray[Any]) -> float:
    """Return the norm of the difference over the norm of ``reference``.

    Infinite where the shapes differ or a value is not finite, so that no tolerance lets it pass.
    """
    if given.shape != reference.shape:
        return math.inf
    error = tensor_fidelity(reference, given).relative_error
    return math.inf if error is None else error
