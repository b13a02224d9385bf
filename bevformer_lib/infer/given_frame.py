"""What a caller hands over of a frame, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import FrameError
from bevformer_lib.names import CAN_BUS_SIZE, camera_names
from bevformer_lib.scenes.ego import can_bus_of_pose, is_pose
from bevformer_lib.scenes.layout import padded_hw


def camera_images(
    images: Sequence[NDArray[np.uint8] | None] | Mapping[str, NDArray[np.uint8] | None],
    num_cams: int,
    image_hw: tuple[int, int],
) -> list[NDArray[np.uint8]]:
    """Return one (h, w, 3) uint8 BGR image per camera in stored order; black ones for cameras that gave none.

    Args:
        images: in stored order, or by the names of ``names.CAMERA_ORDER``.
        num_cams: cameras of the model.
        image_hw: padded image size (height, width) of the model.

    Raises:
        FrameError: cameras are missing or not known, none gave an image, or an image doesn't fit.
    """
    names = camera_names(num_cams)
    if isinstance(images, Mapping):
        missing = [name for name in names if name not in images]
        unknown = [str(name) for name in images if name not in names]
        if missing or unknown:
            raise FrameError(
                f"images: {', '.join(missing) or 'none'} missing, {', '.join(unknown) or 'none'} not known; give one "
                f"for each of {', '.join(names)}, or None where a camera gave none"
            )
        images = [images[name] for name in names]
    if len(images) != num_cams:
        raise FrameError(f"images: {len(images)} are given, the model has {num_cams} cameras: {', '.join(names)}")
    given = [image for image in images if image is not None]
    if not given:
        raise FrameError("images: no camera gave one; leave the frame out")
    for name, image in zip(names, images, strict=True):
        if image is not None:
            _require_image(image, name, image_hw)
    black = np.zeros_like(given[0])
    return [black if image is None else np.ascontiguousarray(image) for image in images]


def camera_projections(lidar2img: NDArray[Any] | Sequence[Any], num_cams: int) -> NDArray[np.float64]:
    """Return (cameras, 4, 4) float64.

    Raises:
        FrameError: it has another shape, or holds what is no finite number.
    """
    return _finite(lidar2img, (num_cams, 4, 4), "lidar2img")


def absolute_motion(
    can_bus: NDArray[Any] | Sequence[float] | None, ego_pose: NDArray[Any] | Sequence[Any] | None
) -> NDArray[np.float64]:
    """Return (18,) float64, the absolute form of ``can_bus``, from itself or from the (4, 4) pose of the car.

    Raises:
        FrameError: both or none are given, or what is given is malformed.
    """
    if can_bus is not None and ego_pose is None:
        return _finite(can_bus, (CAN_BUS_SIZE,), "can_bus")
    if ego_pose is None or can_bus is not None:
        raise FrameError("give can_bus (18 values, absolute form) or ego_pose (4 x 4, ego to global), and not both")
    pose = _finite(ego_pose, (4, 4), "ego_pose")
    if not is_pose(pose):
        raise FrameError("ego_pose is not a rotation and a translation; give the 4 x 4 matrix from ego to global")
    return can_bus_of_pose(pose)


def _require_image(image: NDArray[np.uint8], name: str, image_hw: tuple[int, int]) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise FrameError(f"image of {name}: is {what}; give (height, width, 3) uint8, BGR")
    height, width = image.shape[:2]
    if image_hw not in ((height, width), padded_hw(height, width)):
        raise FrameError(
            f"image of {name}: is {height} x {width} pixels (height x width); the model takes {image_hw[0]} x "
            f"{image_hw[1]}, or less by under 32 to be padded. Resize it, and scale lidar2img's first two rows as well"
        )


def _finite(value: NDArray[Any] | Sequence[Any], shape: tuple[int, ...], name: str) -> NDArray[np.float64]:
    try:
        array = np.array(value, dtype=np.float64)  # of its own: callers reuse their buffers
    except (TypeError, ValueError) as error:
        raise FrameError(f"{name}: is no array of numbers of shape {shape} ({error})") from error
    if array.shape != shape:
        raise FrameError(f"{name}: has shape {array.shape}; expected {shape}")
    if not np.isfinite(array).all():
        raise FrameError(f"{name}: holds NaN or infinity")
    return array
