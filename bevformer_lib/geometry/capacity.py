"""How many cameras a graph's BEV cells have room for, carried by the graph, and the proof that a rig fits into it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.section import Section
from bevformer_lib.errors import ConfigError, RigError
from bevformer_lib.geometry.pillars import PillarGrid, cameras_per_cell, pillar_points_lidar_m

CAPACITY_KEY: Final = "bevformer.camera_capacity"
"""Key of a graph's metadata under which its capacity stands, as JSON."""

MAX_PILLAR_POINTS: Final = 256
"""Far above what models have (published ones: 4), and the points of every cell still fit into memory."""

_ROUNDING_MARGIN: Final = 1e-4
"""Part of the picture: host and graph may round a point on a picture's edge to different sides."""


@dataclass(frozen=True)
class CameraCapacity:
    """What a graph that samples only the cameras that see a cell has room for.

    Attributes:
        cameras_per_cell: cameras that may see a cell; a cell seen by more would lose some.
        grid: the pillars of its cells.
    """

    cameras_per_cell: int
    grid: PillarGrid

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"cameras_per_cell": self.cameras_per_cell, **dataclasses.asdict(self.grid)}

    @classmethod
    def read(cls, section: Section) -> CameraCapacity:
        """Return the capacity that a section of a config holds.

        Raises:
            ConfigError: a key is missing, has the wrong type, or holds what no model has.
        """
        pillar_points = section.positive_int("pillar_points")
        if pillar_points > MAX_PILLAR_POINTS:
            raise section.error("pillar_points", f"is {pillar_points}; no model has more than {MAX_PILLAR_POINTS}")
        image_hw = section.integers("image_hw")
        if len(image_hw) != 2 or min(image_hw) < 1:
            raise section.error("image_hw", "must be a height and a width in pixels")
        grid = PillarGrid(
            bev_h=section.positive_int("bev_h"),
            bev_w=section.positive_int("bev_w"),
            pc_range=section.box_range("pc_range"),
            pillar_points=pillar_points,
            image_hw=(image_hw[0], image_hw[1]),
        )
        return cls(section.positive_int("cameras_per_cell"), grid)

    def to_metadata(self) -> dict[str, str]:
        """Return the entry of a graph's metadata."""
        return {CAPACITY_KEY: json.dumps(self.to_dict(), sort_keys=True)}

    @classmethod
    def from_metadata(cls, properties: Mapping[str, str], *, source: str) -> CameraCapacity | None:
        """Return the capacity that a graph's metadata holds; ``None``: it samples all cameras for all cells.

        Args:
            properties: the metadata, key -> value.
            source: where it was read, for the message.

        Raises:
            RigError: the entry is damaged.
        """
        text = properties.get(CAPACITY_KEY)
        if text is None:
            return None
        damaged = f"{source}: its metadata entry {CAPACITY_KEY} is damaged"
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RigError(f"{damaged} ({error}); export it again") from None
        if not isinstance(content, dict):
            raise RigError(f"{damaged} (it is no JSON object); export it again")
        try:
            return cls.read(Section(content, damaged))
        except ConfigError as error:
            raise RigError(f"{error}; export it again") from None


class RigProof:
    """Proves of every frame that no cell is seen by more cameras than the graph has room for.

    A rig that was proven stays proven: only frames with another calibration cost time (6 cameras of Base: about
    a twentieth of a second).
    """

    def __init__(self, capacity: CameraCapacity) -> None:
        self._capacity = capacity
        self._points = pillar_points_lidar_m(capacity.grid)
        self._proven: bytes | None = None

    def require(self, lidar_to_image: NDArray[np.float32], *, frame: str) -> None:
        """Prove a frame.

        Args:
            lidar_to_image: (cameras, 4, 4), as the graph is fed.
            frame: which frame it is, for the message.

        Raises:
            RigError: a cell is seen by more cameras.
        """
        rig = lidar_to_image.tobytes()
        if rig == self._proven:
            return
        room = self._capacity.cameras_per_cell
        counts = cameras_per_cell(self._capacity.grid, lidar_to_image, margin=_ROUNDING_MARGIN, points=self._points)
        if counts.max() > room:
            raise RigError(
                f"{frame}: its cameras show {int((counts > room).sum())} of {len(counts)} BEV cells to more cameras "
                f"({counts.max()}) than the model has room for ({room} per cell), so some would be dropped; check the "
                f"frame's lidar2img, or export the model again with --cameras-per-cell {counts.max()} (or --spatial "
                "dense)"
            )
        self._proven = rig
