"""Checks that no BEV query is seen by more cameras than a graph samples for it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.camera_capacity import CameraCapacity
from bevformer_lib.errors import CameraCalibrationError
from bevformer_lib.geometry.pillars import cameras_per_query, pillar_points_lidar_m

_ROUNDING_MARGIN: Final = 1e-4
"""Part of the image: host and graph may round a point on an image's edge to different sides."""
_KEPT: Final = 8
"""Calibrations remembered: those of frames that are prepared ahead, and of the one that is run."""


class CapacityCheck:
    """Proves of every frame that no cell is seen by more cameras than the graph takes.

    The last few camera calibrations that were proven stay proven: only frames with another one cost time (6 cameras of
    Base: about a twentieth of a second). Several threads may use it.
    """

    def __init__(self, capacity: CameraCapacity) -> None:
        self._capacity = capacity
        self._points = pillar_points_lidar_m(capacity.grid)
        self._proven: tuple[bytes, ...] = ()

    def require(self, lidar_to_image: NDArray[np.float32], *, frame: str) -> None:
        """Prove a frame.

        Args:
            lidar_to_image: (cameras, 4, 4), as the graph is fed.
            frame: which frame it is, for the message.

        Raises:
            CameraCalibrationError: a cell is seen by more cameras.
        """
        camera_calibration = lidar_to_image.tobytes()
        if camera_calibration in self._proven:
            return
        most = self._capacity.cameras_per_query
        counts = cameras_per_query(self._capacity.grid, lidar_to_image, margin=_ROUNDING_MARGIN, points=self._points)
        if counts.max() > most:
            raise CameraCalibrationError(
                f"{frame}: its cameras show {int((counts > most).sum())} of {len(counts)} BEV cells to more cameras "
                f"({counts.max()}) than the model takes ({most} per cell), so some would be dropped; check the "
                f"frame's lidar2img, or export the model again with --cameras-per-query {counts.max()} (or --spatial "
                "dense)"
            )
        self._proven = (*self._proven[1 - _KEPT :], camera_calibration)
