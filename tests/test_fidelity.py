from __future__ import annotations

import json

import numpy as np
import pytest

from bevformer_lib.fidelity import Fidelity, tensor_fidelity


def test_equal_tensors() -> None:
    tensor = np.random.default_rng(0).normal(size=(3, 1, 5)).astype(np.float32)
    assert tensor_fidelity(tensor, tensor.copy()) == Fidelity(1.0, 0.0, 0.0, 0)


def test_values_by_hand() -> None:
    fidelity = tensor_fidelity(np.array([3.0, 4.0]), np.array([4.0, 3.0]))
    assert fidelity.cosine == pytest.approx(24 / 25)
    assert fidelity.relative_error == pytest.approx(np.sqrt(2) / 5)
    assert fidelity.max_abs_error == 1.0


def test_sums_are_taken_in_float64() -> None:
    reference = np.full(4_000_000, 1e25, dtype=np.float32)
    candidate = (reference * np.float32(1.001)).astype(np.float32)
    fidelity = tensor_fidelity(reference, candidate)
    assert fidelity.cosine == pytest.approx(1.0, abs=1e-12)
    assert fidelity.relative_error == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("reference", "candidate", "expected"),
    [
        ([0, 0], [0, 0], Fidelity(1.0, 0.0, 0.0, 0)),
        ([0, 0], [0, 2], Fidelity(0.0, 1.0, 2.0, 0)),
        ([0, 2], [0, 0], Fidelity(0.0, 1.0, 2.0, 0)),
        ([], [], Fidelity(1.0, 0.0, 0.0, 0)),
    ],
)
def test_all_zero_tensors_are_defined(reference: list, candidate: list, expected: Fidelity) -> None:
    assert tensor_fidelity(np.array(reference, np.float32), np.array(candidate, np.float32)) == expected


def test_not_finite_is_a_finding() -> None:
    reference = np.ones(4, np.float32)
    candidate = np.array([1, np.nan, np.inf, -np.inf], np.float32)
    fidelity = tensor_fidelity(reference, candidate)
    assert fidelity == Fidelity(cosine=None, relative_error=None, max_abs_error=None, not_finite=3)
    json.dumps(fidelity.__dict__, allow_nan=False)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"reference \(2, 3\), candidate \(3, 2\)"):
        tensor_fidelity(np.zeros((2, 3)), np.zeros((3, 2)))
