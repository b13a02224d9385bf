"""Which form of the spatial attention a graph gets, and for how many cameras per BEV cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import ExportError
from bevformer_lib.geometry.capacity import CameraCapacity
from bevformer_lib.geometry.pillars import PillarGrid, cameras_per_cell, needed_cameras_per_cell
from bevformer_lib.geometry.surround_rig import surround_cameras
from bevformer_lib.model.camera_sampling import SpatialForm

DEFAULT_CAMERAS_PER_CELL: Final = 2
"""What nuScenes' six cameras need, with all three published models, even with :data:`UNKNOWN_RIG_MARGIN`."""

UNKNOWN_RIG_MARGIN: Final = 0.2
"""Part of the picture by which every picture of a rig that nobody described is taken to be wider on each side."""


@dataclass(frozen=True)
class SpatialChoice:
    """A form of the spatial attention.

    Attributes:
        form: ``dense``: every cell in every camera; ``slots``: every cell in the cameras that see it.
        cameras_per_cell: cameras that may see a cell; of the dense form, all of them.
    """

    form: SpatialForm
    cameras_per_cell: int

    def metadata(self, config: ModelConfig) -> dict[str, str]:
        """Return what the graph has to say about it, for :class:`bevformer_lib.geometry.capacity.RigProof`."""
        if self.form == "dense":
            return {}
        return CameraCapacity(self.cameras_per_cell, PillarGrid.of(config)).to_metadata()


def choose_spatial(
    config: ModelConfig, form: SpatialForm | None = None, cameras_per_cell: int | None = None
) -> SpatialChoice:
    """Complete and check a choice.

    Args:
        config: the model.
        form: ``None``: slots where they are fewer than the cameras, else dense; docs/lean-graph.md holds the figures.
        cameras_per_cell: of the slots; ``None``: :data:`DEFAULT_CAMERAS_PER_CELL`, or more where so many cameras around
            a car need it, or all cameras if they are fewer.

    Raises:
        ExportError: the two don't go together, or the proof's rig needs more room.
    """
    if cameras_per_cell is not None and form == "dense":
        raise ExportError("the dense form samples every cell in every camera; leave out --cameras-per-cell")
    if cameras_per_cell is not None and not 1 <= cameras_per_cell <= config.num_cams:
        raise ExportError(
            f"{cameras_per_cell} cameras per cell: give a number from 1 to {config.num_cams}, the model's cameras"
        )
    slots = _default_slots(config) if cameras_per_cell is None else cameras_per_cell
    if form == "dense" or (form is None and slots == config.num_cams):
        return SpatialChoice("dense", config.num_cams)
    _require_room_for_the_proof(config, slots)
    return SpatialChoice("slots", slots)


def _default_slots(config: ModelConfig) -> int:
    rig = surround_cameras(config.num_cams, config.image_hw)
    needed = needed_cameras_per_cell(PillarGrid.of(config), [rig], margin=UNKNOWN_RIG_MARGIN)
    return min(max(DEFAULT_CAMERAS_PER_CELL, needed), config.num_cams)


def _require_room_for_the_proof(config: ModelConfig, slots: int) -> None:
    rig = surround_cameras(config.num_cams, config.image_hw)
    needed = int(cameras_per_cell(PillarGrid.of(config), rig).max())
    if needed > slots:
        raise ExportError(
            f"{config.num_cams} cameras around a car show a BEV cell to up to {needed} of them, and there is room for "
            f"{slots} per cell; export with --cameras-per-cell {needed} or more, or with --spatial dense"
        )
