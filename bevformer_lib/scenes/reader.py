"""Reading a folder of scenes: everything is checked in one pass, and everything that is wrong is said at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from bevformer_lib.errors import SceneError
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.scenes.image_files import check_image
from bevformer_lib.scenes.index import find_scenes
from bevformer_lib.scenes.layout import padded_hw
from bevformer_lib.scenes.listing import FrameFiles, list_frames
from bevformer_lib.scenes.meta import parse_meta
from bevformer_lib.scenes.plausibility import warn_of_implausible
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Frame, ImageRef, Scene
from bevformer_lib.strict_json import read_json_object

__all__ = ["SceneRequirements", "read_scenes"]

_Entry = TypeVar("_Entry")

_PROGRESS_LABEL = "checking scenes"


def read_scenes(
    root: Path,
    requirements: SceneRequirements,
    *,
    start_scene: int = 0,
    end_scene: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> tuple[Scene, ...]:
    """Read and check the scenes ``start_scene`` to ``end_scene`` (exclusive) of a folder.

    Every file of the selected scenes is read: meta files are parsed, images are checked by their checksums (see
    :mod:`bevformer_lib.scenes.image_files` for why they are not decoded). An image must have the padded size of the
    configuration, or a smaller one that padding to multiples of 32 brings there.

    Args:
        root: folder with a folder per scene, and ``scene_index.json`` where there is one.
        requirements: what the model asks for.
        start_scene: position of the first scene, counted from 0 in the folder's order.
        end_scene: position after the last scene; ``None`` or beyond the end: all that follow.
        on_progress: told the number of checked frames.

    Raises:
        SceneError: the selection is empty, or the folder has defects; ``defects`` holds them all, each with its file.
    """
    entries, defects = find_scenes(root)
    selected = () if defects else select_scenes(root, entries, start_scene, end_scene)
    listed: list[tuple[str, tuple[FrameFiles, ...]]] = []
    for entry in selected or entries:
        files, found = list_frames(root / entry.name, entry.frames, requirements.num_cams)
        listed.append((entry.name, files))
        defects.extend(found)
    frames, found = _check_frames([files for _, scene in listed for files in scene], requirements, on_progress)
    defects.extend(found)
    if defects:
        raise SceneError(f"{root} has {_count(len(defects), 'defect')}; correct them and run again:", defects)
    remaining = iter(frames)
    scenes = tuple(Scene(name, tuple(next(remaining) for _ in files)) for name, files in listed)
    warn_of_implausible(scenes)
    return scenes


def select_scenes(
    root: Path, entries: tuple[_Entry, ...], start_scene: int, end_scene: int | None
) -> tuple[_Entry, ...]:
    """Return the scenes ``start_scene`` to ``end_scene`` (exclusive; ``None``: the last) of those that ``root`` holds.

    Raises:
        SceneError: these are none.
    """
    end = len(entries) if end_scene is None else end_scene
    if not 0 <= start_scene < min(end, len(entries)):
        raise SceneError(
            f"{root} has {_count(len(entries), 'scene')}; scenes {start_scene} to {end} (exclusive, counted from 0) "
            "select none of them"
        )
    return entries[start_scene:end]


def _check_frames(
    files: list[FrameFiles], requirements: SceneRequirements, on_progress: ProgressCallback
) -> tuple[list[Frame], list[str]]:
    frames: list[Frame] = []
    defects: list[str] = []
    pool = ThreadPoolExecutor()
    try:
        checked = pool.map(lambda one: _check_frame(one, requirements), files)
        for done, (frame, found) in enumerate(checked, start=1):
            defects.extend(found)
            if frame is not None:
                frames.append(frame)
            on_progress(_PROGRESS_LABEL, done, len(files))
    finally:
        pool.shutdown(cancel_futures=True)  # so that an interruption need not wait for a large folder
    return frames, defects


def _check_frame(files: FrameFiles, requirements: SceneRequirements) -> tuple[Frame | None, list[str]]:
    defects: list[str] = []
    meta = None
    if files.meta is not None:
        try:
            meta, found = parse_meta(read_json_object(files.meta), requirements)
            defects.extend(f"{files.meta}: {defect}" for defect in found)
        except ValueError as error:
            defects.append(f"{files.meta}: {error}")
    images: list[ImageRef] = []
    for _, path in sorted(files.images.items()):
        try:
            images.extend(_check_image(path, requirements, files.stacked))
        except ValueError as error:
            defects.append(f"{path}: {error}")
    if defects or meta is None or files.meta is None:
        return None, defects
    frame = Frame(
        index=files.index,
        images=tuple(images),
        lidar_to_image=meta.lidar_to_image,
        can_bus_absolute=meta.can_bus_absolute,
        gt_boxes=meta.gt_boxes,
        meta_path=files.meta,
        timestamp_us=meta.timestamp_us,
        sample_token=meta.sample_token,
        bicycle_racks=meta.bicycle_racks,
        lidar_to_ego=meta.lidar_to_ego,
        ego_to_global=meta.ego_to_global,
    )
    return frame, []


def _check_image(path: Path, requirements: SceneRequirements, stacked: bool) -> list[ImageRef]:
    try:
        height, width = check_image(path.read_bytes())
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror or error}") from error
    if not stacked:
        _check_size(height, width, requirements.image_hw)
        return [ImageRef(path)]
    rows = height // requirements.num_cams
    if rows * requirements.num_cams != height:
        raise ValueError(f"{height} rows can't hold {requirements.num_cams} stacked images of the same height")
    _check_size(rows, width, requirements.image_hw)
    return [ImageRef(path, (camera * rows, (camera + 1) * rows)) for camera in range(requirements.num_cams)]


def _check_size(height: int, width: int, image_hw: tuple[int, int]) -> None:
    if image_hw not in ((height, width), padded_hw(height, width)):
        raise ValueError(
            f"is {height} x {width} pixels (height x width); the configuration asks for "
            f"{image_hw[0]} x {image_hw[1]}, or less by under 32 to be padded"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
