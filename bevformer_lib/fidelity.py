"""How far a candidate's tensor is from the reference's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Fidelity:
    """How far a candidate's tensor is from the reference's.

    Attributes:
        cosine: of the flattened tensors; ``None`` where a value is not finite.
        relative_error: norm of the difference over norm of the reference; ``None`` where a value is not
            finite.
        max_abs_error: largest absolute difference; ``None`` where a value is not finite.
        not_finite: positions where the reference or the candidate is NaN or infinite.
    """

    cosine: float | None
    relative_error: float | None
    max_abs_error: float | None
    not_finite: int

    @property
    def sqnr_db(self) -> float | None:
        """Power of the reference over the power of the difference, in decibels.

        ``None`` where a value is not finite, or there is no difference at all.
        """
        return -20.0 * math.log10(self.relative_error) if self.relative_error else None


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


def relative_difference(given: NDArray[Any], reference: NDArray[Any]) -> float:
    """Return the norm of the difference over the norm of ``reference``.

    Infinite where the shapes differ or a value is not finite, so that no tolerance lets it pass.
    """
    if given.shape != reference.shape:
        return math.inf
    error = tensor_fidelity(reference, given).relative_error
    return math.inf if error is None else error
