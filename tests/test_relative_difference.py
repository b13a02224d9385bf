from __future__ import annotations

import math

import numpy as np
import pytest

from bevformer_lib.fidelity import relative_difference


def test_it_is_the_norm_of_the_difference_over_the_norm_of_the_reference() -> None:
    assert relative_difference(np.array([3.0, 4.5]), np.array([3.0, 4.0])) == pytest.approx(0.1)
    assert relative_difference(np.array([1.0]), np.array([1.0])) == 0.0


@pytest.mark.parametrize(
    ("given", "reference"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.array([np.nan, 1.0]), np.array([1.0, 1.0])),
        (np.array([np.inf, 1.0]), np.array([1.0, 1.0])),
        (np.array([1.0, 1.0]), np.array([np.nan, 1.0])),
    ],
)
def test_no_tolerance_lets_wrong_shapes_or_values_that_are_no_numbers_pass(
    given: np.ndarray, reference: np.ndarray
) -> None:
    assert relative_difference(given, reference) == math.inf
