"""Writing scenes in the published format: images, meta files, scene index. Same content, same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.model_config import ImageNormConfig
from bevformer_lib.files import atomic_path, write_json
from bevformer_lib.scenes.ground_truth import gt_boxes_to_json
from bevformer_lib.scenes.layout import SCENE_INDEX_NAME, camera_image_name, meta_name, padded_hw
from bevformer_lib.scenes.types import GroundTruthBox

_PNG_PARAMETERS = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def write_frame(
    folder: Path,
    index: int,
    images: Sequence[NDArray[np.uint8]],
    *,
    lidar_to_image: NDArray[np.float64],
    can_bus_absolute: NDArray[np.float64],
    img_norm: ImageNormConfig,
    scene_token: str,
    sample_token: str | None = None,
    timestamp_us: int | None = None,
    gt_boxes: Sequence[GroundTruthBox] | None = None,
    bicycle_racks: Sequence[GroundTruthBox] = (),
    lidar_to_ego: NDArray[np.float64] | None = None,
    ego_to_global: NDArray[np.float64] | None = None,
) -> None:
    """Write one frame into its scene's folder: the images first, the meta file last, each atomically.

    Args:
        folder: the scene's folder; made if missing.
        index: number of the frame in the file names.
        images: one (H, W, 3) uint8 BGR image per camera, in the order of ``names.CAMERA_ORDER``.
        lidar_to_image: (cameras, 4, 4); LiDAR frame (m) to homogeneous pixels of these images.
        can_bus_absolute: (18,), absolute form.
        img_norm: the normalisation that the images are meant for; recorded in the meta file.
        scene_token: recorded in the meta file.
        sample_token: recorded as ``sample_idx``, where given.
        timestamp_us: recorded where given.
        gt_boxes: annotations; ``None`` writes no ``gt_boxes`` at all.
        bicycle_racks: areas that nuScenes' metric leaves out; recorded where there are any.
        lidar_to_ego: (4, 4), recorded where given, as is
        ego_to_global: (4, 4), at the LiDAR's time.
    """
    for camera, image in enumerate(images):
        write_png(folder / camera_image_name(camera, index), image)
    content: dict[str, Any] = {"scene_token": scene_token}
    if sample_token is not None:
        content["sample_idx"] = sample_token
    content |= {
        "num_cams": len(images),
        "img_shape": [[*padded_hw(*image.shape[:2]), 3] for image in images],
        "img_norm_cfg": {
            "mean": list(img_norm.mean),
            "std": list(img_norm.std),
            "to_rgb": img_norm.to_rgb,
        },
        "lidar2img": np.asarray(lidar_to_image, dtype=np.float64).tolist(),
        "can_bus": np.asarray(can_bus_absolute, dtype=np.float64).tolist(),
    }
    if timestamp_us is not None:
        content["timestamp"] = int(timestamp_us)
    if gt_boxes is not None:
        content["gt_boxes"] = gt_boxes_to_json(gt_boxes)
    if bicycle_racks:
        content["bicycle_racks"] = gt_boxes_to_json(bicycle_racks)
    for key, pose in (("lidar2ego", lidar_to_ego), ("ego2global", ego_to_global)):
        if pose is not None:
            content[key] = np.asarray(pose, dtype=np.float64).tolist()
    write_json(folder / meta_name(index), content)


def write_scene_index(root: Path, frames_by_scene: Mapping[str, Sequence[int]]) -> None:
    """Write ``scene_index.json``: scenes in the given order, each with its frame numbers in time order."""
    scenes = {name: {"samples": [int(frame) for frame in frames]} for name, frames in frames_by_scene.items()}
    write_json(root / SCENE_INDEX_NAME, {"scenes": scenes})


def padded_with_mean(
    image: NDArray[np.uint8], image_hw: tuple[int, int], img_norm: ImageNormConfig
) -> NDArray[np.uint8]:
    """Return a BGR image with rows and columns of the mean colour added at the bottom and right."""
    mean_bgr = img_norm.mean[::-1] if img_norm.to_rgb else img_norm.mean
    color = [round(value) for value in mean_bgr]
    bottom, right = image_hw[0] - image.shape[0], image_hw[1] - image.shape[1]
    bordered = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=color)
    return bordered.astype(np.uint8, copy=False)


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a (H, W, 3) uint8 BGR image as PNG, atomically."""
    _, encoded = cv2.imencode(".png", image, _PNG_PARAMETERS)
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
