"""From a world and its cameras to images, with the number of the object that each pixel shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.synthetic_scenes.cameras import SENSOR_HW, Camera, image_size_hw, pose_matrix
from bevformer_lib.synthetic_scenes.drive import EgoState
from bevformer_lib.synthetic_scenes.ground import MAP_LEVELS, GroundMap
from bevformer_lib.synthetic_scenes.mesh import Mesh, box, merged, placed
from bevformer_lib.synthetic_scenes.rasterize import draw_faces
from bevformer_lib.synthetic_scenes.sensor import Sensor
from bevformer_lib.synthetic_scenes.shadows import draw_shadows, shadow_outline
from bevformer_lib.synthetic_scenes.sky import (
    MAX_ELEVATION_RAD,
    PIXELS_PER_RAD,
    Weather,
    panorama,
    sky_in_view,
)
from bevformer_lib.synthetic_scenes.traffic import EGO_CENTER_AHEAD_M, EGO_SIZE_WLH_M
from bevformer_lib.synthetic_scenes.world import ObjectPose, World, footprint_of

NO_OBJECT: Final = -1
"""Object number of a pixel that shows ground, sky or something without a box."""

REFERENCE_SCALE: Final = 0.25
"""Scale of the cameras' own images at which it is counted how much of an object is seen."""

_SAMPLES: Final = 2
_BOX_REACH_M: Final = 60.0
_LAMPS_AHEAD_M: Final = 3.6
_BEAM_M: Final = 22.0
_ACTOR_REACH_M: Final = 110.0
_PROP_REACH_M: Final = 170.0
_MIN_DROP: Final = 1e-3
_FARTHEST: Final = np.float32(1e-4)
_SHADE_DEPTH: Final = 0.78


@dataclass(frozen=True)
class RenderedFrame:
    """One moment of a world.

    Attributes:
        ego: state of the car.
        poses: one per actor of the world.
        images: one (H, W, 3) uint8 BGR image per camera, without padding.
        objects: one (H, W) int32 map per camera: index of the actor seen, or :data:`NO_OBJECT`.
        visible_px: (actors,) pixels that the box of each shows in the camera that shows most of it, at
            :data:`REFERENCE_SCALE` of the cameras' own size, whatever the size of the images.
        lidar_to_ego: (4, 4) pose of the car's LiDAR.
    """

    ego: EgoState
    poses: tuple[ObjectPose, ...]
    images: tuple[NDArray[np.uint8], ...]
    objects: tuple[NDArray[np.int32], ...]
    visible_px: NDArray[np.int64]
    lidar_to_ego: NDArray[np.float64]


@dataclass(frozen=True)
class _View:
    """What of a camera's rays doesn't change from frame to frame.

    Attributes:
        horizon_row: rows from here on may show ground.
        ground_xy_m: (h, w, 2) float32 where the rays of these rows meet the ground, ego frame.
        ground_depth_m: (h, w) float32 their depth; huge where a ray goes up.
        level_weights: one (h, w) float32 per map level.
        sky_rows: rows up to here may show sky.
        azimuth_px: (sky_rows, w) float32, for the panorama.
        elevation_px: (sky_rows, w) float32.
    """

    horizon_row: int
    ground_xy_m: NDArray[np.float32]
    ground_depth_m: NDArray[np.float32]
    level_weights: tuple[NDArray[np.float32], ...]
    sky_rows: int
    azimuth_px: NDArray[np.float32]
    elevation_px: NDArray[np.float32]


@dataclass(frozen=True)
class _Solids:
    """All quads near the car, world frame, with lit colours and the actor each belongs to."""

    mesh: Mesh
    bgra: NDArray[np.uint8]
    owner: NDArray[np.int32]


