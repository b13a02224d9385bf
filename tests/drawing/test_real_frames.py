"""Real frames: where boxes were seen, by eye, to hug the objects, they must stay."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bevformer_lib.detections.geometry import BOX_EDGES, box_corners_lidar_m, ground_truth_as_detection_boxes
from bevformer_lib.detections.types import Detections
from bevformer_lib.drawing.frame import draw_frame
from bevformer_lib.drawing.project import homogeneous_pixels, project_segments
from bevformer_lib.names import CAMERA_ORDER
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Frame, GroundTruthBox
from tests.support.data import requires_shared_data, shared_data
from tests.support.micro import CLASS_NAMES, PC_RANGE, micro_config

pytestmark = requires_shared_data

HW = (480, 800)
NORM = micro_config().img_norm


@pytest.fixture(scope="module")
def frame() -> Frame:
    root = shared_data() / "nuscenes_scene_0103" / "extracted_data"
    return read_scenes(root, SceneRequirements(6, HW, NORM))[0].frames[0]


@pytest.fixture(scope="module")
def detections() -> Detections:
    with np.load(shared_data() / "nuscenes_scene_0103" / "frame0_official_detections.npz") as stored:
        kept = stored["scores_3d"] > 0.3
        return Detections(*(stored[name][kept] for name in ("boxes_3d", "scores_3d", "labels_3d")))


def seen_extent(box: NDArray[np.float32], lidar_to_image: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Left, top, right, bottom of what a camera sees of a box."""
    edges = box_corners_lidar_m(box[None])[0][np.array(BOX_EDGES)]
    pixels = project_segments(edges[:, 0], edges[:, 1], lidar_to_image, HW).pixels
    return np.concatenate([pixels.min(axis=(0, 1)), pixels.max(axis=(0, 1))]) if len(pixels) else None


# By eye, in pixels of the 480 x 800 images: the objects' own outlines.
@pytest.mark.parametrize(
    ("index", "camera", "left_top_right_bottom"),
    [
        (0, "CAM_BACK", (401, 233, 446, 273)),  # car that follows, lights on
        (4, "CAM_BACK", (466, 232, 512, 270)),  # white car that drives away
        (9, "CAM_FRONT", (500, 242, 537, 266)),  # white car at the crossing, 43 m ahead
    ],
)
def test_official_boxes_hug_the_cars(
    frame: Frame, detections: Detections, index: int, camera: str, left_top_right_bottom: tuple[float, ...]
) -> None:
    found = {
        name: extent
        for name, matrix in zip(CAMERA_ORDER, frame.lidar_to_image, strict=True)
        if (extent := seen_extent(detections.boxes[index], matrix)) is not None
    }
    assert found.keys() == {camera}
    assert found[camera] == pytest.approx(left_top_right_bottom, abs=7)


def test_annotated_objects_stand_upright_in_some_camera() -> None:
    folder = shared_data() / "nuscenes_scene_0061_keyframe"
    content = json.loads((folder / "keyframe.json").read_text())
    boxes = ground_truth_as_detection_boxes(
        [
            GroundTruthBox(
                category=box["category"],
                center_m=tuple(box["center_lidar_m"]),
                size_wlh_m=tuple(np.array(box["length_width_height_m"])[[1, 0, 2]].tolist()),
                yaw_rad=box["yaw_lidar_rad"],
                velocity_mps=tuple(box["velocity_lidar_mps"]),
            )
            for box in content["gt_boxes"]
        ]
    )
    seen = np.zeros(len(boxes), dtype=bool)
    for camera in content["cameras"].values():
        intrinsics = np.eye(4)
        intrinsics[:3, :3] = np.array(camera["cam2img"])[:3, :3]
        matrix = intrinsics @ np.array(camera["lidar2cam"])
        corners = homogeneous_pixels(box_corners_lidar_m(boxes), matrix)
        ahead = (corners[..., 2] > 1).all(axis=1)
        pixels = corners[..., :2] / corners[..., 2:]
        bottom, top = pixels[:, :4, 1].mean(axis=1), pixels[:, 4:, 1].mean(axis=1)
        assert (top < bottom)[ahead].all()
        middle = pixels.mean(axis=1)
        seen |= ahead & (middle >= 0).all(axis=1) & (middle <= (1600, 900)).all(axis=1)
    assert seen.all()


def test_real_frame_is_drawn(frame: Frame, detections: Detections) -> None:
    images = Preprocessor(HW, NORM).images(frame)
    bare, drawn = (
        draw_frame(images, frame.lidar_to_image, shown, CLASS_NAMES, pc_range=PC_RANGE)
        for shown in (Detections(*(part[:0] for part in _parts(detections))), detections)
    )
    # The 30 rows of padding are cropped: tiles of 600 x 338.
    assert bare.shape == drawn.shape == (770, 2532, 3)
    tile = np.s_[48 : 48 + 338, 16 : 16 + 600]
    expected = cv2.resize(images[2][:450], (600, 338), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(bare[tile][30:], expected[30:])
    assert not np.array_equal(drawn[tile], bare[tile])


def _parts(detections: Detections) -> tuple[NDArray[np.generic], ...]:
    return detections.boxes, detections.scores, detections.labels
