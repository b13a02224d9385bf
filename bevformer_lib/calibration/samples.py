"""The network inputs of a plan's frames, one after the other, from either of the two places they can come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.calibration.collect import prev_bev_path
from bevformer_lib.calibration.plan import CalibrationPlan, PlannedSample
from bevformer_lib.calibration.quantization_data import QuantizationData
from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.errors import CalibrationError
from bevformer_lib.geometry.host import HostGeometry
from bevformer_lib.names import INPUT_CAN_BUS, INPUT_IMG, INPUT_LIDAR2IMG, INPUT_PREV_BEV
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.types import Scene
from bevformer_lib.strict_npy import read_npy


@dataclass(frozen=True)
class CalibrationSample:
    """A frame of the set with everything that the network is fed.

    Attributes:
        frame_index: its number in the scene's file names.
        arrays: the inputs by name, float32; ``img`` of a model that takes pixels, uint8.
    """

    planned: PlannedSample
    frame_index: int
    arrays: Mapping[str, NDArray[Any]]


def samples_from_scenes(
    plan: CalibrationPlan,
    scenes: Mapping[str, Scene],
    collected: Mapping[str, Path],
    preprocessor: Preprocessor,
) -> Iterator[CalibrationSample]:
    """Give the samples of a plan in order: images and poses from the scenes, prev_bev states as collected.

    Args:
        plan: the chosen frames.
        scenes: the scenes by name.
        collected: per scene, the folder that ``collect_scene_samples`` made.
        preprocessor: the one that the prev_bev states were made with.

    Raises:
        CalibrationError: a state is missing or can't be read.
    """
    for planned in plan.samples:
        frames = scenes[planned.scene].frames
        frame = frames[planned.position]
        previous = frames[planned.position - 1] if planned.position else None
        inputs = preprocessor.inputs(frame, previous)
        arrays = {
            INPUT_IMG: inputs.img,
            INPUT_LIDAR2IMG: inputs.lidar2img,
            INPUT_CAN_BUS: inputs.can_bus,
            INPUT_PREV_BEV: _load_prev_bev(prev_bev_path(collected[planned.scene], planned.position)),
        }
        yield CalibrationSample(planned, frame.index, arrays)


def samples_from_quantization_data(plan: CalibrationPlan, data: QuantizationData) -> Iterator[CalibrationSample]:
    """Give the samples of a plan in order, from frames that were extracted before."""
    for planned in plan.samples:
        arrays = data.load(planned.scene, planned.position)
        yield CalibrationSample(planned, data.frame_numbers[planned.scene][planned.position], arrays)


def network_samples(
    samples: Iterable[CalibrationSample], host_geometry: HostGeometryConfig | None
) -> Iterator[CalibrationSample]:
    """Give samples with what the network itself is fed, where the host computes its geometry."""
    geometry = None if host_geometry is None else HostGeometry(host_geometry)
    for sample in samples:
        yield sample if geometry is None else replace(sample, arrays=geometry.inputs(sample.arrays))


def _load_prev_bev(path: Path) -> NDArray[np.float32]:
    try:
        prev_bev: NDArray[np.float32] = read_npy(path)
    except (OSError, ValueError) as error:
        raise CalibrationError(f"{path}: can't be read ({error}); remove its folder and run again") from error
    return prev_bev
