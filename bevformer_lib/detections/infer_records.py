"""What `bevformer infer` writes of a scene beside images: its detections, and what they were made with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from bevformer_lib.detections.geometry import heading_from_yaw_rad
from bevformer_lib.detections.types import Detections
from bevformer_lib.errors import OutputError
from bevformer_lib.scenes.types import Frame, Scene
from bevformer_lib.strict_json import read_json

DETECTIONS_FILE: Final = "detections.json"
BOX_VALUES: Final = ("x", "y", "z_bottom", "width", "length", "height", "yaw", "vx", "vy")
COORDINATES: Final = (
    "LiDAR frame: x right, y forward, z up; metres, radians, metres per second. "
    "heading_rad is counter-clockwise about z from the x axis; yaw = -heading - pi/2."
)
_DECIMALS: Final = 6
_NO_FRAMES: Final = "[]\n}"


def box_records(detections: Detections, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return boxes as plain data, best score first: names, metres, radians, metres per second in the LiDAR frame."""
    plain = detections.to_dict()
    boxes = detections.boxes.astype(np.float64)
    center_z = np.round(boxes[:, 2] + boxes[:, 5] / 2, _DECIMALS).tolist()
    headings = np.round(heading_from_yaw_rad(boxes[:, 6]), _DECIMALS).tolist()
    return [
        {
            "class": class_names[label],
            "score": score,
            "center_m": [*box[:2], z],
            "size_wlh_m": box[3:6],
            "heading_rad": heading,
            "velocity_mps": box[7:],
            "box": box,
        }
        for box, score, label, z, heading in zip(
            plain["boxes"], plain["scores"], plain["labels"], center_z, headings, strict=True
        )
    ]


def frame_record(frame: Frame, detections: Detections, class_names: Sequence[str]) -> dict[str, Any]:
    """Return the detections of a frame as plain data."""
    return {
        "index": frame.index,
        "timestamp_us": frame.timestamp_us,
        "sample_token": frame.sample_token,
        "boxes": box_records(detections, class_names),
    }


def scene_record(
    scene: Scene, made_with: Mapping[str, Any], class_names: Sequence[str], frames: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the content of a scene's ``detections.json``."""
    return {
        "scene": scene.name,
        "made_with": dict(made_with),
        "class_names": list(class_names),
        "coordinates": COORDINATES,
        "box_values": list(BOX_VALUES),
        "frames": list(frames),
    }


def frame_line(record: Mapping[str, Any]) -> str:
    """Return a frame's record as JSON on one line, for :func:`scene_text`."""
    return json.dumps(record, allow_nan=False, ensure_ascii=False)


def scene_text(
    scene: Scene, made_with: Mapping[str, Any], class_names: Sequence[str], frame_lines: Sequence[str]
) -> str:
    """Return :func:`scene_record` as JSON, a frame on a line: frames are encoded as they come, not all at the end."""
    empty = json.dumps(scene_record(scene, made_with, class_names, []), indent=1, allow_nan=False, ensure_ascii=False)
    head = empty.removesuffix(_NO_FRAMES)
    frames = ",\n  ".join(frame_lines)
    return f"{head}[\n  {frames}\n ]\n}}\n"


def is_finished(folder: Path, made_with: Mapping[str, Any]) -> bool:
    """Tell whether a scene's folder was made before, with the same model, scene and settings.

    Raises:
        OutputError: there is something else under that name; results are never overwritten.
    """
    if not folder.exists():
        return False
    if not (folder / DETECTIONS_FILE).is_file():
        # Perhaps the scene itself: never advise to remove what was not made here.
        raise OutputError(
            f"{folder} is in the way: it holds no {DETECTIONS_FILE} of an earlier run; choose another output folder"
        )
    try:
        earlier = read_json(folder / DETECTIONS_FILE)["made_with"]
        differing = [name for name in made_with if earlier.get(name) != made_with[name]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(
            f"{folder / DETECTIONS_FILE} is not that of an earlier run ({error}); remove {folder}, "
            "or choose another output folder"
        ) from error
    if differing:
        changes = ", ".join(f"{name} was {earlier.get(name)!r} and is {made_with[name]!r}" for name in differing)
        raise OutputError(
            f"{folder} holds the results of another run ({changes}); remove it, or choose another output folder"
        )
    return True
