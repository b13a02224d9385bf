"""The content of a frame's meta file, checked against what the model asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.names import CAN_BUS_SIZE
from bevformer_lib.scenes.ground_truth import gt_boxes_from_json
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import GroundTruthBox

_T = TypeVar("_T")

_SIGHT_M = 61.2
"""Half the side of the cube about the LiDAR in which a camera has to see something: the farthest a box is kept."""
_SINGULAR_VOLUME = 1e-6
"""Volume of a matrix's unit rows below which it is singular; stored half-precision matrices stay above 1e-1."""
_NORM_TOLERANCE = 1e-4
"""Largest difference of a mean or std that is rounding to single precision, in gray levels."""
_MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class FrameMeta:
    """What a meta file says, in the terms of :class:`bevformer_lib.scenes.types.Frame`."""

    lidar_to_image: NDArray[np.float64]
    can_bus_absolute: NDArray[np.float64]
    gt_boxes: tuple[GroundTruthBox, ...] | None
    timestamp_us: int | None
    sample_token: str | None


def parse_meta(content: Mapping[str, Any], requirements: SceneRequirements) -> tuple[FrameMeta | None, list[str]]:
    """Return a meta file's content, or ``None`` and every defect it has."""
    defects: list[str] = []

    def attempt(parse: Callable[[], _T]) -> _T | None:
        try:
            return parse()
        except ValueError as error:
            defects.append(str(error))
            return None

    lidar_to_image = attempt(lambda: _lidar_to_image(_required(content, "lidar2img"), requirements.num_cams))
    can_bus = attempt(lambda: _can_bus(_required(content, "can_bus")))
    gt_boxes = attempt(lambda: gt_boxes_from_json(content["gt_boxes"])) if "gt_boxes" in content else None
    timestamp_us = attempt(lambda: _timestamp_us(content.get("timestamp")))
    attempt(lambda: _check_num_cams(content.get("num_cams"), requirements.num_cams))
    attempt(lambda: _check_img_shape(content.get("img_shape"), requirements))
    attempt(lambda: _check_img_norm(content.get("img_norm_cfg"), requirements))
    if defects or lidar_to_image is None or can_bus is None:
        return None, defects
    sample = content.get("sample_idx")
    return FrameMeta(lidar_to_image, can_bus, gt_boxes, timestamp_us, None if sample is None else str(sample)), []


def _required(content: Mapping[str, Any], key: str) -> Any:
    if key not in content:
        raise ValueError(f"lacks `{key}`")
    return content[key]


def _lidar_to_image(content: object, num_cams: int) -> NDArray[np.float64]:
    matrices = _finite_array(content, (num_cams, 4, 4), "lidar2img")
    for camera, matrix in enumerate(matrices):
        if _unit_volume(matrix) < _SINGULAR_VOLUME:
            raise ValueError(f"lidar2img of camera {camera} is singular; it projects nothing")
        if _largest_depth_m(matrix) <= 0.0:
            raise ValueError(f"lidar2img of camera {camera} puts everything within {_SIGHT_M} m behind the camera")
    return matrices


def _unit_volume(matrix: NDArray[np.float64]) -> float:
    lengths = np.linalg.norm(matrix, axis=1)
    return 0.0 if lengths.min() == 0.0 else float(abs(np.linalg.det(matrix / lengths[:, None])))


def _largest_depth_m(matrix: NDArray[np.float64]) -> float:
    return float(np.abs(matrix[2, :3]).sum() * _SIGHT_M + matrix[2, 3])


def _can_bus(content: object) -> NDArray[np.float64]:
    return _finite_array(content, (CAN_BUS_SIZE,), "can_bus")


def _finite_array(content: object, shape: tuple[int, ...], key: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(content)
    except ValueError as error:
        raise ValueError(f"{key} is ragged; expected numbers of shape {shape}") from error
    if array.shape != shape:
        raise ValueError(f"{key} has shape {array.shape}; expected {shape}")
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{key} holds something that is not a number")
    finite = np.isfinite(array)
    if not finite.all():
        where = [int(position) for position in np.argwhere(~finite)[0]]
        raise ValueError(f"{key}{where} is {array[tuple(where)]}; it must be finite")
    return array.astype(np.float64)


def _timestamp_us(content: object) -> int | None:
    """Return microseconds; a fractional number is in seconds, as mmdet3d's info files have it."""
    if content is None:
        return None
    if isinstance(content, bool) or not isinstance(content, int | float) or not math.isfinite(content):
        raise ValueError(f"timestamp must be a number, not {content!r}")
    return int(content) if content == int(content) else round(content * _MICROSECONDS)


def _check_num_cams(content: object, num_cams: int) -> None:
    if content is not None and content != num_cams:
        raise ValueError(f"num_cams is {content!r}; the configuration has {num_cams}")


def _check_img_shape(content: object, requirements: SceneRequirements) -> None:
    if content is None:
        return
    expected = [*requirements.image_hw, 3]
    if not isinstance(content, list) or len(content) != requirements.num_cams:
        raise ValueError(f"img_shape must hold [height, width, 3] of {requirements.num_cams} cameras")
    for camera, shape in enumerate(content):
        if shape != expected:
            raise ValueError(f"img_shape of camera {camera} is {shape}; the configuration asks for {expected}")


def _check_img_norm(content: object, requirements: SceneRequirements) -> None:
    if content is None:
        return
    if not isinstance(content, Mapping):
        raise ValueError("img_norm_cfg must hold mean, std and to_rgb")
    expected = requirements.img_norm
    for key, wanted in (("mean", expected.mean), ("std", expected.std)):
        stored = _finite_array(_required(content, key), (3,), f"img_norm_cfg.{key}")
        if not np.allclose(stored, wanted, rtol=0.0, atol=_NORM_TOLERANCE):
            raise ValueError(f"img_norm_cfg.{key} is {stored.tolist()}; the configuration has {list(wanted)}")
    if _required(content, "to_rgb") is not expected.to_rgb:
        raise ValueError(f"img_norm_cfg.to_rgb is {content['to_rgb']}; the configuration has {expected.to_rgb}")
