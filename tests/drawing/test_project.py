from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bevformer_lib.detections.geometry import BOX_EDGES, box_corners_lidar_m
from bevformer_lib.drawing.project import (
    NEAR_PLANE_M,
    homogeneous_pixels,
    project_polygon,
    project_polygons,
    project_segments,
    resized,
)

HW = (100, 200)
FORWARD = np.array(
    [
        [100.0, 100.0, 0.0, 0.0],
        [0.0, 50.0, -100.0, 0.0],
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
"""A camera in the LiDAR's place that looks along +y: u = 100 + 100 x / y, v = 50 - 100 z / y."""


def edges_of(*box: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    corners = box_corners_lidar_m(np.array([[*box, 0.0, 0.0]]))[0]
    starts, ends = np.array(BOX_EDGES).T
    return corners[starts], corners[ends]


def test_cube_projects_to_pixels_worked_out_by_hand() -> None:
    # A cube of 2 m, centred 5 m ahead: its faces stand at depths 4 and 6.
    visible = project_segments(*edges_of(0, 5, -1, 2, 2, 2, 0), FORWARD, HW)
    assert visible.source.tolist() == list(range(12))
    corners = {tuple(point) for point in np.round(visible.pixels.reshape(-1, 2), 9).tolist()}
    near = {(75.0, 75.0), (125.0, 75.0), (75.0, 25.0), (125.0, 25.0)}
    a, b, c, d = 100 - 100 / 6, 100 + 100 / 6, 50 - 100 / 6, 50 + 100 / 6
    far = {(round(u, 9), round(v, 9)) for u in (a, b) for v in (c, d)}
    assert corners == near | far


def test_line_is_cut_where_it_meets_the_near_plane() -> None:
    # From 1 m behind to 9 m ahead, 0.05 m to the right: enters at depth NEAR_PLANE_M, where u = 100 + 5 / 0.1.
    visible = project_segments(np.array([[0.05, -1.0, 0.0]]), np.array([[0.05, 9.0, 0.0]]), FORWARD, HW)
    assert visible.pixels[0] == pytest.approx(np.array([[100 + 5 / NEAR_PLANE_M, 50], [100 + 5 / 9, 50]]))


def test_line_is_cut_exactly_at_the_border() -> None:
    visible = project_segments(np.array([[-9.0, 3.0, 0.0]]), np.array([[0.0, 3.0, 0.3]]), FORWARD, HW)
    # u = 0 at x = -3, two thirds of the way, where z = 0.2.
    assert visible.pixels[0] == pytest.approx(np.array([[0.0, 50 - 20 / 3], [100.0, 40.0]]))


def test_what_is_behind_the_camera_is_not_drawn() -> None:
    visible = project_segments(*edges_of(0, -5, -1, 2, 2, 2, 0), FORWARD, HW)
    assert visible.pixels.shape == (0, 2, 2)


def test_line_that_passes_a_corner_outside_is_not_drawn() -> None:
    visible = project_segments(np.array([[-20.0, 10.0, 0.0]]), np.array([[0.0, 10.0, 12.0]]), FORWARD, HW)
    assert len(visible.pixels) == 0


def test_box_around_the_camera_keeps_the_part_ahead() -> None:
    visible = project_segments(*edges_of(0, 0, -0.4, 1, 8, 0.8, 0), FORWARD, HW)
    # The front face (depth 4) is whole; of the long edges, the parts ahead run from it to the border, along rays from
    # the image's centre; the rear face lies behind.
    front = {(u, v) for u in (87.5, 112.5) for v in (40.0, 60.0)}
    cut = {(37.5, 0.0), (162.5, 0.0), (38.75, 99.0), (161.25, 99.0)}
    assert {tuple(point) for point in np.round(visible.pixels.reshape(-1, 2), 9).tolist()} == front | cut
    long_edges = [pair for pair in visible.pixels.round(9).tolist() if tuple(pair[0]) in cut or tuple(pair[1]) in cut]
    assert len(long_edges) == 4


def test_huge_boxes_give_finite_pixels_inside() -> None:
    visible = project_segments(*edges_of(0, 0, -1e30, 1e30, 1e30, 1e30, 0.3), FORWARD, HW)
    assert np.isfinite(visible.pixels).all()
    assert (visible.pixels >= 0).all()
    assert (visible.pixels <= (199, 99)).all()


def test_segments_agree_with_dense_sampling() -> None:
    rng = np.random.default_rng(3)
    starts, ends = rng.uniform(-6, 6, (2, 200, 3))
    visible = project_segments(starts, ends, FORWARD, HW)
    t = np.linspace(0, 1, 2001)[:, None]
    for i in range(200):
        points = homogeneous_pixels(starts[i] + t * (ends[i] - starts[i]), FORWARD)
        points = points[points[:, 2] >= NEAR_PLANE_M]
        pixels = points[:, :2] / points[:, 2:]
        inside = pixels[((pixels >= 0) & (pixels <= (199, 99))).all(axis=1)]
        found = visible.pixels[visible.source == i]
        if not len(inside):
            assert not len(found) or np.abs(found[0, 0] - found[0, 1]).max() < 2
            continue
        assert len(found) == 1
        low, high = found[0].min(axis=0), found[0].max(axis=0)
        assert (inside >= low - 1e-6).all()
        assert (inside <= high + 1e-6).all()


def test_polygon_is_cut_at_near_plane_and_border() -> None:
    # The ground 1 m below, a strip 1 m wide from behind the camera to 100 m ahead.
    strip = np.array([[-0.5, -5, -1], [0.5, -5, -1], [0.5, 100, -1], [-0.5, 100, -1]])
    polygon = project_polygon(strip, FORWARD, HW)
    # The bottom border (v = 99) is reached at depth 100 / 49, where the strip is 49 pixels wide.
    assert {tuple(p) for p in np.round(polygon, 6).tolist()} == {
        (75.5, 99.0),
        (124.5, 99.0),
        (99.5, 51.0),
        (100.5, 51.0),
    }
    assert project_polygon(strip - (0, 200, 0), FORWARD, HW).shape == (0, 2)


def test_many_polygons_are_each_what_one_is() -> None:
    rng = np.random.default_rng(5)
    boxes = np.concatenate([rng.uniform(-30, 30, (60, 3)), rng.uniform(0.5, 9, (60, 3)), np.zeros((60, 3))], axis=1)
    boxes[0, 3:6] = 1e6
    faces = box_corners_lidar_m(boxes)[:, :4]
    found = project_polygons(faces, FORWARD, HW)
    assert len(found) == 60
    assert sum(len(polygon) > 0 for polygon in found) > 5
    for face, polygon in zip(faces, found, strict=True):
        np.testing.assert_allclose(polygon, project_polygon(face, FORWARD, HW))
    assert project_polygons(faces[:0], FORWARD, HW) == []


def test_segments_by_object() -> None:
    ahead, behind = edges_of(0, 5, -1, 2, 2, 2, 0), edges_of(0, -5, -1, 2, 2, 2, 0)
    starts, ends = (np.concatenate([hidden, seen, hidden, seen]) for hidden, seen in zip(behind, ahead, strict=True))
    visible = project_segments(starts, ends, FORWARD, HW)
    assert visible.starts(4, 12) == [0, 0, 12, 12, 24]
    np.testing.assert_array_equal(visible.pixels[:12], visible.pixels[12:])
    np.testing.assert_array_equal(visible.pixels[:12], project_segments(*ahead, FORWARD, HW).pixels)


def test_resized_scales_pixels_and_not_depth() -> None:
    point = np.array([[1.0, 4.0, -0.5]])
    u, v, depth = homogeneous_pixels(point, FORWARD)[0]
    assert homogeneous_pixels(point, resized(FORWARD, (0.5, 2.0)))[0] == pytest.approx((u / 2, v * 2, depth))
