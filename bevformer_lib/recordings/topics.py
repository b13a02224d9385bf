"""Which topic of a recording is what: found by names and types, or told by a file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bevformer_lib.errors import ConfigError, RecordingError
from bevformer_lib.recordings.messages import Kind
from bevformer_lib.scenes.ego import is_pose
from bevformer_lib.strict_yaml import read_yaml

_RECTIFIED: Final = re.compile(r"(?<![a-z])rect")
_PREFIX: Final = re.compile(r"^(camera|cam)_?|_?(camera|cam)$")


class CameraTopics(BaseModel):
    """Topics of a camera; what is left out is found by its name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    image: str | None = None
    calibration: str | None = None


class Topics(BaseModel):
    """What a file tells of a recording; all may be left out.

    Attributes:
        cameras: by the names of ``names.CAMERA_ORDER``.
        pose: topic of the car's pose; ``tf``: from the transforms.
        imu: topic of its acceleration.
        ego_frame: frame of the car: x ahead, y to the left, z up.
        lidar_frame: frame of the LiDAR: x to the right, y ahead, z up.
        lidar_to_ego: (4, 4), metres, instead of ``lidar_frame``: where that frame is on the car.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    cameras: dict[str, CameraTopics] = Field(default_factory=dict)
    pose: str | None = None
    imu: str | None = None
    ego_frame: str | None = None
    lidar_frame: str | None = None
    lidar_to_ego: list[list[float]] | None = None

    @field_validator("lidar_to_ego")
    @classmethod
    def _rigid(cls, rows: list[list[float]] | None) -> list[list[float]] | None:
        if rows is not None and (list(map(len, rows)) != [4, 4, 4, 4] or not is_pose(np.array(rows, dtype=np.float64))):
            raise ValueError("must be 4 rows of 4 numbers, a rotation and a translation")
        return rows


def read_topics(path: Path) -> Topics:
    """Read a file that tells which topic is what.

    Raises:
        ConfigError: with every defect: the file, the key, and what is wrong.
    """
    try:
        return Topics.model_validate(read_yaml(path) or {})
    except ValidationError as error:
        told = [
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()
        ]
        raise ConfigError(f"{path}: {'; '.join(told)}; docs/infer.md shows what it may hold") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}; correct it") from error


def shows_camera(topic: str, camera: str) -> bool:
    """Tell whether a topic's name names a camera: ``CAM_FRONT_LEFT``, ``camera_front_left``, ``front_left``."""
    return any(_plain(part) == _plain(camera) for part in topic.split("/"))


def image_topic(path: Path, camera: str, told: str | None, found: Mapping[str, Kind | str]) -> str:
    """Return the topic of a camera's images: rectified ones rather than others, and raw rather than compressed ones.

    Args:
        path: the recording.
        camera: its name.
        told: what the user named.
        found: the recording's topics.

    Raises:
        RecordingError: there is none, or several.
    """
    if told is not None:
        return _told(path, told, found, Kind.ENCODED_IMAGE, Kind.RAW_IMAGE)
    images = [topic for topic, kind in found.items() if isinstance(kind, Kind) and kind.is_image]
    named = [topic for topic in images if shows_camera(topic, camera)]
    ranks = {topic: (not is_rectified(topic), found[topic] is Kind.ENCODED_IMAGE) for topic in named}
    return _only(path, f"images of {camera}", [topic for topic in named if ranks[topic] == min(ranks.values())], found)


def calibration_topic(path: Path, camera: str, told: str | None, image: str, found: Mapping[str, Kind | str]) -> str:
    """Return the topic of a camera's calibration: of its name, and beside its images rather than elsewhere.

    Raises:
        RecordingError: there is none, or several.
    """
    if told is not None:
        return _told(path, told, found, Kind.CALIBRATION)
    folder = image.rpartition("/")[0]
    calibrations = [topic for topic, kind in found.items() if kind is Kind.CALIBRATION]
    beside = [topic for topic in calibrations if folder and topic.rpartition("/")[0] == folder]
    named = [topic for topic in calibrations if shows_camera(topic, camera)]
    return _only(path, f"calibration of {camera}", beside if len(beside) == 1 else named, found)


def pose_topic(path: Path, told: str | None, found: Mapping[str, Kind | str], useful: Collection[str]) -> str | None:
    """Return the topic of the car's pose; ``None``: it is in the transforms.

    Args:
        path: the recording.
        told: what the user named.
        found: the recording's topics.
        useful: those of poses that tell more than where the car is in its own frame.

    Raises:
        RecordingError: what was named is no pose, or there are several.
    """
    if told == "tf":
        return None
    if told is not None:
        return _told(path, told, found, Kind.POSE)
    return _only(path, "pose", sorted(useful), found, key="pose") if useful else None


def is_rectified(topic: str) -> bool:
    """Tell whether a topic's images are rectified, by the name that the field gives them."""
    return _RECTIFIED.search(topic.lower()) is not None


def described(found: Mapping[str, Kind | str]) -> str:
    """Return the topics that a recording has, for errors."""
    told = (f"{topic} ({kind.value if isinstance(kind, Kind) else kind})" for topic, kind in sorted(found.items()))
    return ", ".join(told) or "no topic"


def _plain(name: str) -> str:
    return _PREFIX.sub("", name.lower().replace("-", "_")).replace("rear", "back")


def _told(path: Path, topic: str, found: Mapping[str, Kind | str], *kinds: Kind) -> str:
    if found.get(topic) not in kinds:
        raise RecordingError(
            f"{path}: has no {kinds[0].value} under the topic {topic}, which --topics names; it has {described(found)}"
        )
    return topic


def _only(path: Path, what: str, topics: list[str], found: Mapping[str, Kind | str], *, key: str = "cameras") -> str:
    if not topics:
        raise RecordingError(
            f"{path}: has no topic with the {what}; name it in a file for --topics (under {key}), or record it. It has "
            f"{described(found)}"
        )
    if len(topics) > 1:
        raise RecordingError(
            f"{path}: the {what} may be {' or '.join(topics)}; name one in a file for --topics (under {key})"
        )
    return topics[0]
