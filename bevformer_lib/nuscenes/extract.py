"""From a nuScenes dataset to a folder of scenes: images, projections, ego motion, annotations.

A scene's folder appears when it is whole, the scene index when all are. What an interrupted run finished is kept.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.model_config import ImageNormConfig, ModelConfig
from bevformer_lib.errors import ConfigError, SceneError
from bevformer_lib.files import atomic_path, write_json
from bevformer_lib.names import CAMERA_ORDER
from bevformer_lib.nuscenes.annotations import annotated_boxes, foreign_categories
from bevformer_lib.nuscenes.can_bus import can_bus_absolute, can_bus_root, read_pose_messages
from bevformer_lib.nuscenes.devkit import LIDAR_CHANNEL, open_dataset, samples_of_scene, scenes_of_split
from bevformer_lib.nuscenes.poses import lidar_to_image, sensor_pose
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.scenes.layout import SCENE_INDEX_NAME
from bevformer_lib.scenes.preprocess import READ_COLOR
from bevformer_lib.scenes.scaling import scaled_image, scaled_projections
from bevformer_lib.scenes.writer import padded_with_mean, write_frame, write_scene_index
from bevformer_lib.strict_json import read_json

RECORD_NAME: Final = "extracted.json"
"""The file in the output folder that says what is being extracted there."""
_PROGRESS_LABEL: Final = "extracting"


@dataclass(frozen=True)
class Extraction:
    """What is wanted; the same from the same dataset gives the same bytes.

    Attributes:
        version: nuScenes version, such as ``v1.0-mini``.
        split: official split, such as ``mini_val``, or one of the dataset's own.
        can_bus: whether the CAN bus expansion gives acceleration, rotation rate and velocity; zeros otherwise.
        image_hw: padded image size (height, width), pixels.
        image_scale: factor from the cameras' own images to the unpadded ones.
        img_norm: recorded in the meta files; its mean is the colour of the padding.
    """

    version: str
    split: str
    can_bus: bool
    image_hw: tuple[int, int]
    image_scale: float
    img_norm: ImageNormConfig

    @classmethod
    def for_model(cls, model: ModelConfig, *, version: str, split: str, can_bus: bool) -> Extraction:
        """Return the extraction that suits a model.

        Raises:
            ConfigError: the model does not look through nuScenes' six cameras.
        """
        if model.num_cams != len(CAMERA_ORDER):
            raise ConfigError(
                f"model {model.name} has {model.num_cams} cameras; nuScenes has {len(CAMERA_ORDER)}, and "
                "leaving some out is another data set"
            )
        return cls(version, split, can_bus, model.image_hw, model.image_scale, model.img_norm)


@dataclass(frozen=True)
class Extracted:
    """What a run did.

    Attributes:
        scenes: all scenes of the split, in order.
        scenes_now: how many of them this run extracted; the others were there.
        foreign: categories that are none of nuScenes' -> their annotations, which are left out.
    """

    scenes: tuple[str, ...]
    scenes_now: int
    frames: int
    foreign: Mapping[str, int]


def extract_scenes(
    root: Path,
    extraction: Extraction,
    output: Path,
    *,
    workers: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> Extracted:
    """Write a folder of scenes; each frame in a thread of its own.

    Args:
        root: the dataset's root.
        extraction: what is wanted.
        output: made if missing; a folder that was begun with the same options is carried on with.
        workers: frames worked on at once; by default as many as there are cores.
        on_progress: told after every frame.

    Raises:
        MissingPackageError: nuscenes-devkit is not installed.
        SceneError: the dataset lacks something, or ``output`` holds something else.
    """
    dataset = open_dataset(root, extraction.version)
    scenes = scenes_of_split(dataset, extraction.split)
    can_bus_folder = can_bus_root(root) if extraction.can_bus else None
    samples = {scene["name"]: samples_of_scene(dataset, scene) for scene in scenes}
    _claim(output, extraction)
    missing = [scene for scene in scenes if not (output / scene["name"]).is_dir()]
    _check_images(dataset, [sample for scene in missing for sample in samples[scene["name"]]])
    total = sum(map(len, samples.values()))
    done = total - sum(len(samples[scene["name"]]) for scene in missing)
    on_progress(_PROGRESS_LABEL, done, total)
    with ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="extract") as pool:
        for scene in missing:
            messages = [] if can_bus_folder is None else read_pose_messages(can_bus_folder, scene["name"])
            with atomic_path(output / scene["name"]) as folder:
                written = [
                    pool.submit(_write_frame, dataset, sample, folder, index, extraction, messages)
                    for index, sample in enumerate(samples[scene["name"]])
                ]
                try:
                    for frame in written:
                        frame.result()
                        done += 1
                        on_progress(_PROGRESS_LABEL, done, total)
                finally:
                    wait([frame for frame in written if not frame.cancel()])
    if missing or not (output / SCENE_INDEX_NAME).is_file():
        write_scene_index(output, {name: range(len(frames)) for name, frames in samples.items()})
    foreign = foreign_categories(dataset, (sample for frames in samples.values() for sample in frames))
    return Extracted(tuple(samples), len(missing), total, foreign)


def camera_image(path: Path, extraction: Extraction, recorded_hw: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 BGR: a camera's image scaled as the original does it, and padded.

    Args:
        path: the image.
        extraction: says scale and size.
        recorded_hw: height and width that the tables give it; its calibration is for these.

    Raises:
        SceneError: the image can't be decoded, is not of the recorded size, or does not fit into the model's.
    """
    image = cv2.imread(str(path), READ_COLOR)
    if image is None:
        raise SceneError(f"{path}: is no image that can be decoded; download it again")
    if recorded_hw is not None and image.shape[:2] != recorded_hw:
        raise SceneError(
            f"{path}: has {image.shape[0]} x {image.shape[1]} pixels (height x width), but {recorded_hw[0]} x "
            f"{recorded_hw[1]} in sample_data.json, which its calibration is for; download it again"
        )
    image = scaled_image(image.astype(np.uint8, copy=False), extraction.image_scale)
    height, width = image.shape[:2]
    if height > extraction.image_hw[0] or width > extraction.image_hw[1]:
        raise SceneError(
            f"{path}: scaled by {extraction.image_scale:g} it has {height} x {width} pixels, more than the model's "
            f"{extraction.image_hw[0]} x {extraction.image_hw[1]}; choose a model config for such images"
        )
    return padded_with_mean(image, extraction.image_hw, extraction.img_norm)


