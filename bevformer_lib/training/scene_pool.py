"""Scenes as arrays on disk or in shared memory: written by many processes, mapped by those that train.

A scene is two files: its images, which are mapped, and the rest, which is written last, so that a scene either is whole
or isn't there, whatever was killed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.files import atomic_path
from bevformer_lib.scenes.types import GroundTruthBox
from bevformer_lib.training.box_code import encode_boxes

UNKNOWN_CLASS: Final = 255
"""Class of a pixel that the auxiliary losses leave out."""

_IMAGES, _REST = ".images.npy", ".npz"


@dataclass(frozen=True)
class PoolRecipe:
    """What the arrays of every scene of a pool are made for.

    Attributes:
        image_scale: factor from the camera's own image to the unpadded one.
        pc_range: x and y range of the boxes, m.
        map_stride: pixels of the image per pixel of the class and distance maps, each way.
    """

    num_cams: int
    image_hw: tuple[int, int]
    image_scale: float
    class_names: tuple[str, ...]
    pc_range: tuple[float, float, float, float, float, float]
    map_stride: int
    frames_per_scene: int

    @classmethod
    def of(cls, config: ModelConfig, frames_per_scene: int) -> PoolRecipe:
        """Return what a model needs; its maps have the stride of its finest image features."""
        return cls(
            num_cams=config.num_cams,
            image_hw=config.image_hw,
            image_scale=config.image_scale,
            class_names=config.class_names,
            pc_range=config.pc_range,
            map_stride=4 * 2 ** config.backbone.out_indices[0],
            frames_per_scene=frames_per_scene,
        )

    @property
    def map_hw(self) -> tuple[int, int]:
        """Height and width of the maps, of the padded image."""
        return self.image_hw[0] // self.map_stride, self.image_hw[1] // self.map_stride


@dataclass(frozen=True)
class SceneArrays:
    """A scene.

    Attributes:
        images: (frames, cameras, h, w, 3) uint8 BGR, unpadded or padded.
        lidar_to_image: (frames, cameras, 4, 4) float32; LiDAR frame (m) to homogeneous pixels.
        can_bus_absolute: (frames, 18) float64.
        boxes: (all boxes, 10) float32, see :mod:`bevformer_lib.training.box_code`.
        labels: (all boxes,) int64.
        box_ends: (frames,) int64: boxes ``box_ends[k - 1] : box_ends[k]`` belong to frame k.
        class_map: (frames, cameras, map h, map w) uint8: class, number of classes for none, or ``UNKNOWN_CLASS``.
        log_distance: like it, float16: logarithm of the metres from the LiDAR to the object's centre; 0 without one.
    """

    images: NDArray[np.uint8]
    lidar_to_image: NDArray[np.float32]
    can_bus_absolute: NDArray[np.float64]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    box_ends: NDArray[np.int64]
    class_map: NDArray[np.uint8]
    log_distance: NDArray[np.float16]

    @property
    def num_frames(self) -> int:
        """Frames of the scene."""
        return len(self.box_ends)

    def boxes_of(self, frame: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the boxes (n, 10) and labels (n,) of a frame."""
        first = int(self.box_ends[frame - 1]) if frame else 0
        last = int(self.box_ends[frame])
        return self.boxes[first:last], self.labels[first:last]


class ScenePool:
    """The scenes of a folder, by number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read = lru_cache(maxsize=2048)(self._read_scene)

    def numbers(self) -> list[int]:
        """Return the numbers of the scenes that are whole now, sorted."""
        return sorted(int(path.name.removesuffix(_REST)) for path in self.folder.glob(f"[0-9]*{_REST}"))

    def holds(self, number: int) -> bool:
        """Whether a scene is whole."""
        return self._path(number, _REST).is_file()

    def read(self, number: int) -> SceneArrays:
        """Return a scene; its images are mapped, not read."""
        return self._read(number)

    def write(self, number: int, scene: SceneArrays) -> None:
        """Add a scene."""
        with atomic_path(self._path(number, _IMAGES)) as temporary, temporary.open("wb") as file:
            np.save(file, scene.images)
        rest = {name: value for name, value in vars(scene).items() if name != "images"}
        with atomic_path(self._path(number, _REST)) as temporary, temporary.open("wb") as file:
            np.savez(file, **rest)

    def _read_scene(self, number: int) -> SceneArrays:
        images = np.load(self._path(number, _IMAGES), mmap_mode="r")
        with np.load(self._path(number, _REST)) as rest:
            return SceneArrays(images=images, **{name: rest[name] for name in rest.files})

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number:08d}{suffix}"


def frame_boxes(boxes: tuple[GroundTruthBox, ...], recipe: PoolRecipe) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return codes (n, 10) and labels (n,) of the boxes that the detection head can reach and name."""
    x_min, y_min, _, x_max, y_max, _ = recipe.pc_range
    kept = [
        box
        for box in boxes
        if box.category in recipe.class_names
        and box.num_lidar_pts != 0
        and x_min <= box.center_m[0] <= x_max
        and y_min <= box.center_m[1] <= y_max
    ]
    labels = np.array([recipe.class_names.index(box.category) for box in kept], dtype=np.int64)
    return encode_boxes(kept), labels
