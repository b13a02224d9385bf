from __future__ import annotations

import numpy as np
import pytest

from bevformer_lib.detections.geometry import box_corners_lidar_m
from bevformer_lib.drawing.cameras import GAP_PX, camera_rows, draw_camera, draw_cameras
from bevformer_lib.drawing.project import homogeneous_pixels
from bevformer_lib.drawing.style import BoxLayer, Image, class_color, detections_by_class, detections_in_color
from tests.drawing.examples import CAR_AHEAD, GRAY, camera_calibration, detections, gray_images
from tests.support.micro import CLASS_NAMES

HW = (240, 400)
COLOR = (0, 200, 255)


def painted(image: Image) -> np.ndarray:
    """Pixels of lines: neither gray nor a tinted face, and without the camera's name."""
    changed = np.abs(image.astype(int) - GRAY).max(axis=2) > 80
    changed[:26, :200] = False
    return changed


def tile_of(layer: BoxLayer, camera: int = 0, size_wh: tuple[int, int] = (400, 240)) -> Image:
    return draw_camera(
        gray_images(6, HW)[camera], camera_calibration(6, HW)[camera], [layer], size_wh=size_wh, name="X"
    )


def test_six_cameras_stand_in_driving_order() -> None:
    # Stored: front, front right, front left, back, back left, back right.
    assert camera_rows(6) == ((2, 0, 1), (4, 3, 5))


@pytest.mark.parametrize("num_cams", range(1, 9))
def test_any_number_of_cameras_has_a_place(num_cams: int) -> None:
    rows = camera_rows(num_cams)
    assert sorted(camera for row in rows for camera in row) == list(range(num_cams))
    canvas = draw_cameras(gray_images(num_cams, (90, 160)), camera_calibration(num_cams, (90, 160)), [], width_px=1200)
    assert canvas.shape[1] <= 1200


def test_images_are_neither_mirrored_nor_swapped() -> None:
    images = gray_images(6, (100, 200))
    for camera, image in enumerate(images):
        image[50:, :100] = 20 * camera  # the lower left quarter
        image[50:, 100:] = 255
    canvas = draw_cameras(images, camera_calibration(6, (100, 200)), [], width_px=600 + 2 * GAP_PX)
    for row, cameras in enumerate(camera_rows(6)):
        for column, camera in enumerate(cameras):
            top, left = row * (100 + GAP_PX), column * (200 + GAP_PX)
            assert (canvas[top + 75, left + 50] == 20 * camera).all()
            assert (canvas[top + 75, left + 150] == 255).all()


def test_box_is_drawn_where_it_projects_at_any_tile_size() -> None:
    layer = detections_in_color(detections(CAR_AHEAD), COLOR)
    corners = homogeneous_pixels(box_corners_lidar_m(layer.boxes)[0], camera_calibration(6, HW)[0])
    expected = corners[:, :2] / corners[:, 2:]
    for scale in (0.5, 1.0, 2.0):
        changed = painted(tile_of(layer, size_wh=(round(400 * scale), round(240 * scale))))
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        found = [columns[0], rows[0], columns[-1], rows[-1]]
        assert found == pytest.approx([*expected.min(axis=0) * scale, *expected.max(axis=0) * scale], abs=2.5)


def test_box_is_in_no_camera_that_looks_away() -> None:
    layer = detections_in_color(detections(CAR_AHEAD), COLOR)
    assert painted(tile_of(layer, camera=0)).any()
    for camera in (3, 4, 5):
        assert not painted(tile_of(layer, camera=camera)).any()


def test_box_beside_the_ego_car_is_drawn_up_to_the_border() -> None:
    # From 6 m behind the LiDAR to 14 m ahead, 2 m to the left: partly behind the front camera.
    wall = detections_in_color(detections((-2.0, 4.0, -1.5, 0.5, 20.0, 2.5, 0.0, 0.0, 0.0)), COLOR)
    changed = painted(tile_of(wall))
    assert changed[:, 0].any()
    assert not changed[:, 240:].any()


