"""What a scene is once it has been read and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageRef:
    """Where a camera's image is stored.

    Attributes:
        rows: (first, last + 1) pixel rows of the file that belong to this camera, or ``None`` for the whole
            image (one published spelling stacks all cameras top to bottom in one file).
        pixels: gives the image, (h, w, 3) uint8 BGR, where it is no file of its own but in a recording, ``path``.
    """

    path: Path
    rows: tuple[int, int] | None = None
    pixels: Callable[[], NDArray[np.uint8]] | None = None


@dataclass(frozen=True)
class GroundTruthBox:
    """An annotated object, in the LiDAR frame (x right, y forward, z up).

    Attributes:
        category: detection class name.
        center_m: (x, y, z) of the gravity centre.
        size_wlh_m: width, length, height.
        yaw_rad: heading of the length axis, counter-clockwise about z from the x axis.
        velocity_mps: (vx, vy); (0, 0) where it is not known.
        num_lidar_pts: LiDAR points inside, or ``None`` when not known.
        num_radar_pts: radar points inside, or ``None`` when not known.
        attribute: nuScenes attribute such as ``vehicle.parked``, or ``None`` where there is none.
        velocity_known: whether ``velocity_mps`` was measured; nuScenes' velocity error leaves the others out.
    """

    category: str
    center_m: tuple[float, float, float]
    size_wlh_m: tuple[float, float, float]
    yaw_rad: float
    velocity_mps: tuple[float, float]
    num_lidar_pts: int | None = None
    num_radar_pts: int | None = None
    attribute: str | None = None
    velocity_known: bool = True


@dataclass(frozen=True)
class Frame:
    """One moment of a scene.

    Attributes:
        index: the frame's number in its file names; frames need not start at 0 nor be contiguous.
        images: one per camera, in the order of ``names.CAMERA_ORDER``.
        lidar_to_image: (cameras, 4, 4) float64; LiDAR frame (m) to homogeneous pixels of the stored image.
        can_bus_absolute: (18,) float64, as recorded.
        gt_boxes: annotations, or ``None`` where the scene has none (an empty tuple means: annotated, nothing
            there).
        meta_path: the meta file it was read from; of a recording's frame, the recording's and below it the time, which
            is no file.
        timestamp_us: recording time in microseconds, or ``None``.
        bicycle_racks: areas in which nuScenes' metric counts no bicycle or motorcycle.
        lidar_to_ego: (4, 4) float64, or ``None`` where the scene does not say.
        ego_to_global: (4, 4) float64 at the LiDAR's time, or ``None`` where the scene does not say.
        sha256: of what a recording says of the frame, its images' times and sizes; ``None``: the meta file says it.
    """

    index: int
    images: tuple[ImageRef, ...]
    lidar_to_image: NDArray[np.float64]
    can_bus_absolute: NDArray[np.float64]
    gt_boxes: tuple[GroundTruthBox, ...] | None
    meta_path: Path
    timestamp_us: int | None = None
    sample_token: str | None = None
    bicycle_racks: tuple[GroundTruthBox, ...] = ()
    lidar_to_ego: NDArray[np.float64] | None = None
    ego_to_global: NDArray[np.float64] | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Scene:
    """A recording: frames in time order; the first has no prev_bev state."""

    name: str
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class FrameInputs:
    """What the network is fed for a frame, but for ``prev_bev``.

    Attributes:
        img: (1, cameras, 3, H, W) padded: float32, normalised, or in the type that the model itself takes.
        can_bus: (1, 18) float32, delta form.
        lidar2img: (1, cameras, 4, 4) float32.
        source: the scene's and the frame's file, to name in errors.
    """

    img: NDArray[Any]
    can_bus: NDArray[np.float32]
    lidar2img: NDArray[np.float32]
    source: str = "the frame"
