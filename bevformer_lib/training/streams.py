"""Streams of frames: many scenes followed at the same time, one frame of each per step."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bevformer_lib.names import CAN_BUS_POSITION, CAN_BUS_YAW_RAD
from bevformer_lib.scenes.ego import can_bus_delta
from bevformer_lib.training.box_code import CODE_SIZE
from bevformer_lib.training.scene_pool import ScenePool

_COPY_THREADS = 4
_QUATERNION = slice(3, 7)
_STREAM_STEPS_BETWEEN_LISTINGS = 25


@dataclass(frozen=True)
class Batch:
    """One frame of every stream.

    Attributes:
        images: (streams, cameras, h, w, 3) uint8 BGR.
        can_bus: (streams, 18) float32, delta form.
        lidar2img: (streams, cameras, 4, 4) float32.
        has_history: (streams, 1, 1) float32: 0 where a scene begins, else 1.
        boxes: (streams, most boxes, 10) float32 codes, zeros after the last.
        labels: (streams, most boxes) int64, -1 after the last.
        class_map: (streams, cameras, map h, map w) uint8.
        log_distance: like it, float16.
    """

    images: Tensor
    can_bus: Tensor
    lidar2img: Tensor
    has_history: Tensor
    boxes: Tensor
    labels: Tensor
    class_map: Tensor
    log_distance: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; the copy is not waited for."""
        return Batch(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


@dataclass
class _Stream:
    rng: np.random.Generator
    scene: int
    frame: int
    heading_rad: float
    begins: bool = True


@dataclass(frozen=True)
class FramePlace:
    """A frame to show: where it is, and how.

    Attributes:
        scene: number of its scene.
        frame: number of the frame.
        begins: shown as the first of its scene.
        heading_rad: by which the world is turned in ``can_bus``.
    """

    scene: int
    frame: int
    begins: bool
    heading_rad: float = 0.0


class StreamSampler:
    """Chooses scenes at random and goes through each from start to end.

    What it does after :meth:`restart` depends on nothing but the seed, the step and the scenes that are there.
    """

    def __init__(self, pool: ScenePool, *, streams: int, seed: int, dropped_history: float, rank: int = 0) -> None:
        self._pool = pool
        self._count = streams
        self._seed = seed
        self._rank = rank
        self._dropped_history = dropped_history
        self._streams: list[_Stream] = []
        self._numbers: list[int] = []
        self._steps = 0

    def restart(self, step: int) -> None:
        """Begin all streams anew, each somewhere in a scene of its own."""
        self._numbers = self._pool.numbers()
        self._steps = 0
        self._streams = []
        for index in range(self._count):
            rng = np.random.default_rng([self._seed, self._rank, step, index])
            stream = _Stream(rng, 0, 0, 0.0)
            self._choose_scene(stream)
            stream.frame = int(rng.integers(self._pool.read(stream.scene).num_frames))
            self._streams.append(stream)

    def next_places(self) -> list[FramePlace]:
        """Return the next frame of every stream."""
        self._steps += 1
        if self._steps % _STREAM_STEPS_BETWEEN_LISTINGS == 0:
            self._numbers = self._pool.numbers()
        places = []
        for stream in self._streams:
            begins = stream.begins or bool(stream.rng.random() < self._dropped_history)
            places.append(FramePlace(stream.scene, stream.frame, begins, stream.heading_rad))
            stream.begins = False
            stream.frame += 1
            if stream.frame == self._pool.read(stream.scene).num_frames:
                self._choose_scene(stream)
        return places

    def _choose_scene(self, stream: _Stream) -> None:
        stream.scene = self._numbers[int(stream.rng.integers(len(self._numbers)))]
        stream.frame = 0
        stream.heading_rad = float(stream.rng.uniform(0.0, 2 * np.pi))
        stream.begins = True


def read_batch(pool: ScenePool, places: list[FramePlace], *, copiers: ThreadPoolExecutor | None = None) -> Batch:
    """Read frames into one batch, in pinned memory where there is a GPU."""
    pinned = torch.cuda.is_available()
    scenes = [pool.read(place.scene) for place in places]
    images = torch.empty((len(places), *scenes[0].images.shape[1:]), dtype=torch.uint8, pin_memory=pinned)
    into = images.numpy()

    def copy(index: int) -> None:
        into[index] = scenes[index].images[places[index].frame]

    for _ in (copiers.map if copiers else map)(copy, range(len(places))):
        pass
    found = [scene.boxes_of(place.frame) for scene, place in zip(scenes, places, strict=True)]
    most = max(1, *(len(labels) for _, labels in found))
    boxes = np.zeros((len(places), most, CODE_SIZE), dtype=np.float32)
    labels = np.full((len(places), most), -1, dtype=np.int64)
    for index, (frame_codes, frame_labels) in enumerate(found):
        boxes[index, : len(frame_labels)] = frame_codes
        labels[index, : len(frame_labels)] = frame_labels
    rest = {
        "can_bus": np.stack([_can_bus(pool, place) for place in places]),
        "lidar2img": np.stack([scene.lidar_to_image[place.frame] for scene, place in zip(scenes, places, strict=True)]),
        "has_history": np.array([[[0.0 if place.begins else 1.0]] for place in places], dtype=np.float32),
        "boxes": boxes,
        "labels": labels,
        "class_map": np.stack([scene.class_map[place.frame] for scene, place in zip(scenes, places, strict=True)]),
        "log_distance": np.stack([s.log_distance[place.frame] for s, place in zip(scenes, places, strict=True)]),
    }
    tensors = {name: torch.from_numpy(value) for name, value in rest.items()}
    if pinned:
        tensors = {name: value.pin_memory() for name, value in tensors.items()}
    return Batch(images=images, **tensors)


def batches_ahead(
    pool: ScenePool, sampler: StreamSampler, *, first_step: int, restart_steps: int, ahead: int = 3
) -> Generator[Batch, None, None]:
    """Yield the batches of steps ``first_step``, ..., made in the background.

    The streams begin anew at the first step and at every multiple of ``restart_steps``.
    """
    made: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=ahead)
    ended = threading.Event()

    def make() -> None:
        try:
            with ThreadPoolExecutor(_COPY_THREADS) as copiers:
                step = first_step
                while not ended.is_set():
                    if step == first_step or step % restart_steps == 0:
                        sampler.restart(step)
                    batch = read_batch(pool, sampler.next_places(), copiers=copiers)
                    while not ended.is_set():
                        try:
                            made.put(batch, timeout=0.2)
                            break
                        except queue.Full:
                            continue
                    step += 1
        except BaseException as error:
            made.put(error)

    thread = threading.Thread(target=make, name="batches-ahead", daemon=True)
    thread.start()
    try:
        while True:
            batch = made.get()
            if isinstance(batch, BaseException):
                raise batch
            yield batch
    finally:
        ended.set()
        thread.join()


def _can_bus(pool: ScenePool, place: FramePlace) -> NDArray[np.float32]:
    """Return ``can_bus`` (18,) in delta form, with the world turned about the vertical."""
    absolute = pool.read(place.scene).can_bus_absolute
    delta = can_bus_delta(absolute[place.frame], None if place.begins else absolute[place.frame - 1])
    return turned_can_bus(delta, place.heading_rad).astype(np.float32)


def turned_can_bus(delta: NDArray[np.float64], heading_rad: float) -> NDArray[np.float64]:
    """Return ``can_bus`` (18,; delta form) as it would be in a world turned by ``heading_rad`` counter-clockwise."""
    if heading_rad == 0.0:
        return delta
    turned = delta.copy()
    x, y = delta[CAN_BUS_POSITION][:2]
    cos, sin = np.cos(heading_rad), np.sin(heading_rad)
    turned[CAN_BUS_POSITION][:2] = cos * x - sin * y, sin * x + cos * y
    yaw_rad = (delta[CAN_BUS_YAW_RAD] + heading_rad) % (2 * np.pi)
    turned[CAN_BUS_YAW_RAD] = yaw_rad
    turned[_QUATERNION] = np.cos(yaw_rad / 2)
    return turned
