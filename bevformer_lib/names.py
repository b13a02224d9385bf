"""Names and sizes that the published formats and the graph's interface fix, once.

Sources: the scene folders, quantization data and calibration archives of the model's vendor (AXERA-TECH/bevformer),
and the original BEVFormer's nuScenes data set.
"""

from __future__ import annotations

from typing import Final

CAMERA_ORDER: Final = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_FRONT_LEFT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_BACK_RIGHT",
)
"""Order of the cameras in every stored and computed tensor."""


def camera_names(num_cams: int) -> tuple[str, ...]:
    """Return the names of a model's cameras: nuScenes' for six, numbers for others."""
    return CAMERA_ORDER if num_cams == len(CAMERA_ORDER) else tuple(f"CAM_{number}" for number in range(num_cams))


CAN_BUS_SIZE: Final = 18
"""Length of the ``can_bus`` vector."""
CAN_BUS_POSITION: Final = slice(0, 3)
"""Ego position in the global frame, m (absolute form), or its change since the last frame (delta form)."""
CAN_BUS_YAW_RAD: Final = 16
"""Ego yaw in radians, in [0, 2 pi); absolute in both forms."""
CAN_BUS_YAW_DEG: Final = 17
"""Ego yaw in degrees (absolute form), or its change since the last frame in (-180, 180] (delta form)."""

INPUT_IMG: Final = "img"
INPUT_CAN_BUS: Final = "can_bus"
INPUT_LIDAR2IMG: Final = "lidar2img"
INPUT_PREV_BEV: Final = "prev_bev"
INPUT_NAMES: Final = (INPUT_IMG, INPUT_CAN_BUS, INPUT_LIDAR2IMG, INPUT_PREV_BEV)
"""Inputs of the exported graph, in order."""

OUTPUT_BEV_EMBED: Final = "bev_embed"
OUTPUT_CLASSES: Final = "outputs_classes"
OUTPUT_COORDS: Final = "outputs_coords"
OUTPUT_NAMES: Final = (OUTPUT_BEV_EMBED, OUTPUT_CLASSES, OUTPUT_COORDS)
"""Outputs of the exported graph, in order."""

INPUT_REFERENCE_POINTS: Final = "reference_points"
INPUT_CAMERA_WEIGHTS: Final = "camera_weights"
INPUT_CAMERA_ROWS: Final = "camera_rows"
INPUT_HISTORY_GRID: Final = "history_grid"
INPUT_ROTATION_GRID: Final = "rotation_grid"
HOST_GEOMETRY_INPUTS: Final = (
    INPUT_IMG,
    INPUT_CAN_BUS,
    INPUT_REFERENCE_POINTS,
    INPUT_CAMERA_WEIGHTS,
    INPUT_CAMERA_ROWS,
    INPUT_HISTORY_GRID,
    INPUT_ROTATION_GRID,
    INPUT_PREV_BEV,
)
"""Inputs of a graph whose geometry the host computes, in order; a model has those that it needs, see
:class:`bevformer_lib.geometry.host.HostGeometry`."""

OUTPUT_REFERENCES: Final = "outputs_references"
OUTPUT_OFFSETS: Final = "outputs_offsets"
OUTPUT_SIZES: Final = "outputs_sizes"
OUTPUT_YAWS: Final = "outputs_yaws"
OUTPUT_VELOCITIES: Final = "outputs_velocities"
HOST_GEOMETRY_OUTPUTS: Final = (
    OUTPUT_BEV_EMBED,
    OUTPUT_CLASSES,
    OUTPUT_REFERENCES,
    OUTPUT_OFFSETS,
    OUTPUT_SIZES,
    OUTPUT_YAWS,
    OUTPUT_VELOCITIES,
)
"""Outputs of such a graph, in order; the host joins the last five to ``outputs_coords``."""
