"""How many cameras may see one BEV query of a graph that samples visible cameras only; carried by the graph."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.config.section import Section, metadata_section
from bevformer_lib.errors import CameraCalibrationError, ConfigError

CAPACITY_KEY: Final = "bevformer.camera_capacity"
"""Key of a graph's metadata under which its capacity stands, as JSON."""

MAX_PILLAR_POINTS: Final = 256
"""Far above what models have (published ones: 4), and the points of every cell still fit into memory."""


@dataclass(frozen=True)
class PillarGrid:
    """What decides which pillars a camera sees.

    Attributes:
        bev_h: BEV rows (along y, forward).
        bev_w: BEV columns (along x, right).
        pc_range: where the pillars stand, m: x_min, y_min, z_min, x_max, y_max, z_max in the LiDAR frame.
        pillar_points: anchors per pillar.
        image_hw: padded image size (height, width) in pixels.
    """

    bev_h: int
    bev_w: int
    pc_range: tuple[float, float, float, float, float, float]
    pillar_points: int
    image_hw: tuple[int, int]

    @classmethod
    def of(cls, config: ModelConfig) -> PillarGrid:
        """Return the pillars of a model."""
        encoder = config.encoder
        return cls(config.bev_h, config.bev_w, encoder.pc_range, encoder.pillar_points, config.image_hw)

    @classmethod
    def read(cls, section: Section) -> PillarGrid:
        """Return the pillars that a section of a config holds.

        Raises:
            ConfigError: a key is missing, has the wrong type, or holds what no model has.
        """
        pillar_points = section.positive_int("pillar_points")
        if pillar_points > MAX_PILLAR_POINTS:
            raise section.error("pillar_points", f"is {pillar_points}; no model has more than {MAX_PILLAR_POINTS}")
        image_hw = section.integers("image_hw")
        if len(image_hw) != 2 or min(image_hw) < 1:
            raise section.error("image_hw", "must be a height and a width in pixels")
        return cls(
            bev_h=section.positive_int("bev_h"),
            bev_w=section.positive_int("bev_w"),
            pc_range=section.box_range("pc_range"),
            pillar_points=pillar_points,
            image_hw=(image_hw[0], image_hw[1]),
        )


@dataclass(frozen=True)
class CameraCapacity:
    """Camera capacity of a graph with visible-camera attention.

    Attributes:
        cameras_per_query: cameras that may see a cell; a cell seen by more would lose some.
    """

    cameras_per_query: int
    grid: PillarGrid

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"cameras_per_query": self.cameras_per_query, **dataclasses.asdict(self.grid)}

    @classmethod
    def read(cls, section: Section) -> CameraCapacity:
        """Return the capacity that a section of a config holds.

        Raises:
            ConfigError: a key is missing, has the wrong type, or holds what no model has.
        """
        return cls(section.positive_int("cameras_per_query"), PillarGrid.read(section))

    def to_metadata(self) -> dict[str, str]:
        """Return the entry of a graph's metadata."""
        return {CAPACITY_KEY: json.dumps(self.to_dict(), sort_keys=True)}

    @classmethod
    def from_metadata(cls, properties: Mapping[str, str], *, source: str) -> CameraCapacity | None:
        """Return the capacity that a graph's metadata holds; ``None``: it samples all cameras for all cells.

        Raises:
            CameraCalibrationError: the entry is damaged.
        """
        try:
            section = metadata_section(properties, CAPACITY_KEY, source=source)
            return None if section is None else cls.read(section)
        except ConfigError as error:
            raise CameraCalibrationError(f"{error}; export it again") from None
