from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bevformer_lib.detections.geometry import box_corners_lidar_m, ground_truth_as_detection_boxes
from bevformer_lib.drawing.project import homogeneous_pixels
from bevformer_lib.synthetic_scenes.cameras import camera_calibration, lidar_to_ego
from bevformer_lib.synthetic_scenes.layout import make_world
from bevformer_lib.synthetic_scenes.render import RenderedFrame, Renderer
from bevformer_lib.synthetic_scenes.world import World, box_in_lidar_frame

CAMERAS = camera_calibration(6, 0.2)
WHOLE = 4.0
"""Objects whose corners all lie so far (m) before a camera are measured."""


@pytest.fixture(scope="module")
def world() -> World:
    return make_world("synthetic-0000", scene_number=0, duration_s=4.0, seed=1)


@pytest.fixture(scope="module")
def frames(world: World) -> list[RenderedFrame]:
    renderer = Renderer(world, CAMERAS)
    return [renderer.render(time_s, number) for number, time_s in enumerate((0.0, 2.0))]


def _outlines(world: World, frame: RenderedFrame) -> list[tuple[np.ndarray, np.ndarray]]:
    """Extents (left, top, right, bottom) of the projected box and of the pixels shown, of objects wholly in view."""
    found = []
    for camera, seen in zip(CAMERAS, frame.objects, strict=False):
        height, width = seen.shape
        for number, (actor, pose) in enumerate(zip(world.actors, frame.poses, strict=True)):
            rows, columns = np.nonzero(seen == number)
            if not len(rows):
                continue
            truth = box_in_lidar_frame(actor, pose, frame.ego, lidar_to_ego())
            corners = box_corners_lidar_m(ground_truth_as_detection_boxes([truth]))[0]
            projected = homogeneous_pixels(corners, camera.lidar_to_image)
            if projected[:, 2].min() < WHOLE:
                continue
            pixels = projected[:, :2] / projected[:, 2:]
            low, high = pixels.min(axis=0), pixels.max(axis=0)
            if (low < 1).any() or (high > (width - 2, height - 2)).any():
                continue
            shown = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
            found.append((np.concatenate([low, high]), shown))
    return found


def test_objects_are_shown_inside_their_boxes(world: World, frames: list[RenderedFrame]) -> None:
    outlines = [pair for frame in frames for pair in _outlines(world, frame)]
    assert len(outlines) > 15
    for box, shown in outlines:
        assert (shown[:2] >= box[:2] - 1.5).all() and (shown[2:] <= box[2:] + 1.5).all()


@pytest.mark.parametrize("category", ["car", "truck", "pedestrian"])
def test_objects_that_nothing_hides_fill_their_boxes(world: World, category: str) -> None:
    measured = 0
    for actor in [actor for actor in world.actors if actor.category == category]:
        if measured == 3:
            break
        alone = dataclasses.replace(world, actors=(actor,), props=())
        for box, shown in _outlines(alone, Renderer(alone, CAMERAS[:1]).render(0.0, 0)):
            # Bonnets, roofs and the gap between wheels leave a few per cent of a box's corners empty.
            assert np.abs(shown - box).max() < 1.5 + 0.06 * (box[2:] - box[:2]).max()
            measured += 1
    assert measured


def test_everybody_moves_on_their_own(world: World, frames: list[RenderedFrame]) -> None:
    first, second = (np.array([pose.xy_m for pose in frame.poses]) for frame in frames)
    moved = np.linalg.norm(second - first, axis=1)
    assert (moved < 1e-9).sum() >= 5
    assert len(np.unique(np.round(moved[moved > 0.5], 2))) >= 5


def test_nobody_drives_through_anybody(world: World) -> None:
    for time_s in np.arange(0.0, 4.01, 0.5):
        poses = [actor.motion.pose_at(float(time_s), world.ego.path).xy_m for actor in world.actors]
        apart = np.linalg.norm(np.array(poses)[:, None] - np.array(poses)[None], axis=-1)
        widths = np.array([min(actor.size_wlh_m[:2]) for actor in world.actors])
        closest = (widths[:, None] + widths[None]) / 2
        np.fill_diagonal(apart, np.inf)
        assert (apart > closest).all()


def test_a_frame_does_not_depend_on_those_before(world: World, frames: list[RenderedFrame]) -> None:
    alone = Renderer(world, CAMERAS).render(2.0, 1)
    for expected, image in zip(frames[1].images, alone.images, strict=True):
        assert np.array_equal(expected, image)
