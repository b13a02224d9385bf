"""Which form of the spatial attention a graph gets, and for how many cameras per BEV cell."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from bevformer_lib.config.camera_capacity import CameraCapacity, PillarGrid
from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import ExportError
from bevformer_lib.export.provenance import read_provenance
from bevformer_lib.geometry.pillars import cameras_per_query, needed_cameras_per_query
from bevformer_lib.geometry.surround_cameras import surround_cameras
from bevformer_lib.model.bevformer import BEVFormer
from bevformer_lib.model.camera_sampling import SpatialForm
from bevformer_lib.model.sampling_reach import sampling_reach_images

_log = logging.getLogger(__name__)

DEFAULT_CAMERAS_PER_CELL: Final = 2
"""What nuScenes' six cameras need, with all three published models, even with :data:`UNKNOWN_CALIBRATION_MARGIN`."""

UNKNOWN_CALIBRATION_MARGIN: Final = 0.2
"""Part of the image by which every image of an unknown camera calibration is taken to be wider on each
side."""


@dataclass(frozen=True)
class SpatialChoice:
    """A form of the spatial attention.

    Attributes:
        form: ``dense``: every cell in every camera; ``visible``: every cell in the cameras that see it.
        cameras_per_query: cameras that may see a cell; of the dense form, all of them.
    """

    form: SpatialForm
    cameras_per_query: int

    def capacity(self, config: ModelConfig) -> CameraCapacity | None:
        """Return the camera capacity of a graph of this form; ``None``: it samples every cell in every camera."""
        return None if self.form == "dense" else CameraCapacity(self.cameras_per_query, PillarGrid.of(config))

    def host_geometry(self, model: BEVFormer) -> HostGeometryConfig:
        """Return what the host has to know to compute the geometry of a model's graph of this form."""
        cameras = None if self.form == "dense" else self.cameras_per_query
        return HostGeometryConfig.of(model.config, cameras, reach_images=sampling_reach_images(model))

    def metadata(self, config: ModelConfig) -> dict[str, str]:
        """Return what the graph has to say about it, for :class:`bevformer_lib.geometry.capacity.CapacityCheck`."""
        capacity = self.capacity(config)
        return {} if capacity is None else capacity.to_metadata()


def choose_spatial(
    config: ModelConfig, form: SpatialForm | None = None, cameras_per_query: int | None = None
) -> SpatialChoice:
    """Complete and check a choice.

    Args:
        config: the model.
        form: ``None``: visible where these are fewer than the cameras, else dense; figures are in docs/lean-graph.md.
        cameras_per_query: of the visible form; ``None``: :data:`DEFAULT_CAMERAS_PER_CELL`, or more where so many
            cameras around a car need it, or all cameras if they are fewer.

    Raises:
        ExportError: the two don't go together, or the parity check's camera calibration needs more cameras per cell.
    """
    if cameras_per_query is not None and form == "dense":
        raise ExportError("the dense form samples every cell in every camera; leave out --cameras-per-query")
    if cameras_per_query is not None and not 1 <= cameras_per_query <= config.num_cams:
        raise ExportError(
            f"{cameras_per_query} cameras per cell: give a number from 1 to {config.num_cams}, the model's cameras"
        )
    cameras = _default_cameras_per_query(config) if cameras_per_query is None else cameras_per_query
    if form == "dense" or (form is None and cameras == config.num_cams):
        return SpatialChoice("dense", config.num_cams)
    _require_capacity_for_parity_frames(config, cameras)
    return SpatialChoice("visible", cameras)


def cameras_per_query_of_calibrations(config: ModelConfig, camera_calibrations: Iterable[NDArray[np.floating]]) -> int:
    """Return how many cameras see one BEV query at most, over the given calibrations and those of the parity check.

    Args:
        config: the model.
        camera_calibrations: (cameras, 4, 4) each: LiDAR frame (m) to homogeneous pixels of the model's padded images.
    """
    needed, of_parity = (
        needed_cameras_per_query(PillarGrid.of(config), camera_calibrations),
        _cameras_per_query_of_parity_frames(config),
    )
    if needed < of_parity:
        _log.warning(
            "the calibrations need %d cameras per BEV query; the graph takes %d, which the synthetic calibration of "
            "its parity check needs",
            needed,
            of_parity,
        )
    return max(needed, of_parity)


def capacity_of_graph(path: Path, config: ModelConfig) -> CameraCapacity | None:
    """Return the camera capacity that an exported graph says it has; ``None``: it samples every cell in every camera.

    Raises:
        ExportError: the file can't be read as ONNX, does not say where it comes from, or is of another model.
        CameraCalibrationError: what it says of it is damaged.
    """
    provenance = read_provenance(path)
    model = onnx.load(str(path), load_external_data=False)
    capacity = CameraCapacity.from_metadata(
        {entry.key: entry.value for entry in model.metadata_props}, source=str(path)
    )
    if provenance.image_hw != config.image_hw or (capacity is not None and capacity.grid != PillarGrid.of(config)):
        raise ExportError(
            f"{path}: was exported from another model config ({provenance.config_name}, images of "
            f"{provenance.image_hw[0]} x {provenance.image_hw[1]}) than {config.name} with images of "
            f"{config.image_hw[0]} x {config.image_hw[1]}; give the same config and image size"
        )
    return capacity


def _default_cameras_per_query(config: ModelConfig) -> int:
    camera_calibration = surround_cameras(config.num_cams, config.image_hw)
    needed = needed_cameras_per_query(PillarGrid.of(config), [camera_calibration], margin=UNKNOWN_CALIBRATION_MARGIN)
    return min(max(DEFAULT_CAMERAS_PER_CELL, needed), config.num_cams)


def _require_capacity_for_parity_frames(config: ModelConfig, cameras: int) -> None:
    needed = _cameras_per_query_of_parity_frames(config)
    if needed > cameras:
        raise ExportError(
            f"the graph is proven with {config.num_cams} cameras around a car, which show a BEV cell to up to {needed} "
            f"of them, and the graph takes {cameras} per cell; export with --cameras-per-query {needed} or more, or "
            "with --spatial dense"
        )


def _cameras_per_query_of_parity_frames(config: ModelConfig) -> int:
    camera_calibration = surround_cameras(config.num_cams, config.image_hw)
    return int(cameras_per_query(PillarGrid.of(config), camera_calibration).max())
