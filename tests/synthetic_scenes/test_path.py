from __future__ import annotations

import math

import numpy as np
import pytest

from bevformer_lib.synthetic_scenes.path import Path, path_from_curvature


def _quarter_turn(radius_m: float = 20.0) -> Path:
    arc = np.arange(0.0, 90.0, 0.25)
    bend = (arc > 30.0) & (arc < 30.0 + radius_m * math.pi / 2)
    return path_from_curvature(arc, bend / radius_m, start_yaw_rad=0.3)


def test_a_circle_closes() -> None:
    arc = np.linspace(0.0, 2 * math.pi * 10.0, 2001)
    circle = path_from_curvature(arc, np.full(len(arc), 0.1), start_yaw_rad=1.0)
    np.testing.assert_allclose(circle.xy_m[-1], circle.xy_m[0], atol=1e-6)
    assert circle.yaw_rad[-1] == pytest.approx(1.0 + 2 * math.pi)


def test_offset_is_to_the_left() -> None:
    path = path_from_curvature(np.arange(0.0, 10.0), np.zeros(10), start_yaw_rad=math.pi / 2)
    np.testing.assert_allclose(path.point_at(4.0, 1.5), (-1.5, 4.0), atol=1e-12)


def test_street_coordinates_invert_points() -> None:
    path = _quarter_turn()
    wanted = [(5.0, 3.0), (33.0, -4.0), (48.0, 7.0), (80.0, 0.0), (95.0, 2.0), (-6.0, -2.0)]
    arc, offset = path.coordinates_of(np.array([path.point_at(*place) for place in wanted]))
    np.testing.assert_allclose(np.stack([arc, offset], axis=1), wanted, atol=0.15)


def test_the_path_goes_on_straight_beyond_its_ends() -> None:
    path = _quarter_turn()
    end, beyond = np.array(path.point_at(path.arc_m[-1], 0.0)), np.array(path.point_at(path.arc_m[-1] + 10.0, 0.0))
    assert np.linalg.norm(beyond - end) == pytest.approx(10.0)
    assert math.atan2(*(beyond - end)[::-1]) == pytest.approx(path.yaw_rad[-1], abs=1e-9)
