"""Scenes without their images: what metrics and statistics need is in the meta files."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from bevformer_lib.errors import SceneError
from bevformer_lib.scenes.index import find_scenes
from bevformer_lib.scenes.layout import meta_name
from bevformer_lib.scenes.meta import parse_meta
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Frame, Scene
from bevformer_lib.strict_json import read_json_object

_META = re.compile(r"meta_(\d+)\.json", re.ASCII)


def read_metas(
    root: Path, names: Collection[str] | None = None, *, requirements: SceneRequirements | None = None
) -> tuple[Scene, ...]:
    """Read the meta files of scenes; the frames have no images, which need not be there.

    Args:
        root: folder with a folder per scene, and ``scene_index.json`` where there is one.
        names: the scenes to read, in the folder's order; ``None``: all.
        requirements: of the model that the metas have to suit; ``None`` where it does not matter.

    Raises:
        SceneError: a scene is not there, or meta files have defects; ``defects`` holds them all, each with its file.
    """
    entries, defects = find_scenes(root)
    missing = sorted(set(names or ()) - {entry.name for entry in entries})
    if not defects and missing:
        raise SceneError(f"{root}: has no scene {', '.join(missing)}; it has {', '.join(one.name for one in entries)}")
    scenes = []
    for entry in entries:
        if names is None or entry.name in names:
            numbers = _frame_numbers(root / entry.name) if entry.frames is None else entry.frames
            if not numbers:
                defects.append(f"{root / entry.name}: holds no meta_*.json; a scene needs at least one frame")
            frames = [
                _read_frame(root / entry.name / meta_name(number), number, requirements, defects) for number in numbers
            ]
            scenes.append(Scene(entry.name, tuple(frame for frame in frames if frame is not None)))
    if defects:
        raise SceneError(f"{root} has {len(defects)} defects in its meta files; correct them and run again:", defects)
    return tuple(scenes)


def _frame_numbers(folder: Path) -> list[int]:
    return sorted(int(match[1]) for path in folder.iterdir() if (match := _META.fullmatch(path.name)))


def _read_frame(path: Path, number: int, requirements: SceneRequirements | None, defects: list[str]) -> Frame | None:
    try:
        meta, found = parse_meta(read_json_object(path), requirements)
    except ValueError as error:
        meta, found = None, [str(error)]
    defects.extend(f"{path}: {defect}" for defect in found)
    if meta is None:
        return None
    return Frame(
        index=number,
        images=(),
        lidar_to_image=meta.lidar_to_image,
        can_bus_absolute=meta.can_bus_absolute,
        gt_boxes=meta.gt_boxes,
        meta_path=path,
        timestamp_us=meta.timestamp_us,
        sample_token=meta.sample_token,
        bicycle_racks=meta.bicycle_racks,
        lidar_to_ego=meta.lidar_to_ego,
        ego_to_global=meta.ego_to_global,
    )