def test_front_face_is_filled_and_the_rear_one_is_not() -> None:
    away = detections_in_color(detections(CAR_AHEAD), COLOR)
    towards = detections_in_color(detections((*CAR_AHEAD[:6], 0.0, 0.0, 0.0)), COLOR)
    corners = box_corners_lidar_m(away.boxes)[0]
    near_face = corners[corners[:, 1] < 12]
    u, v, depth = homogeneous_pixels(near_face.mean(axis=0), camera_calibration(6, HW)[0])
    # Just inside the lower left corner of the near face, away from every line and from the far face.
    left = homogeneous_pixels(near_face[near_face[:, 2].argmin()], camera_calibration(6, HW)[0])
    x, y = round(0.75 * abs(left[0] / left[2] - u / depth) + u / depth), round(v / depth)
    assert (tile_of(away)[y, x] == GRAY).all()
    assert not (tile_of(towards)[y, x] == GRAY).all()


def test_nearer_boxes_are_drawn_over_farther_ones() -> None:
    near, far = (0.0, 6.0, -1.5, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0), (0.0, 20.0, -2.2, 6.6, 2.0, 6.6, 0.0, 0.0, 0.0)
    pair = detections(near, far, labels=(0, 8))
    one = detections(near, labels=(0,))
    both = tile_of(BoxLayer(pair.boxes.astype(float), (class_color(0), class_color(8)), ("", "")))
    alone = tile_of(BoxLayer(one.boxes.astype(float), (class_color(0),), ("",)))
    pure = (alone == class_color(0)).all(axis=2)
    assert pure.any()
    assert (both[pure] == class_color(0)).all()


def test_dashes_leave_gaps() -> None:
    solid = tile_of(detections_in_color(detections((0.0, 20.0, -3, 8, 1, 6, 0, 0, 0)), COLOR))
    dashed = tile_of(detections_in_color(detections((0.0, 20.0, -3, 8, 1, 6, 0, 0, 0)), COLOR, dashed=True))
    assert 0.3 < painted(dashed).sum() / painted(solid).sum() < 0.85


def test_captions_never_overlap() -> None:
    crowd = detections(*((0.15 * i, 25.0, -1.8, 0.6, 0.6, 1.8, 0.0, 0.0, 0.0) for i in range(12)), labels=(8,) * 12)
    layer = detections_by_class(crowd, CLASS_NAMES)
    tile = tile_of(layer, size_wh=(800, 480))
    plate = (tile == class_color(8)).all(axis=2)
    # A plate is a run of full-colour pixels much longer than any line or face of these boxes.
    runs = [row for row in plate if (np.convolve(row, np.ones(20), "valid") == 20).any()]
    assert runs
    alone = tile_of(detections_by_class(detections(CAR_AHEAD), CLASS_NAMES), size_wh=(800, 480))
    assert (alone == class_color(0)).all(axis=2).any()


def test_padding_of_one_color_is_left_out() -> None:
    images = gray_images(6, (96, 160))
    for image in images:
        image[90:] = (103, 116, 124)
    canvas = draw_cameras(images, camera_calibration(6, (96, 160)), [], width_px=480 + 2 * GAP_PX)
    assert canvas.shape[0] == 2 * 90 + GAP_PX
    blank = [np.full((96, 160, 3), 7, np.uint8)] * 6
    assert (
        draw_cameras(blank, camera_calibration(6, (96, 160)), [], width_px=480 + 2 * GAP_PX).shape[0] == 2 * 96 + GAP_PX
    )
    images[3][:] = 0  # a camera without an image
    canvas = draw_cameras(images, camera_calibration(6, (96, 160)), [], width_px=480 + 2 * GAP_PX)
    assert canvas.shape[0] == 2 * 90 + GAP_PX