class Renderer:
    """Renders one world with one set of cameras."""

    def __init__(self, world: World, cameras: tuple[Camera, ...]) -> None:
        self._world = world
        self._cameras = cameras
        self._views = tuple(_view(camera) for camera in cameras)
        self._sky = panorama(world.weather, world.seed)
        self._sensor = Sensor(cameras[0].image_hw, world.seed, noise=world.weather.noise, rain=world.weather.rain)

    def render(self, time_s: float, frame_number: int) -> RenderedFrame:
        """Return what the cameras see.

        Args:
            time_s: the moment.
            frame_number: chooses the cameras' noise.
        """
        world = self._world
        ego = world.ego.state_at(time_s)
        poses = tuple(actor.motion.pose_at(time_s, world.ego.path) for actor in world.actors)
        solids = self._solids(ego, poses)
        blocks = self._blocks(ego, poses)
        shadows = self._shadows(ego, poses)
        maps = world.ground.maps_around(ego.xy_m)
        images, objects = [], []
        visible = np.zeros(len(world.actors), dtype=np.int64)
        for index, (camera, view) in enumerate(zip(self._cameras, self._views, strict=True)):
            world_to_camera = camera.ego_to_camera @ np.linalg.inv(pose_matrix((*ego.xy_m, 0.0), ego.yaw_rad))
            backdrop = self._backdrop(camera, view, ego, maps, [_moved(line, world_to_camera) for line in shadows])
            image, seen = _with_solids(backdrop, camera, solids, world_to_camera, world.weather)
            visible = np.maximum(visible, _visible_px(camera, blocks, world_to_camera, len(world.actors)))
            images.append(self._sensor.expose(image, camera_number=index, frame_number=frame_number))
            objects.append(seen)
        return RenderedFrame(ego, poses, tuple(images), tuple(objects), visible, self._cameras[0].lidar_to_ego)

    def _solids(self, ego: EgoState, poses: tuple[ObjectPose, ...]) -> _Solids:
        meshes, owners = [], []
        for number, (actor, pose) in enumerate(zip(self._world.actors, poses, strict=True)):
            if math.dist(pose.xy_m, ego.xy_m) < _ACTOR_REACH_M:
                meshes.append(placed(actor.body(pose.moved_m), pose.xy_m, pose.yaw_rad))
                owners.append(np.full(len(meshes[-1].colors), number, dtype=np.int32))
        for prop in self._world.props:
            if math.dist(prop.xy_m, ego.xy_m) < _PROP_REACH_M:
                meshes.append(prop.mesh)
                owners.append(np.full(len(prop.mesh.colors), NO_OBJECT, dtype=np.int32))
        mesh = merged(meshes)
        owner = np.concatenate(owners) if owners else np.zeros(0, dtype=np.int32)
        return _Solids(mesh, _lit(mesh, self._world.weather, ego), owner)

    def _blocks(self, ego: EgoState, poses: tuple[ObjectPose, ...]) -> tuple[Mesh, NDArray[np.int32]]:
        """Return actors as their boxes and props without paint, near the car, and the actor of each face."""
        meshes, owners = [], []
        for number, (actor, pose) in enumerate(zip(self._world.actors, poses, strict=True)):
            if math.dist(pose.xy_m, ego.xy_m) < _BOX_REACH_M:
                width, length, height = (size / 2 for size in actor.size_wlh_m)
                body = box((-length, length), (-width, width), (0.0, 2 * height), (0.0, 0.0, 0.0))
                meshes.append(placed(body, pose.xy_m, pose.yaw_rad))
                owners.append(np.full(len(meshes[-1].colors), number, dtype=np.int32))
        for prop in self._world.props:
            if math.dist(prop.xy_m, ego.xy_m) < _BOX_REACH_M:
                plain = prop.mesh.layer == 0
                meshes.append(Mesh(prop.mesh.quads_m[plain], prop.mesh.colors[plain], prop.mesh.layer[plain]))
                owners.append(np.full(len(meshes[-1].colors), NO_OBJECT, dtype=np.int32))
        return merged(meshes), np.concatenate([*owners, np.array([NO_OBJECT], dtype=np.int32)])

    def _shadows(self, ego: EgoState, poses: tuple[ObjectPose, ...]) -> list[NDArray[np.float64]]:
        """Return the outlines of all shadows near the car, world frame."""
        to_sun = self._world.weather.to_sun
        middle = (
            ego.xy_m[0] + EGO_CENTER_AHEAD_M * math.cos(ego.yaw_rad),
            ego.xy_m[1] + EGO_CENTER_AHEAD_M * math.sin(ego.yaw_rad),
        )
        boxes = [(EGO_SIZE_WLH_M, middle, ego.yaw_rad)]
        boxes += [
            (actor.size_wlh_m, pose.xy_m, pose.yaw_rad)
            for actor, pose in zip(self._world.actors, poses, strict=True)
            if math.dist(pose.xy_m, ego.xy_m) < _ACTOR_REACH_M
        ]
        outlines = [
            shadow_outline(footprint_of(size, xy, yaw), _SHADE_DEPTH * size[2], to_sun) for size, xy, yaw in boxes
        ]
        outlines += [
            shadow_outline(prop.footprint_m, prop.height_m, to_sun)
            for prop in self._world.props
            if math.dist(prop.xy_m, ego.xy_m) < _ACTOR_REACH_M
        ]
        return outlines

    def _backdrop(
        self,
        camera: Camera,
        view: _View,
        ego: EgoState,
        maps: tuple[GroundMap, ...],
        shadows_camera_m: list[NDArray[np.float64]],
    ) -> NDArray[np.float32]:
        """Return sky and ground (H, W, 3) float32, 0..255."""
        height, width = camera.image_hw
        image = np.zeros((height, width, 3), dtype=np.float32)
        image[: view.sky_rows] = sky_in_view(self._sky, view.azimuth_px, view.elevation_px, ego.yaw_rad)
        weather = self._world.weather
        shade = draw_shadows(shadows_camera_m, camera.intrinsics, camera.image_hw)[view.horizon_row :]
        soft = cv2.blur(shade.astype(np.float32), (3, 3))
        lit = weather.ambient + weather.sun_strength * math.sin(weather.sun_elevation_rad)
        light = lit + soft * np.float32(weather.ambient * 0.82 - lit)
        if weather.headlights:
            lamps = _headlights(view.ground_xy_m[:, :, 0], view.ground_xy_m[:, :, 1])
            light = light + np.float32(weather.headlights) * lamps
        ground = _ground_in_view(view, ego, maps) * light[:, :, None]
        clear = np.exp(-view.ground_depth_m / np.float32(weather.haze_distance_m))[:, :, None]
        haze = np.array(weather.haze, dtype=np.float32) * np.float32(255.0)
        below = image[view.horizon_row :]
        meets = (view.ground_depth_m < np.float32(np.inf))[:, :, None]
        np.copyto(below, haze + (ground - haze) * clear, where=meets)
        return image


