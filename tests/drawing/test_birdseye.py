from __future__ import annotations

import numpy as np
import pytest

from bevformer_lib.drawing.birdseye import draw_birdseye
from bevformer_lib.drawing.style import EGO, Image, detections_in_color
from tests.drawing.examples import detections
from tests.support.micro import PC_RANGE

COLOR = (0, 0, 255)
SIDE = 700


def view(*boxes: tuple[float, ...], dashed: bool = False, pc_range: tuple[float, ...] = PC_RANGE) -> Image:
    layer = detections_in_color(detections(*boxes), COLOR, dashed=dashed)
    return draw_birdseye([layer], pc_range=pc_range, size_wh=(SIDE, SIDE), heading="view")


def red(image: Image) -> np.ndarray:
    return (image[..., 2] > 200) & (image[..., 0] < 60)


def middle(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(columns.min() + columns.max()) / 2, float(rows.min() + rows.max()) / 2


def box(x: float, y: float, yaw: float = 0.0, vx: float = 0.0, vy: float = 0.0) -> tuple[float, ...]:
    return x, y, -1.0, 2.0, 4.0, 1.5, yaw, vx, vy


def test_x_is_right_and_y_is_up_in_equal_metres() -> None:
    # Two boxes mirror each other's ticks, so that the middle of both is exact.
    centre = middle(red(view(box(0, 0, 0.0), box(0, 0, np.pi))))
    right = middle(red(view(box(20, 0, 0.0), box(20, 0, np.pi))))
    ahead = middle(red(view(box(0, 20, 0.0), box(0, 20, np.pi))))
    pixels_per_m = (right[0] - centre[0]) / 20
    assert right[1] == pytest.approx(centre[1], abs=1)
    assert ahead[0] == pytest.approx(centre[0], abs=1)
    assert (centre[1] - ahead[1]) / 20 == pytest.approx(pixels_per_m, abs=0.1)
    assert pixels_per_m == pytest.approx((SIDE - 46 - 14) / 102.4, rel=0.05)


def test_ego_car_stands_at_the_origin() -> None:
    image = view()
    ego = (image == EGO).all(axis=2)
    x, _ = middle(ego)
    centre = middle(red(view(box(0, 0, 0.0), box(0, 0, np.pi))))
    assert x == pytest.approx(centre[0], abs=1)
    assert ego.sum() > 100


@pytest.mark.parametrize(("yaw", "dx", "dy"), [(0.0, 0, -1), (np.pi, 0, 1), (np.pi / 2, -1, 0), (-np.pi / 2, 1, 0)])
def test_tick_points_where_the_object_faces(yaw: float, dx: int, dy: int) -> None:
    here, reversed_there = (middle(red(view(box(10, 10, turned)))) for turned in (yaw, yaw + np.pi))
    assert (here[0] - reversed_there[0]) * dx + (reversed_there[1] - here[1]) * dy > 1.5


def test_arrow_is_one_second_long_and_absent_without_speed() -> None:
    still, moving = red(view(box(0, 0))), red(view(box(0, 0, vx=10.0)))
    pixels_per_m = (SIDE - 46 - 14) / 102.4
    reach = np.nonzero(moving)[1].max() - middle(red(view(box(0, 0, 0.0), box(0, 0, np.pi))))[0]
    assert reach == pytest.approx(10 * pixels_per_m, abs=4)
    assert still.sum() < moving.sum()
    unknown = red(view(box(0, 0, vx=float("nan"), vy=float("nan"))))
    assert np.array_equal(unknown, still)


def test_dashed_boxes_differ_without_colour() -> None:
    solid, dashed = red(view(box(10, 10))), red(view(box(10, 10), dashed=True))
    assert 0 < dashed.sum() < 0.6 * solid.sum()


def test_what_lies_outside_stays_inside_the_frame() -> None:
    assert not red(view(box(300, 300, vx=5.0))).any()
    image = view(box(51, 0))
    assert red(image).any()
    assert not red(image)[:, SIDE - 10 :].any()
    assert red(view((0, 0, 0, 1e30, 1e30, 1, 0.4, 1e30, 0))).sum() >= 0


@pytest.mark.parametrize("pc_range", [(-60, -20, -5, 60, 20, 3), (-15, -10, -5, 15, 80, 3), (-2, -2, -5, 2, 2, 3)])
def test_any_range_fits(pc_range: tuple[float, ...]) -> None:
    image = view(box(0, 0), pc_range=pc_range)
    assert image.shape == (SIDE, SIDE, 3)
    assert red(image).any()
