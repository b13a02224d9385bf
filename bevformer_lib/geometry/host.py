"""The geometry of a frame, computed on the host for graphs that compute none; numpy only.

All of it is bounded and in GridSample's units, so that eight or sixteen bits resolve it well: a point outside an image
gives zero however far outside it lies, so reference points are moved to where the sampling offsets can't bring them
back from, and the history's rotation, nearest neighbour, is resolved to the exact centres of the cells it takes.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.geometry.pillars import MIN_DEPTH_M, pillar_points_lidar_m
from bevformer_lib.names import (
    CAN_BUS_YAW_DEG,
    CAN_BUS_YAW_RAD,
    HOST_GEOMETRY_INPUTS,
    INPUT_CAMERA_ROWS,
    INPUT_CAMERA_WEIGHTS,
    INPUT_CAN_BUS,
    INPUT_HISTORY_GRID,
    INPUT_IMG,
    INPUT_LIDAR2IMG,
    INPUT_PREV_BEV,
    INPUT_REFERENCE_POINTS,
    INPUT_ROTATION_GRID,
)

Arrays = Mapping[str, NDArray[np.float32]]


_KEPT_CALIBRATIONS: Final = 8
"""Camera calibrations whose inputs are kept: those of frames that are prepared ahead, and of the one that is run."""


class HostGeometry:
    """Computes a model's geometry inputs; those of the cameras once per calibration, as long as it is in use.

    Several threads may use it.
    """

    def __init__(self, config: HostGeometryConfig) -> None:
        self.config = config
        self._points = pillar_points_lidar_m(config.grid)
        self._of_calibration: OrderedDict[bytes, dict[str, NDArray[np.float32]]] = OrderedDict()
        self._lock = threading.Lock()
        height, width = config.grid.bev_h, config.grid.bev_w
        y, x = np.meshgrid(np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32), indexing="ij")
        half = np.float32(0.5)
        centers = np.stack([(x + half) / np.float32(width), (y + half) / np.float32(height)], axis=-1)
        self._centers: NDArray[np.float32] = centers.reshape(1, -1, 2)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The graph's inputs, in order."""
        absent = {
            INPUT_CAN_BUS: not self.config.use_can_bus,
            INPUT_CAMERA_ROWS: self.config.cameras_per_query is None,
            INPUT_ROTATION_GRID: self.config.rotate_center is None,
        }
        return tuple(name for name in HOST_GEOMETRY_INPUTS if not absent.get(name, False))

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The geometry inputs' shapes by name."""
        grid = self.config.grid
        cells, slots = grid.bev_h * grid.bev_w, self.config.cameras_per_query or self.config.num_cams
        shapes = {
            INPUT_REFERENCE_POINTS: (slots, 1, grid.pillar_points, cells * 2),
            INPUT_CAMERA_WEIGHTS: (slots, 1, cells),
            INPUT_CAMERA_ROWS: (slots, 1, cells * 2),
            INPUT_HISTORY_GRID: (1, cells, 2),
            INPUT_ROTATION_GRID: (1, grid.bev_h, grid.bev_w, 2),
        }
        return {name: shapes[name] for name in self.input_names if name in shapes}

    def inputs(self, frame: Arrays) -> dict[str, NDArray[np.float32]]:
        """Return the graph's inputs for a frame.

        Args:
            frame: ``img``, ``can_bus`` (1, 18) in delta form, ``lidar2img`` (1, cameras, 4, 4) and ``prev_bev``.

        Returns:
            ``img``, ``can_bus`` and ``prev_bev`` as they are, and float32:

            - ``reference_points`` (S, 1, anchors, cells * 2): x, y of every cell's anchors in the S cameras that the
              cell is sampled in; -1 and 1 are the image's edges.
            - ``camera_weights`` (S, 1, cells): 1 / number of cameras that see the cell; 0 where S has none.
            - ``camera_rows`` (S, 1, cells * 2): 0 and the centre of the camera among all cameras' maps, which stand
              one above the other from -1 to 1.
            - ``history_grid`` (1, cells, 2): the cells' centres in the rotated history.
            - ``rotation_grid`` (1, bev_h, bev_w, 2): the centres of the cells that the rotation takes.
        """
        can_bus = frame[INPUT_CAN_BUS]
        given: dict[str, Any] = {
            INPUT_IMG: frame[INPUT_IMG],
            INPUT_CAN_BUS: can_bus,
            **self.camera_inputs(frame[INPUT_LIDAR2IMG][0]),
            INPUT_HISTORY_GRID: self._history_grid(can_bus, has_history=bool(frame[INPUT_PREV_BEV].any())),
            INPUT_PREV_BEV: frame[INPUT_PREV_BEV],
        }
        if self.config.rotate_center is not None:
            given[INPUT_ROTATION_GRID] = self._rotation_grid(can_bus, self.config.rotate_center)
        return {name: given[name] for name in self.input_names}

    def camera_inputs(self, lidar_to_image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the inputs that follow from (cameras, 4, 4) alone: the costly ones, worth computing ahead."""
        calibration = lidar_to_image.tobytes()
        with self._lock:
            known = self._of_calibration.get(calibration)
        if known is not None:
            return known
        computed = self._camera_inputs(lidar_to_image)
        with self._lock:
            self._of_calibration[calibration] = computed
            while len(self._of_calibration) > _KEPT_CALIBRATIONS:
                self._of_calibration.popitem(last=False)
        return computed

    def _camera_inputs(self, lidar_to_image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        cameras, grid = len(lidar_to_image), self.config.grid
        cells, anchors = grid.bev_h * grid.bev_w, grid.pillar_points
        image_wh = np.array(grid.image_hw[::-1], dtype=np.float32).reshape(1, 2, 1)
        depth = lidar_to_image[:, 2:3] @ self._points
        in_front = depth > np.float32(MIN_DEPTH_M)
        shares = lidar_to_image[:, :2] @ self._points
        shares /= np.where(in_front, depth, np.float32(1))
        shares /= image_wh
        point_seen = in_front[:, 0] & ((shares > 0) & (shares < 1)).all(axis=1)
        seen = point_seen.reshape(cameras, cells, anchors).any(axis=2)
        furthest = np.float32(1 + 2 * self.config.reach_images)
        positions = np.clip(shares * np.float32(2) - np.float32(1), -furthest, furthest, out=shares)
        np.copyto(positions, -furthest, where=~in_front)
        positions = positions.reshape(cameras, 2, cells, anchors)
        weight = 1 / np.maximum(seen.sum(axis=0), 1).astype(np.float32)
        if self.config.cameras_per_query is None:
            reference = positions.transpose(0, 3, 2, 1)
            weights = seen * weight
            return _contiguous(self.shapes, {INPUT_REFERENCE_POINTS: reference, INPUT_CAMERA_WEIGHTS: weights})
        rank = seen.cumsum(axis=0)
        fills = np.stack([seen & (rank == slot + 1) for slot in range(self.config.cameras_per_query)])
        camera, filled = fills.argmax(axis=1), fills.max(axis=1)
        reference = positions[camera, :, np.arange(cells)].transpose(0, 3, 1, 2)
        rows = np.zeros((*camera.shape, 2), dtype=np.float32)
        rows[..., 1] = np.where(filled, (2 * camera + 1) / np.float32(cameras) - 1, 0)
        return _contiguous(
            self.shapes,
            {
                INPUT_REFERENCE_POINTS: np.where(filled[:, None, :, None], reference, -furthest),
                INPUT_CAMERA_WEIGHTS: filled * weight,
                INPUT_CAMERA_ROWS: rows,
            },
        )

    def _history_grid(self, can_bus: NDArray[np.float32], *, has_history: bool) -> NDArray[np.float32]:
        shift = np.zeros(2, dtype=np.float32)
        if has_history and self.config.use_shift:
            x_min, y_min, _, x_max, y_max, _ = self.config.box_range
            dx_m, dy_m, yaw_rad = can_bus[0, 0], can_bus[0, 1], can_bus[0, CAN_BUS_YAW_RAD]
            cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
            shift[:] = (dx_m * sin - dy_m * cos) / (x_max - x_min), (dx_m * cos + dy_m * sin) / (y_max - y_min)
        return (self._centers + shift) * np.float32(2) - np.float32(1)

    def _rotation_grid(self, can_bus: NDArray[np.float32], center_xy: tuple[float, float]) -> NDArray[np.float32]:
        height, width = self.config.grid.bev_h, self.config.grid.bev_w
        column, row, inside = rotated_source((height, width), center_xy, can_bus)
        # One cell outside, where GridSample gives zero.
        x = np.where(inside, column, -1).astype(np.float32)
        y = np.where(inside, row, -1).astype(np.float32)
        grid = np.stack([(2 * x + 1) / np.float32(width) - 1, (2 * y + 1) / np.float32(height) - 1], axis=-1)
        return grid[None].astype(np.float32, copy=False)


def rotated_source(
    bev_hw: tuple[int, int], center_xy: tuple[float, float], can_bus: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return from which column and row every cell of the rotated history comes, and whether that is on the map.

    The map is torchvision's ``rotate(..., center=center_xy)``: for an output cell at (x, y) from the map's centre, the
    source is R(angle) ((x, y) - c) + c, with c the rotation centre from the map's centre; ties round to even.

    Args:
        bev_hw: BEV rows and columns.
        center_xy: rotation centre (x, y) in cells.
        can_bus: (1, 18), delta form.
    """
    height, width = bev_hw
    angle_rad = np.float32(math.radians(float(can_bus[0, CAN_BUS_YAW_DEG])))
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    half = np.float32(0.5)
    center_x = np.float32(center_xy[0] - width / 2)
    center_y = np.float32(center_xy[1] - height / 2)
    x = (np.arange(width, dtype=np.float32) + np.float32(0.5 - width / 2) - center_x)[None, :]
    y = (np.arange(height, dtype=np.float32) + np.float32(0.5 - height / 2) - center_y)[:, None]
    column = np.rint(x * cos - y * sin + center_x + np.float32(width / 2) - half).astype(np.int64)
    row = np.rint(x * sin + y * cos + center_y + np.float32(height / 2) - half).astype(np.int64)
    return column, row, (column >= 0) & (column < width) & (row >= 0) & (row < height)


def _contiguous(
    shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[np.float32]]:
    return {name: np.ascontiguousarray(array, dtype=np.float32).reshape(shapes[name]) for name, array in arrays.items()}