def _with_solids(
    backdrop: NDArray[np.float32],
    camera: Camera,
    solids: _Solids,
    world_to_camera: NDArray[np.float64],
    weather: Weather,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Draw all solids over a backdrop, with several samples per pixel; return the image and the actor per pixel."""
    height, width = camera.image_hw
    to_samples = np.array([[_SAMPLES, 0, (_SAMPLES - 1) / 2], [0, _SAMPLES, (_SAMPLES - 1) / 2], [0, 0, 1.0]])
    quads = solids.mesh.quads_m @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    size = (height * _SAMPLES, width * _SAMPLES)
    buffer = draw_faces(quads, solids.mesh.layer, to_samples @ camera.intrinsics, size)
    samples = np.append(solids.bgra, np.zeros((1, 4), np.uint8), axis=0).view(np.uint32)[:, 0]
    shown = np.take(samples, buffer.face).view(np.uint8).reshape(*size, 4)
    averaged = cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    inverse_depth = cv2.resize(buffer.inverse_depth, (width, height), interpolation=cv2.INTER_AREA)
    cover = averaged[:, :, 3] * np.float32(1 / 255)
    clear = np.exp(-cover / np.maximum(inverse_depth, _FARTHEST) / np.float32(weather.haze_distance_m))
    haze = np.array(weather.haze, dtype=np.float32) * np.float32(255.0)
    solid = averaged[:, :, :3] * clear[:, :, None] + haze * (cover * (1.0 - clear))[:, :, None]
    image = backdrop * (1.0 - cover)[:, :, None] + solid
    owner = np.append(solids.owner, np.int32(NO_OBJECT))
    return image.astype(np.float32, copy=False), np.take(owner, buffer.face[::_SAMPLES, ::_SAMPLES])


def _visible_px(
    camera: Camera, blocks: tuple[Mesh, NDArray[np.int32]], world_to_camera: NDArray[np.float64], num_actors: int
) -> NDArray[np.int64]:
    """Return (actors,) pixels that each actor shows at :data:`REFERENCE_SCALE`."""
    scale = REFERENCE_SCALE * SENSOR_HW[0] / camera.image_hw[0]
    size = image_size_hw(REFERENCE_SCALE)
    mesh, owners = blocks
    quads = mesh.quads_m @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    buffer = draw_faces(quads, mesh.layer, np.diag([scale, scale, 1.0]) @ camera.intrinsics, size)
    owner = owners[buffer.face]
    return np.bincount(owner[owner >= 0], minlength=num_actors)


def _headlights(forward_m: NDArray[np.float32], left_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much light of the headlights reaches a place, 0 to 1, by its position in the ego frame."""
    ahead = forward_m - np.float32(_LAMPS_AHEAD_M)
    beam = np.clip(1.2 - np.abs(left_m) / np.maximum(0.45 * ahead + 1.5, 1e-3), 0.0, 1.0)
    return np.where(ahead > 0.0, beam * np.exp(-np.maximum(ahead, 0.0) / _BEAM_M), 0.0).astype(np.float32)


def _lit(mesh: Mesh, weather: Weather, ego: EgoState) -> NDArray[np.uint8]:
    """Return (n, 4) opaque BGRA under the sun, the sky and the ego car's lamps; faces that look down get less sky."""
    diagonals = mesh.quads_m[:, 2] - mesh.quads_m[:, 0], mesh.quads_m[:, 3] - mesh.quads_m[:, 1]
    normals = np.cross(*diagonals)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    sun = weather.sun_strength * np.maximum(normals @ weather.to_sun, 0.0)
    sky = weather.ambient * (0.86 + 0.14 * normals[:, 2])
    bgra = np.full((len(mesh.colors), 4), 255, dtype=np.uint8)
    light = sun + sky
    if weather.headlights:
        cos, sin = math.cos(ego.yaw_rad), math.sin(ego.yaw_rad)
        from_ego = mesh.quads_m.mean(axis=1)[:, :2] - np.array(ego.xy_m)
        forward, left = from_ego @ np.array([cos, sin]), from_ego @ np.array([-sin, cos])
        facing = np.maximum(-(normals[:, 0] * cos + normals[:, 1] * sin), 0.15)
        light = light + weather.headlights * facing * _headlights(forward.astype(np.float32), left.astype(np.float32))
    bgra[:, :3] = np.rint(np.clip(mesh.colors * light[:, None] * 255.0, 0.0, 255.0))
    return bgra


def _ground_in_view(view: _View, ego: EgoState, maps: tuple[GroundMap, ...]) -> NDArray[np.float32]:
    """Sample the ground maps at the rays' feet; (h, w, 3) float32, 0..255, unlit."""
    cos, sin = np.float32(math.cos(ego.yaw_rad)), np.float32(math.sin(ego.yaw_rad))
    x, y = view.ground_xy_m[:, :, 0], view.ground_xy_m[:, :, 1]
    turned_x, turned_y = cos * x - sin * y, sin * x + cos * y
    ground = np.zeros((*x.shape, 3), dtype=np.float32)
    for level, weight in zip(maps, view.level_weights, strict=True):
        column = turned_x / np.float32(level.texel_m) + np.float32((ego.xy_m[0] - level.origin_m[0]) / level.texel_m)
        row = turned_y / np.float32(level.texel_m) + np.float32((ego.xy_m[1] - level.origin_m[1]) / level.texel_m)
        sampled = cv2.remap(level.bgr, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        ground += sampled * weight[:, :, None]
    return ground


def _view(camera: Camera) -> _View:
    height, width = camera.image_hw
    u, v = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    camera_to_ego = np.linalg.inv(camera.ego_to_camera)
    in_camera = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(camera.intrinsics).T
    rays = in_camera @ camera_to_ego[:3, :3].T
    drop = -rays[:, :, 2]
    horizon_row = int(np.argmax(drop.max(axis=1) > _MIN_DROP))
    below = drop[horizon_row:]
    depth = np.where(below > _MIN_DROP, camera_to_ego[2, 3] / np.maximum(below, _MIN_DROP), np.inf)
    reach = np.where(np.isfinite(depth), depth, 0.0)[:, :, None]
    ground_xy = camera_to_ego[:2, 3] + rays[horizon_row:, :, :2] * reach
    sky_rows = int(height - np.argmax(drop[::-1].min(axis=1) <= _MIN_DROP))
    up = rays[:sky_rows]
    azimuth = np.arctan2(up[:, :, 1], up[:, :, 0]) % (2 * math.pi)
    elevation = np.clip(np.arctan2(up[:, :, 2], np.hypot(up[:, :, 0], up[:, :, 1])), 0.0, MAX_ELEVATION_RAD)
    return _View(
        horizon_row=horizon_row,
        ground_xy_m=ground_xy.astype(np.float32),
        ground_depth_m=depth.astype(np.float32),
        level_weights=_level_weights(np.linalg.norm(ground_xy, axis=-1)),
        sky_rows=sky_rows,
        azimuth_px=(azimuth * PIXELS_PER_RAD).astype(np.float32),
        elevation_px=(elevation * PIXELS_PER_RAD).astype(np.float32),
    )


def _level_weights(distance_m: NDArray[np.float64]) -> tuple[NDArray[np.float32], ...]:
    """Return how much of each map level is shown at a distance from the car; they sum to 1."""
    remaining = np.ones_like(distance_m)
    weights = []
    for level in MAP_LEVELS[:-1]:
        fade = (level.gone_at_m - distance_m) / (level.gone_at_m - level.full_until_m)
        share = remaining * np.clip(fade, 0.0, 1.0)
        weights.append(share.astype(np.float32))
        remaining = remaining - share
    return (*weights, remaining.astype(np.float32))


def _moved(points_m: NDArray[np.float64], transform: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(points_m @ transform[:3, :3].T + transform[:3, 3])
