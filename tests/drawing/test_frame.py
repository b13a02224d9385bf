from __future__ import annotations

import numpy as np
import pytest

from bevformer_lib.drawing.comparison import draw_comparison
from bevformer_lib.drawing.frame import draw_frame, legend_entries
from bevformer_lib.drawing.style import GROUND_TRUTH, class_color
from bevformer_lib.scenes.types import GroundTruthBox
from tests.drawing.examples import CAR_AHEAD, camera_calibration, detections, gray_images
from tests.support.micro import CLASS_NAMES, PC_RANGE

HW = (90, 160)
TRUTH = (GroundTruthBox("car", (0.5, 12.0, -1.0), (1.9, 4.6, 1.7), np.pi / 2, (0.0, 6.0)),)


@pytest.mark.parametrize("num_cams", range(1, 9))
@pytest.mark.parametrize("image_hw", [(480, 800), (96, 160), (200, 100), (31, 33)])
def test_any_cameras_and_any_size(num_cams: int, image_hw: tuple[int, int]) -> None:
    image = draw_frame(
        gray_images(num_cams, image_hw),
        camera_calibration(num_cams, image_hw),
        detections(CAR_AHEAD),
        CLASS_NAMES,
        pc_range=PC_RANGE,
        ground_truth=TRUTH,
        title="a scene with a very long name " * 10,
        subtitle="and more than fits on the right " * 10,
    )
    assert image.dtype == np.uint8
    assert 600 < image.shape[0] < 1400
    assert 900 < image.shape[1] < 2700


def test_frame_without_boxes_is_just_a_image() -> None:
    image = draw_frame(gray_images(6, HW), camera_calibration(6, HW), detections(), CLASS_NAMES, pc_range=PC_RANGE)
    assert not (image == class_color(0)).all(axis=2).any()


def test_same_frame_same_pixels() -> None:
    arguments = (gray_images(6, HW), camera_calibration(6, HW), detections(CAR_AHEAD), CLASS_NAMES)
    one, other = (draw_frame(*arguments, pc_range=PC_RANGE, title="Zürich") for _ in range(2))
    assert np.array_equal(one, other)


def test_inputs_stay_untouched() -> None:
    images = gray_images(6, HW)
    draw_frame(images, camera_calibration(6, HW), detections(CAR_AHEAD), CLASS_NAMES, pc_range=PC_RANGE)
    assert all(np.array_equal(a, b) for a, b in zip(images, gray_images(6, HW), strict=True))


def test_legend_counts_classes_present() -> None:
    entries = legend_entries(detections(CAR_AHEAD, CAR_AHEAD, CAR_AHEAD, labels=(2, 0, 2)), CLASS_NAMES, TRUTH)
    assert entries == [
        (class_color(0), "car (1)", False),
        (class_color(2), "construction vehicle (2)", False),
        (GROUND_TRUTH, "annotated (1)", True),
    ]


def test_comparison_shows_both_sets() -> None:
    arguments = (gray_images(6, HW), camera_calibration(6, HW))
    box = detections(CAR_AHEAD)
    empty = draw_comparison(*arguments, pc_range=PC_RANGE, reference=detections(), candidate=detections())
    one = draw_comparison(*arguments, pc_range=PC_RANGE, reference=box, candidate=detections(), ground_truth=TRUTH)
    other = draw_comparison(*arguments, pc_range=PC_RANGE, reference=detections(), candidate=box, ground_truth=TRUTH)
    assert empty.shape == one.shape == other.shape
    assert not np.array_equal(one, empty)
    assert not np.array_equal(one, other)
