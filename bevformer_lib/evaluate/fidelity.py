"""How far a candidate's tensor is from the reference's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.evaluate.types import Fidelity


def tensor_fidelity(reference: NDArray[Any], candidate: NDArray[Any]) -> Fidelity:
    """Compare two tensors of one shape; sums are taken in float64.

    All-zero tensors: two of them are equal (cosine 1, relative error 0); when only one is all-zero the
    cosine is 0 and the relative error is 1, whichever of the two it is.

    Raises:
        ValueError: the shapes differ.
    """
    if reference.shape != candidate.shape:
        raise ValueError(f"shapes differ: reference {reference.shape}, candidate {candidate.shape}")
    expected = np.asarray(reference, dtype=np.float64).ravel()
    given = np.asarray(candidate, dtype=np.float64).ravel()
    not_finite = int(np.count_nonzero(~(np.isfinite(expected) & np.isfinite(given))))
    if not_finite:
        return Fidelity(cosine=None, relative_error=None, max_abs_error=None, not_finite=not_finite)

    difference = given - expected
    max_abs_error = float(np.abs(difference).max(initial=0.0))
    expected_norm, given_norm = float(np.linalg.norm(expected)), float(np.linalg.norm(given))
    if max_abs_error == 0.0:
        cosine, relative_error = 1.0, 0.0
    elif expected_norm == 0.0 or given_norm == 0.0:
        cosine, relative_error = 0.0, 1.0
    else:
        cosine = float(np.clip(expected @ given / (expected_norm * given_norm), -1.0, 1.0))
        relative_error = float(np.linalg.norm(difference)) / expected_norm
    return Fidelity(cosine=cosine, relative_error=relative_error, max_abs_error=max_abs_error, not_finite=0)
