from __future__ import annotations

import math

import numpy as np
import pytest

from bevformer_lib.recordings.messages import Transform
from bevformer_lib.recordings.transforms import (
    Track,
    Transforms,
    quaternion_of,
    quaternion_product,
    rigid_inverse,
    rigid_matrix,
)

RNG = np.random.default_rng(5)


def random_rigid() -> tuple[float, ...]:
    quaternion = RNG.normal(size=4)
    return (*RNG.normal(size=3), *(quaternion / np.linalg.norm(quaternion)))


def test_quaternions_and_matrices_tell_the_same() -> None:
    for values in [random_rigid() for _ in range(20)] + [(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)]:
        one, other = rigid_matrix(np.array(values)), rigid_matrix(np.array(random_rigid()))
        np.testing.assert_allclose(rigid_matrix(np.array((*values[:3], *quaternion_of(one[:3, :3])))), one, atol=1e-14)
        np.testing.assert_allclose(rigid_inverse(one) @ one, np.eye(4), atol=1e-14)
        product = quaternion_product(quaternion_of(one[:3, :3]), quaternion_of(other[:3, :3]))
        np.testing.assert_allclose(
            rigid_matrix(np.array((0, 0, 0, *product)))[:3, :3], (one @ other)[:3, :3], atol=1e-14
        )


def test_a_track_is_interpolated_between_neighbours_and_elsewhere_near_or_nothing() -> None:
    track = Track()
    turn = (math.cos(0.2), 0.0, 0.0, math.sin(0.2))
    track.add(100, (10.0, 0.0, 0.0, *(-value for value in turn)))
    track.add(0, (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0))
    asked = {"longest_gap_ns": 100, "tolerance_ns": 20}
    half = track.at(50, **asked)
    assert half is not None
    np.testing.assert_allclose(half, (5.0, 0.0, 0.0, math.cos(0.1), 0.0, 0.0, math.sin(0.1)), atol=1e-12)
    np.testing.assert_array_equal(track.at(100, **asked), track.nearest(1000))
    np.testing.assert_array_equal(track.at(120, **asked), track.nearest(100))
    assert track.at(121, **asked) is None
    assert track.at(50, longest_gap_ns=99, tolerance_ns=20) is None


def test_frames_are_connected_over_what_they_have_in_common() -> None:
    transforms = Transforms()
    values = {child: random_rigid() for child in ("base", "lidar", "mast", "camera")}
    for parent, child in (("map", "base"), ("base", "lidar"), ("base", "mast"), ("mast", "camera")):
        transforms.add(Transform(0, parent, child, values[child]))
    matrix = {child: rigid_matrix(np.array(rigid)) for child, rigid in values.items()}
    expected = np.linalg.inv(matrix["mast"] @ matrix["camera"]) @ matrix["lidar"]
    found = transforms.mounted("lidar", "camera", 0)
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_array_equal(transforms.mounted("lidar", "base", 0), matrix["lidar"])
    np.testing.assert_array_equal(transforms.mounted("lidar", "lidar", 0), np.eye(4))
    assert transforms.mounted("lidar", "elsewhere", 0) is None


@pytest.mark.parametrize("edges", [[("a", "a")], [("a", "b"), ("b", "a")]])
def test_frames_that_go_round_end(edges: list[tuple[str, str]]) -> None:
    transforms = Transforms()
    for parent, child in edges:
        transforms.add(Transform(0, parent, child, random_rigid()))
    assert transforms.mounted("a", "elsewhere", 0) is None
