"""What the host has to know to compute the geometry of a graph that computes none; carried by the graph."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from bevformer_lib.config.camera_capacity import PillarGrid
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.config.section import Section, metadata_section
from bevformer_lib.errors import ConfigError

GeometryForm: TypeAlias = Literal["graph", "host"]
"""Who computes sampling locations, visibility and ego motion: the graph itself, or the host before every frame."""

MAX_REACH_IMAGES: Final = 4.0
"""The furthest that a reference point lies outside an image, also in graphs that compute their geometry."""

HOST_GEOMETRY_KEY: Final = "bevformer.host_geometry"
"""Key of a graph's metadata under which it stands, as JSON."""

DEFAULT_GEOMETRY: Final[GeometryForm] = "host"
"""The default form of graphs, for every chip: all have the integer arithmetic that blurs a projection, whose values
span 1e-5 to 1e5."""


@dataclass(frozen=True)
class HostGeometryConfig:
    """The facts of a model whose geometry the host computes.

    Attributes:
        cameras_per_query: cameras that a cell is sampled in; ``None``: in all of them.
        box_range: range of the detection head, m, LiDAR frame: minima of x, y, z, then maxima.
        rotate_center: (x, y) in cells about which ``prev_bev`` is rotated; ``None``: it is not.
        use_shift: whether ``prev_bev`` follows the car's translation.
        use_can_bus: whether the network reads ``can_bus``.
        reach_images: reference points further outside an image than so many images are moved there: the sampling
            offsets don't reach further.
    """

    grid: PillarGrid
    num_cams: int
    cameras_per_query: int | None
    box_range: tuple[float, float, float, float, float, float]
    rotate_center: tuple[float, float] | None
    use_shift: bool
    use_can_bus: bool
    reach_images: float

    @classmethod
    def of(
        cls, config: ModelConfig, cameras_per_query: int | None, *, reach_images: float = MAX_REACH_IMAGES
    ) -> HostGeometryConfig:
        """Return the facts of a model, with the cameras per query of its graph (``None``: all)."""
        return cls(
            grid=PillarGrid.of(config),
            num_cams=config.num_cams,
            cameras_per_query=cameras_per_query,
            box_range=config.pc_range,
            rotate_center=config.rotate_center if config.rotate_prev_bev else None,
            use_shift=config.use_shift,
            use_can_bus=config.use_can_bus,
            reach_images=reach_images,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        facts = dataclasses.asdict(self)
        return {**facts.pop("grid"), **{key: value for key, value in facts.items() if value is not None}}

    def to_metadata(self) -> dict[str, str]:
        """Return the entry of a graph's metadata."""
        return {HOST_GEOMETRY_KEY: json.dumps(self.to_dict(), sort_keys=True)}

    @classmethod
    def read(cls, section: Section) -> HostGeometryConfig:
        """Return the facts that a section of a config holds.

        Raises:
            ConfigError: a key is missing, has the wrong type, or holds what no model has.
        """
        center = section.numbers("rotate_center", 2) if "rotate_center" in section else None
        return cls(
            grid=PillarGrid.read(section),
            num_cams=section.positive_int("num_cams"),
            cameras_per_query=section.positive_int("cameras_per_query") if "cameras_per_query" in section else None,
            box_range=section.box_range("box_range"),
            rotate_center=None if center is None else (center[0], center[1]),
            use_shift=section.boolean("use_shift"),
            use_can_bus=section.boolean("use_can_bus"),
            reach_images=section.number("reach_images"),
        )

    @classmethod
    def from_metadata(cls, properties: Mapping[str, str], *, source: str) -> HostGeometryConfig | None:
        """Return the facts that a graph's metadata holds; ``None``: it computes its geometry itself.

        Raises:
            ConfigError: the entry is damaged.
        """
        try:
            section = metadata_section(properties, HOST_GEOMETRY_KEY, source=source)
            return None if section is None else cls.read(section)
        except ConfigError as error:
            raise ConfigError(f"{error}; export it again") from None
