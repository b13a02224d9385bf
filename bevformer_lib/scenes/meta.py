"""The content of a frame's meta file, checked against what the model asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.names import CAN_BUS_SIZE
from bevformer_lib.scenes.ego import is_pose
from bevformer_lib.scenes.ground_truth import gt_boxes_from_json
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import GroundTruthBox

_P = ParamSpec("_P")
_T = TypeVar("_T")

_SIGHT_M = 61.2
"""Half the side of the cube about the LiDAR in which a camera has to see something: the farthest a box is kept."""
_SINGULAR_VOLUME = 1e-6
"""Volume of a matrix's unit rows below which it is singular; stored half-precision matrices stay above 1e-1."""
_NORM_TOLERANCE = 1e-4
"""Largest difference of a mean or std that is rounding to single precision, in gray levels."""
_MICROSECONDS = 1_000_000
_LARGEST = 1e9
"""Largest number of a matrix or of ``can_bus``: global coordinates reach 1e7 m, single precision holds 1e38."""
_LATEST_US = 1 << 62


@dataclass(frozen=True)
class FrameMeta:
    """What a meta file says, in the terms of :class:`bevformer_lib.scenes.types.Frame`."""

    lidar_to_image: NDArray[np.float64]
    can_bus_absolute: NDArray[np.float64]
    gt_boxes: tuple[GroundTruthBox, ...] | None
    timestamp_us: int | None
    sample_token: str | None
    bicycle_racks: tuple[GroundTruthBox, ...]
    lidar_to_ego: NDArray[np.float64] | None
    ego_to_global: NDArray[np.float64] | None


def parse_meta(
    content: Mapping[str, Any], requirements: SceneRequirements | None
) -> tuple[FrameMeta | None, list[str]]:
    """Return a meta file's content, or ``None`` and every defect it has.

    Args:
        content: of the file.
        requirements: of the model that it has to suit; ``None`` where no model is to be fed.
    """
    found = _Defects()
    stored = content.get("lidar2img")
    num_cams = requirements.num_cams if requirements else max(1, len(stored) if isinstance(stored, list) else 1)
    lidar_to_image = found.attempt(_required_array, content, "lidar2img", (num_cams, 4, 4))
    if lidar_to_image is not None:
        for camera, matrix in enumerate(lidar_to_image):
            found.attempt(_check_projection, matrix, camera)
    can_bus = found.attempt(_required_array, content, "can_bus", (CAN_BUS_SIZE,))
    gt_boxes = found.attempt(gt_boxes_from_json, content["gt_boxes"]) if content.get("gt_boxes") is not None else None
    racks = found.attempt(gt_boxes_from_json, content.get("bicycle_racks", []), "bicycle_racks") or ()
    lidar_to_ego, ego_to_global = (
        found.attempt(_pose, content, key) if key in content else None for key in ("lidar2ego", "ego2global")
    )
    timestamp_us = found.attempt(_timestamp_us, content.get("timestamp"))
    if content.get("num_cams") not in (None, num_cams):
        found.defects.append(f"num_cams is {content['num_cams']!r}; the configuration has {num_cams}")
    if requirements and content.get("img_shape") is not None:
        found.attempt(_check_img_shape, content["img_shape"], requirements)
    if requirements and content.get("img_norm_cfg") is not None:
        img_norm = content["img_norm_cfg"]
        found.attempt(_check_norm_values, img_norm, "mean", requirements.img_norm.mean)
        found.attempt(_check_norm_values, img_norm, "std", requirements.img_norm.std)
        found.attempt(_check_norm_order, img_norm, requirements.img_norm.to_rgb)
    if found.defects or lidar_to_image is None or can_bus is None:
        return None, found.defects
    sample = content.get("sample_idx")
    sample_token = None if sample is None else str(sample)
    meta = FrameMeta(lidar_to_image, can_bus, gt_boxes, timestamp_us, sample_token, racks, lidar_to_ego, ego_to_global)
    return meta, []


class _Defects:
    """Collects what checks raise, so that one defect does not hide the next."""

    def __init__(self) -> None:
        self.defects: list[str] = []

    def attempt(self, check: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        try:
            return check(*args, **kwargs)
        except (ValueError, OverflowError) as error:
            self.defects.append(str(error))
            return None


def _required(content: object, key: str, where: str) -> Any:
    if not isinstance(content, Mapping) or key not in content:
        raise ValueError(f"lacks `{where}`")
    return content[key]


def _required_array(content: Mapping[str, Any], key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return _finite_array(_required(content, key, key), shape, key)


def _pose(content: Mapping[str, Any], key: str) -> NDArray[np.float64]:
    matrix = _required_array(content, key, (4, 4))
    if not is_pose(matrix):
        raise ValueError(f"{key} is not a rotation and a translation")
    return matrix


def _check_projection(matrix: NDArray[np.float64], camera: int) -> None:
    if _unit_volume(matrix) < _SINGULAR_VOLUME:
        raise ValueError(f"lidar2img of camera {camera} is singular; it projects nothing")
    if _largest_depth_m(matrix) <= 0.0:
        raise ValueError(f"lidar2img of camera {camera} puts everything within {_SIGHT_M} m behind the camera")


def _unit_volume(matrix: NDArray[np.float64]) -> float:
    lengths = np.linalg.norm(matrix, axis=1)
    return 0.0 if lengths.min() == 0.0 else float(abs(np.linalg.det(matrix / lengths[:, None])))


def _largest_depth_m(matrix: NDArray[np.float64]) -> float:
    return float(np.abs(matrix[2, :3]).sum() * _SIGHT_M + matrix[2, 3])


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
    large = np.abs(array.astype(np.float64)) > _LARGEST
    if large.any():
        where = [int(position) for position in np.argwhere(large)[0]]
        raise ValueError(f"{key}{where} is {array[tuple(where)]:g}; nothing there is larger than {_LARGEST:g}")
    return array.astype(np.float64)


def _timestamp_us(content: object) -> int | None:
    """Return microseconds; a fractional number is in seconds, as mmdet3d's info files have it."""
    if content is None:
        return None
    if isinstance(content, bool) or not isinstance(content, int | float) or not math.isfinite(content):
        raise ValueError(f"timestamp must be a number, not {content!r:.80}")
    if not 0 <= content < _LATEST_US:
        raise ValueError(f"timestamp is {content:g}, no time in seconds or microseconds")
    return int(content) if content == int(content) else round(content * _MICROSECONDS)


def _check_img_shape(content: object, requirements: SceneRequirements) -> None:
    expected = [*requirements.image_hw, 3]
    if not isinstance(content, list) or len(content) != requirements.num_cams:
        raise ValueError(f"img_shape must hold [height, width, 3] of {requirements.num_cams} cameras")
    for camera, shape in enumerate(content):
        if shape != expected:
            raise ValueError(f"img_shape of camera {camera} is {shape}; the configuration asks for {expected}")


def _check_norm_values(img_norm: object, key: str, expected: tuple[float, float, float]) -> None:
    where = f"img_norm_cfg.{key}"
    stored = _finite_array(_required(img_norm, key, where), (3,), where)
    if not np.allclose(stored, expected, rtol=0.0, atol=_NORM_TOLERANCE):
        raise ValueError(f"{where} is {stored.tolist()}; the configuration has {list(expected)}")


def _check_norm_order(img_norm: object, to_rgb: bool) -> None:
    stored = _required(img_norm, "to_rgb", "img_norm_cfg.to_rgb")
    if stored is not to_rgb:
        raise ValueError(f"img_norm_cfg.to_rgb is {stored!r}; the configuration has {to_rgb}")
