"""Faults of what a model is fed, to be planted on purpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.model_config import ImageNormConfig
from bevformer_lib.names import (
    CAMERA_ORDER,
    CAN_BUS_POSITION,
    CAN_BUS_YAW_DEG,
    INPUT_CAN_BUS,
    INPUT_IMG,
    INPUT_LIDAR2IMG,
    INPUT_PREV_BEV,
)
from bevformer_lib.runtime.base import Runtime

Feed = dict[str, NDArray[Any]]
Change = Callable[[Feed], Feed]
_CAFFE_MEAN: Final = (103.53, 116.28, 123.675)


@dataclass(frozen=True)
class Fault:
    """A fault of what a model is fed.

    Attributes:
        name: for people.
        change: returns the inputs that it changes.
        diagnosis: the metric whose gate has to fail first, since it names the cause.
        words: what the gate has to say.
    """

    name: str
    change: Change
    diagnosis: str
    words: str


HEALTHY: Final = Fault("none", lambda _: {}, "", "")


class FaultyRuntime:
    """A model that is fed with a fault."""

    def __init__(self, runtime: Runtime, fault: Fault) -> None:
        self.inputs, self.outputs, self.metadata = runtime.inputs, runtime.outputs, runtime.metadata
        self._runtime, self._fault = runtime, fault

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the model on what the fault leaves of its inputs."""
        return self._runtime.run({**feed, **self._fault.change(dict(feed))})


def planted_faults(norm: ImageNormConfig, other_lidar_to_image: NDArray[np.float64]) -> tuple[Fault, ...]:
    """Return the faults.

    Args:
        norm: how the model's images are normalised.
        other_lidar_to_image: (cameras, 4, 4) of another car.
    """
    mean, std, caffe = (
        np.array(values, np.float32).reshape(1, 1, 3, 1, 1) for values in (norm.mean, norm.std, _CAFFE_MEAN)
    )
    alphabetical = [CAMERA_ORDER.index(name) for name in sorted(CAMERA_ORDER)]
    other = other_lidar_to_image[None].astype(np.float32)
    twice = np.diag([2.0, 2.0, 1.0, 1.0]).astype(np.float32)

    def images(change: Callable[[NDArray[Any]], NDArray[Any]]) -> Change:
        return lambda feed: {INPUT_IMG: np.ascontiguousarray(change(feed[INPUT_IMG]), dtype=np.float32)}

    def pixels(change: Callable[[NDArray[Any]], NDArray[Any]]) -> Change:
        return images(lambda img: change(img * std + mean))

    def black(camera: int) -> Change:
        return images(lambda img: np.where(np.arange(img.shape[1])[:, None, None, None] == camera, -mean / std, img))

    def standing(feed: Feed) -> Feed:
        can_bus = feed[INPUT_CAN_BUS].copy()
        can_bus[:, CAN_BUS_POSITION] = can_bus[:, CAN_BUS_YAW_DEG] = 0.0
        return {INPUT_CAN_BUS: can_bus}

    def put(name: str, value: Callable[[NDArray[Any]], NDArray[Any]]) -> Change:
        return lambda feed: {name: value(feed[name])}

    cameras, normalization, calibration = (
        f"diagnosis.{name}" for name in ("cameras_misplaced", "normalization_wrong", "lidar2img")
    )
    back_for_front, right_for_left = "CAM_FRONT is taken for CAM_BACK", "CAM_FRONT_RIGHT is taken for CAM_FRONT_LEFT"
    swapped, nothing = "red and blue exchanged", "answers to {} with 0%"
    return (
        Fault("cameras in alphabetical order", images(lambda img: img[:, alphabetical]), cameras, back_for_front),
        Fault("front left for front right", images(lambda img: img[:, [0, 2, 1, 3, 4, 5]]), cameras, right_for_left),
        Fault(swapped, pixels(lambda rgb: (rgb[:, :, ::-1] - mean) / std), normalization, swapped),
        Fault("images as 0 to 1", pixels(lambda rgb: rgb / 255), normalization, "as 0 to 1"),
        Fault("caffe's mean, BGR, no std", pixels(lambda rgb: rgb[:, :, ::-1] - caffe), normalization, "caffe's BGR"),
        Fault("ego motion always 0", standing, "diagnosis.ego_motion", nothing.format("ego motion")),
        Fault(
            "prev_bev always 0",
            put(INPUT_PREV_BEV, np.zeros_like),
            "diagnosis.prev_bev",
            nothing.format("prev_bev"),
        ),
        Fault(
            "camera calibration of another car",
            put(INPUT_LIDAR2IMG, lambda _: other),
            calibration,
            nothing.format("the camera calibration"),
        ),
        Fault(
            "camera calibration for images twice as large",
            put(INPUT_LIDAR2IMG, lambda lidar2img: twice @ lidar2img),
            calibration,
            "answers to the camera calibration",
        ),
        *(
            Fault(f"{name} black", black(camera), "diagnosis.cameras_lost", f"{name} does not reach")
            for camera, name in enumerate(CAMERA_ORDER)
        ),
    )
