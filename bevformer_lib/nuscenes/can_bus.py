"""The 18 values of `can_bus` from nuScenes' poses and its CAN bus expansion; their meaning: `scenes/ego.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import SceneError
from bevformer_lib.scenes import ego

MOTION_KEYS: Final = ("accel", "rotation_rate", "vel")
"""The parts of a CAN ``pose`` message that are kept, three values each, in this order."""


def can_bus_root(nuscenes_root: Path) -> Path:
    """Return the folder that holds ``can_bus``: the dataset's root, or the folder above it (the original's layout).

    Raises:
        SceneError: neither holds it.
    """
    for root in (nuscenes_root, nuscenes_root.parent):
        if (root / "can_bus").is_dir():
            return root
    raise SceneError(
        f"{nuscenes_root / 'can_bus'}: does not exist; unpack nuScenes' CAN bus expansion there, or leave --can-bus out"
    )


def read_pose_messages(root: Path, scene_name: str) -> list[dict[str, Any]]:
    """Return a scene's CAN ``pose`` messages in time order; none for the scenes that nuScenes has no CAN data of.

    Args:
        root: the folder that holds ``can_bus``.
        scene_name: such as ``scene-0061``.

    Raises:
        SceneError: the messages are missing or malformed.
    """
    from nuscenes.can_bus.can_bus_api import NuScenesCanBus

    can_bus = NuScenesCanBus(dataroot=str(root))
    if scene_name.removeprefix("scene-") in {f"{number:04d}" for number in can_bus.can_blacklist}:
        return []
    path = root / "can_bus" / f"{scene_name}_pose.json"
    try:
        messages = can_bus.get_messages(scene_name, "pose")
        for message in messages:
            if not isinstance(message["utime"], int) or any(len(message[key]) != 3 for key in MOTION_KEYS):
                raise SceneError(f"{path}: a message lacks its time, or three values of {', '.join(MOTION_KEYS)}")
    except AssertionError as error:
        raise SceneError(f"scene {scene_name!r}: CAN messages are kept by names such as scene-0061") from error
    except OSError as error:
        raise SceneError(f"{path}: can't be read: {error.strerror or error}") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise SceneError(f"{path}: is not a list of CAN pose messages ({error!r})") from error
    return sorted(messages, key=lambda message: int(message["utime"]))


def can_bus_absolute(
    ego_pose: Mapping[str, Any], timestamp_us: int, pose_messages: Sequence[Mapping[str, Any]]
) -> NDArray[np.float64]:
    """Return (18,) float64, absolute form.

    Args:
        ego_pose: record of the ego pose at the LiDAR keyframe.
        timestamp_us: the sample's time.
        pose_messages: CAN ``pose`` messages of the scene in time order. Of them, the last one not after the sample
            gives acceleration, rotation rate and velocity; zeros where there is none.
    """
    from pyquaternion import Quaternion

    rotation = Quaternion(ego_pose["rotation"])
    last = next((message for message in reversed(pose_messages) if message["utime"] <= timestamp_us), None)
    motion = None if last is None else np.concatenate([last[key] for key in MOTION_KEYS])
    return ego.can_bus_absolute(
        ego_pose["translation"], rotation.rotation_matrix, quaternion_w=rotation.w, motion=motion
    )
