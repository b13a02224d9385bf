"""What a synthetic scene consists of, and where everything is at a given moment."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.scenes.types import GroundTruthBox
from bevformer_lib.synthetic_scenes.drive import EgoDrive, EgoState
from bevformer_lib.synthetic_scenes.ground import Ground
from bevformer_lib.synthetic_scenes.mesh import Mesh
from bevformer_lib.synthetic_scenes.path import Path
from bevformer_lib.synthetic_scenes.sky import Weather

_VELOCITY_STEP_S: Final = 0.05
_STANDING_MPS: Final = 0.2


@dataclass(frozen=True)
class ObjectPose:
    """Where an object stands on the ground, world frame.

    Attributes:
        xy_m: bottom centre.
        yaw_rad: direction of its length axis, not wrapped.
        velocity_mps: (vx, vy).
        moved_m: way covered since the scene's first moment, negative before.
    """

    xy_m: tuple[float, float]
    yaw_rad: float
    velocity_mps: tuple[float, float]
    moved_m: float


@dataclass(frozen=True)
class Motion:
    """Motion in street coordinates, linear between the given moments and standing outside them.

    Attributes:
        time_s: (n,) increasing.
        arc_m: (n,) arc length along the street.
        offset_m: (n,) offset to the left.
        turned_rad: direction of the object against that of the street.
    """

    time_s: NDArray[np.float64]
    arc_m: NDArray[np.float64]
    offset_m: NDArray[np.float64]
    turned_rad: float

    def pose_at(self, time_s: float, path: Path) -> ObjectPose:
        """Return pose and velocity; the velocity is the central difference of the positions."""
        before = self._xy_at(time_s - _VELOCITY_STEP_S, path)
        after = self._xy_at(time_s + _VELOCITY_STEP_S, path)
        arc, offset = self._coordinates_at(time_s)
        first_arc, first_offset = self._coordinates_at(0.0)
        return ObjectPose(
            xy_m=path.point_at(arc, offset),
            yaw_rad=path.yaw_at(arc) + self.turned_rad,
            velocity_mps=(
                (after[0] - before[0]) / (2 * _VELOCITY_STEP_S),
                (after[1] - before[1]) / (2 * _VELOCITY_STEP_S),
            ),
            moved_m=math.copysign(math.hypot(arc - first_arc, offset - first_offset), time_s),
        )

    def _coordinates_at(self, time_s: float) -> tuple[float, float]:
        return (
            float(np.interp(time_s, self.time_s, self.arc_m)),
            float(np.interp(time_s, self.time_s, self.offset_m)),
        )

    def _xy_at(self, time_s: float, path: Path) -> tuple[float, float]:
        return path.point_at(*self._coordinates_at(time_s))


@dataclass(frozen=True)
class Actor:
    """An object with a box.

    Attributes:
        category: detection class name.
        size_wlh_m: width, length, height of its box.
        body: its mesh in the object frame, given the way it has moved (people's legs).
        left_alone: a vehicle or cycle that its driver has left.
    """

    category: str
    size_wlh_m: tuple[float, float, float]
    motion: Motion
    body: Callable[[float], Mesh]
    left_alone: bool = False

    def attribute(self, speed_mps: float) -> str | None:
        """Return nuScenes' attribute at a speed; ``None`` for what has none (barriers, traffic cones)."""
        moves = speed_mps > _STANDING_MPS
        if self.category in ("barrier", "traffic_cone"):
            return None
        if self.category in ("bicycle", "motorcycle"):
            return "cycle.without_rider" if self.left_alone else "cycle.with_rider"
        if self.category == "pedestrian":
            return "pedestrian.moving" if moves else "pedestrian.standing"
        return "vehicle.moving" if moves else "vehicle.parked" if self.left_alone else "vehicle.stopped"


@dataclass(frozen=True)
class Prop:
    """Something without a box that never moves: a building, a tree, a lamp post.

    Attributes:
        xy_m: bottom centre, world frame.
        footprint_m: (n, 2) convex outline of what throws its shadow, world frame.
        mesh: in the world frame.
    """

    xy_m: tuple[float, float]
    footprint_m: NDArray[np.float64]
    height_m: float
    mesh: Mesh


@dataclass(frozen=True)
class World:
    """A scene without cameras.

    Attributes:
        seed: seeds what is random about its images.
        ego: the car that carries the cameras.
        actors: objects with boxes.
        props: the rest.
    """

    name: str
    seed: int
    ego: EgoDrive
    ground: Ground
    weather: Weather
    actors: tuple[Actor, ...]
    props: tuple[Prop, ...]


def box_in_lidar_frame(
    actor: Actor, pose: ObjectPose, ego: EgoState, lidar_to_ego: NDArray[np.float64]
) -> GroundTruthBox:
    """Return an actor's box in the LiDAR frame; its velocity is that over ground, along the LiDAR's axes."""
    width, length, height = actor.size_wlh_m
    cos, sin = math.cos(ego.yaw_rad), math.sin(ego.yaw_rad)
    world_to_ego = np.array([[cos, sin], [-sin, cos]])
    offset = world_to_ego @ (np.array(pose.xy_m) - np.array(ego.xy_m))
    ego_to_lidar = np.linalg.inv(lidar_to_ego)
    center = ego_to_lidar @ np.array([*offset, height / 2, 1.0])
    velocity = ego_to_lidar[:2, :2] @ world_to_ego @ np.array(pose.velocity_mps)
    lidar_yaw_in_ego = math.atan2(lidar_to_ego[1, 0], lidar_to_ego[0, 0])
    yaw = pose.yaw_rad - ego.yaw_rad - lidar_yaw_in_ego
    return GroundTruthBox(
        category=actor.category,
        center_m=(float(center[0]), float(center[1]), float(center[2])),
        size_wlh_m=(width, length, height),
        yaw_rad=math.remainder(yaw, 2 * math.pi),
        velocity_mps=(float(velocity[0]), float(velocity[1])),
        attribute=actor.attribute(math.hypot(*pose.velocity_mps)),
    )


def footprint_of(
    size_wlh_m: tuple[float, float, float], xy_m: tuple[float, float], yaw_rad: float
) -> NDArray[np.float64]:
    """Return the (4, 2) corners of a box on the ground, counter-clockwise, world frame."""
    width, length, _ = size_wlh_m
    corners = np.array([[-length, -width], [length, -width], [length, width], [-length, width]]) / 2
    cos, sin = math.cos(yaw_rad), math.sin(yaw_rad)
    return np.asarray(corners @ np.array([[cos, sin], [-sin, cos]]) + np.array(xy_m))
