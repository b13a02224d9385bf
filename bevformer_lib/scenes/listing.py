"""Which files make up each frame of a scene, in each of the published spellings.

- ``cam_CC_FFFFFF.png``: one image per camera; what the vendor's tools read.
- ``img_NNNNNN.png``, as many as metas: all cameras of a frame stacked top to bottom, numbered like the metas.
- ``img_NNNNNN.png``, metas x cameras of them: one image per camera, numbered frame by frame.

``.jpg`` and ``.jpeg`` are read as well.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bevformer_lib.scenes.layout import camera_image_name, meta_name, plain_image_name

_META = re.compile(r"meta_(\d+)\.json", re.ASCII)
_CAMERA_PICTURE = re.compile(r"cam_(\d+)_(\d+)\.(?:png|jpe?g)", re.ASCII | re.IGNORECASE)
_PLAIN_PICTURE = re.compile(r"img_(\d+)\.(?:png|jpe?g)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class FrameFiles:
    """The files of one frame.

    Attributes:
        meta: its meta file, or ``None`` where it is missing.
        images: those that exist, by camera; a stacked image stands under camera 0.
        stacked: whether one image holds all cameras.
    """

    index: int
    meta: Path | None
    images: Mapping[int, Path]
    stacked: bool = False


@dataclass
class _Folder:
    """The names in a scene's folder by what they say."""

    path: Path
    metas: dict[int, Path] = field(default_factory=dict)
    camera_images: dict[int, dict[int, Path]] = field(default_factory=dict)
    plain_images: dict[int, Path] = field(default_factory=dict)
    defects: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        if match := _META.fullmatch(name):
            self._put(self.metas, int(match[1]), name)
        elif match := _CAMERA_PICTURE.fullmatch(name):
            self._put(self.camera_images.setdefault(int(match[2]), {}), int(match[1]), name)
        elif match := _PLAIN_PICTURE.fullmatch(name):
            self._put(self.plain_images, int(match[1]), name)

    def _put(self, files: dict[int, Path], number: int, name: str) -> None:
        if number in files:
            self.defects.append(f"{self.path / name}: repeats {files[number].name} under another spelling")
        else:
            files[number] = self.path / name


def list_frames(folder: Path, frames: Sequence[int] | None, num_cams: int) -> tuple[tuple[FrameFiles, ...], list[str]]:
    """Return the frames of a scene in order, and the defects found on the way (missing files by name).

    Args:
        folder: the scene's folder.
        frames: frame numbers in order; ``None``: all that have a meta file, sorted.
        num_cams: cameras that every frame must have.
    """
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names are all that is needed; Paths cost more
    except OSError as error:
        return (), [f"{folder}: the scene's folder can't be read: {error.strerror or error}"]
    found = _Folder(folder)
    for name in names:
        found.add(name)
    if frames is None:
        if not found.metas:
            return (), [f"{folder}: holds no meta_*.json; a scene needs at least one frame"]
        frames = sorted({*found.metas, *found.camera_images})
    if found.camera_images or not found.plain_images:
        files = [_camera_frame(found, frame, num_cams) for frame in frames]
    else:
        files = _plain_frames(found, frames, num_cams)
    found.defects.extend(f"{folder / meta_name(frame.index)}: is missing" for frame in files if frame.meta is None)
    return tuple(files), found.defects


def _camera_frame(found: _Folder, frame: int, num_cams: int) -> FrameFiles:
    images = found.camera_images.get(frame, {})
    for camera in range(num_cams):
        if camera not in images:
            found.defects.append(f"{found.path / camera_image_name(camera, frame)}: is missing")
    for camera in sorted(set(images) - set(range(num_cams))):
        found.defects.append(f"{images[camera]}: the configuration has {num_cams} cameras, 0 to {num_cams - 1}")
    return FrameFiles(frame, found.metas.get(frame), images)


def _plain_frames(found: _Folder, frames: Sequence[int], num_cams: int) -> list[FrameFiles]:
    numbers = sorted(found.plain_images)
    metas = sorted(found.metas)
    if len(numbers) == len(metas):
        images = _stacked(found, metas)
    elif len(numbers) == len(metas) * num_cams:
        images = _numbered(found, metas, numbers, num_cams)
    else:
        found.defects.append(
            f"{found.path}: {len(numbers)} img_*.png for {len(metas)} metas; expected {len(metas)} "
            f"(cameras stacked) or {len(metas) * num_cams} (one per camera)"
        )
        images = {}
    stacked = num_cams > 1 and len(numbers) == len(metas)
    return [FrameFiles(frame, found.metas.get(frame), images.get(frame, {}), stacked) for frame in frames]


def _stacked(found: _Folder, metas: Sequence[int]) -> dict[int, dict[int, Path]]:
    for frame in metas:
        if frame not in found.plain_images:
            found.defects.append(f"{found.path / plain_image_name(frame)}: is missing")
    return {frame: {0: path} for frame, path in found.plain_images.items()}


def _numbered(
    found: _Folder, metas: Sequence[int], numbers: Sequence[int], num_cams: int
) -> dict[int, dict[int, Path]]:
    by_position = list(range(numbers[0], numbers[0] + len(numbers)))
    by_frame = [frame * num_cams + camera for frame in metas for camera in range(num_cams)]
    if numbers not in (by_position, by_frame):
        found.defects.append(
            f"{found.path}: the numbers of img_*.png have gaps, so which frame and camera they show can't be told"
        )
    return {
        frame: {camera: found.plain_images[numbers[position * num_cams + camera]] for camera in range(num_cams)}
        for position, frame in enumerate(metas)
    }