def _write_frame(
    dataset: Any,
    sample: dict[str, Any],
    folder: Path,
    index: int,
    extraction: Extraction,
    pose_messages: Sequence[dict[str, Any]],
) -> None:
    lidar = dataset.get("sample_data", sample["data"][LIDAR_CHANNEL])
    pose = sensor_pose(dataset, sample, LIDAR_CHANNEL)
    boxes, racks = annotated_boxes(dataset, sample)
    write_frame(
        folder,
        index,
        [
            camera_image(path, extraction, recorded_hw)
            for path, recorded_hw in zip(_image_paths(dataset, sample), _recorded_sizes(dataset, sample), strict=True)
        ],
        lidar_to_image=scaled_projections(lidar_to_image(dataset, sample), extraction.image_scale),
        can_bus_absolute=can_bus_absolute(
            dataset.get("ego_pose", lidar["ego_pose_token"]), sample["timestamp"], pose_messages
        ),
        img_norm=extraction.img_norm,
        scene_token=sample["scene_token"],
        sample_token=sample["token"],
        timestamp_us=sample["timestamp"],
        gt_boxes=boxes if dataset.sample_annotation else None,
        bicycle_racks=racks,
        lidar_to_ego=pose.sensor_to_ego,
        ego_to_global=pose.ego_to_global,
    )


def _image_paths(dataset: Any, sample: dict[str, Any]) -> list[Path]:
    return [Path(dataset.get_sample_data_path(sample["data"][channel])) for channel in CAMERA_ORDER]


def _recorded_sizes(dataset: Any, sample: dict[str, Any]) -> list[tuple[int, int]]:
    records = [dataset.get("sample_data", sample["data"][channel]) for channel in CAMERA_ORDER]
    return [(record["height"], record["width"]) for record in records]


def _check_images(dataset: Any, samples: Sequence[dict[str, Any]]) -> None:
    """Find out before hours of work what has not been downloaded."""
    defects = []
    for sample in samples:
        absent = [channel for channel in (*CAMERA_ORDER, LIDAR_CHANNEL) if channel not in sample["data"]]
        if absent:
            defects.append(f"sample {sample['token']}: has no keyframe of {', '.join(absent)}")
        else:
            defects += [f"{path}: is missing" for path in _image_paths(dataset, sample) if not path.is_file()]
    if defects:
        raise SceneError(f"{dataset.dataroot}: the split is not whole; download what is missing:", defects)


def _claim(output: Path, extraction: Extraction) -> None:
    """Make ``output`` this extraction's folder, or refuse."""
    wanted = json.loads(json.dumps(dataclasses.asdict(extraction)))
    path = output / RECORD_NAME
    if output.exists() and not output.is_dir():
        raise SceneError(f"{output}: is a file; name a folder for the scenes")
    if not output.is_dir() or not any(output.iterdir()):
        write_json(path, wanted)
        return
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise SceneError(
            f"{output}: is not empty and holds no readable {RECORD_NAME}; choose another folder or empty this one"
        ) from error
    if found != wanted:
        differing = sorted(key for key in wanted if not isinstance(found, dict) or found.get(key) != wanted[key])
        raise SceneError(
            f"{output}: holds scenes extracted otherwise ({', '.join(differing)} differ, see {RECORD_NAME}); "
            "choose another folder or remove this one"
        )
