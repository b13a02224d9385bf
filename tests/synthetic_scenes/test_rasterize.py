from __future__ import annotations

import numpy as np

from bevformer_lib.synthetic_scenes.rasterize import NEAR_M, NOTHING, draw_faces, project_clipped

INTRINSICS = np.array([[50.0, 0.0, 50.0], [0.0, 50.0, 40.0], [0.0, 0.0, 1.0]])
SIZE = (80, 100)


def _facing(depth_m: float, half_m: float, center: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """A square that faces the camera: counter-clockwise as the camera sees it, with y down."""
    x, y = center
    corners = [(-half_m, half_m), (half_m, half_m), (half_m, -half_m), (-half_m, -half_m)]
    return np.array([[x + dx, y + dy, depth_m] for dx, dy in corners])


def test_a_square_covers_its_pixels() -> None:
    buffer = draw_faces(_facing(5.0, 1.0)[None], np.zeros(1, dtype=np.int64), INTRINSICS, SIZE)
    rows, columns = np.nonzero(buffer.face == 0)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 50, 40, 60)
    np.testing.assert_allclose(buffer.inverse_depth[40, 50], 0.2, rtol=1e-6)
    assert buffer.face[0, 0] == NOTHING


def test_the_nearer_face_wins_whatever_the_order() -> None:
    quads = np.array([_facing(4.0, 0.4), _facing(8.0, 3.0)])
    for order in ([0, 1], [1, 0]):
        buffer = draw_faces(quads[order], np.zeros(2, dtype=np.int64), INTRINSICS, SIZE)
        assert order[buffer.face[40, 50]] == 0
        assert order[buffer.face[40, 62]] == 1


def test_paint_wins_against_what_it_is_painted_on() -> None:
    quads = np.array([_facing(6.0, 0.3), _facing(6.0, 1.0)])
    buffer = draw_faces(quads, np.array([1, 0]), INTRINSICS, SIZE)
    assert buffer.face[40, 50] == 0
    assert buffer.face[40, 56] == 1


def test_faces_that_look_away_or_lie_behind_are_not_drawn() -> None:
    quads = np.array([_facing(5.0, 1.0)[::-1], _facing(-5.0, 1.0)[::-1]])
    assert (draw_faces(quads, np.zeros(2, dtype=np.int64), INTRINSICS, SIZE).face == NOTHING).all()


def test_a_floor_that_begins_behind_the_camera_is_cut_off_at_the_near_plane() -> None:
    floor = np.array([[-2.0, 1.0, -3.0], [2.0, 1.0, -3.0], [2.0, 1.0, 20.0], [-2.0, 1.0, 20.0]])
    buffer = draw_faces(floor[None], np.zeros(1, dtype=np.int64), INTRINSICS, SIZE)
    assert buffer.face[79, 50] == 0
    assert buffer.face[41, 50] == NOTHING
    np.testing.assert_allclose(buffer.inverse_depth[70, 50], 30 / 50, rtol=1e-5)


def test_clipping_keeps_what_lies_beyond_the_near_plane() -> None:
    assert project_clipped(_facing(NEAR_M / 2, 1.0), INTRINSICS) is None
    whole = project_clipped(_facing(3.0, 1.0), INTRINSICS)
    assert whole is not None
    assert whole.shape == (4, 2)
