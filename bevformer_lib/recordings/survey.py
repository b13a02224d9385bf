"""One pass over a recording: where its images are, and all that the other messages say."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bevformer_lib.errors import RecordingError
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.recordings import messages
from bevformer_lib.recordings.container import Channel, Place, Recorded, recorded_messages
from bevformer_lib.recordings.messages import Calibration, Decoder, Kind, kind_of, telling
from bevformer_lib.recordings.topics import Topics, shows_camera
from bevformer_lib.recordings.transforms import Track, Transforms

_PROGRESS_LABEL = "checking recording, MB"
_STATIC = "static"

_log = logging.getLogger(__name__)


class FoundImage(NamedTuple):
    """An image: when it was recorded and taken, where it stands, its size in bytes, its height and width."""

    log_time_ns: int
    stamp_ns: int
    place: Place
    size: int
    image_hw: tuple[int, int]


@dataclass
class PoseTrack:
    """What a topic tells of the car's place; ``child`` is empty where its type does not name the car's frame."""

    parent: str
    child: str
    track: Track = field(default_factory=Track)


@dataclass
class Survey:
    """What a recording holds, by topic; images only by their places.

    ``kinds`` holds the type's name where it is not read, and ``defects`` the first error and the number of messages
    that were left out.
    """

    kinds: dict[str, Kind | str] = field(default_factory=dict)
    defects: dict[str, tuple[RecordingError, int]] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    images: dict[str, list[FoundImage]] = field(default_factory=lambda: defaultdict(list))
    image_frames: dict[str, str] = field(default_factory=dict)
    calibrations: dict[str, list[tuple[int, Calibration]]] = field(default_factory=lambda: defaultdict(list))
    poses: dict[str, PoseTrack] = field(default_factory=dict)
    accelerations: dict[str, tuple[str, Track]] = field(default_factory=dict)
    transforms: Transforms = field(default_factory=Transforms)

    def require_some(self, topic: str) -> None:
        """Find out that not all messages of a topic were left out.

        Raises:
            RecordingError: they were; says why.
        """
        if topic in self.defects and not (self.images[topic] or self.calibrations[topic] or topic in self.poses):
            raise self.defects[topic][0]


def survey_recording(
    path: Path, topics: Topics, cameras: Collection[str], *, on_progress: ProgressCallback = no_progress
) -> Survey:
    """Read a recording once.

    Images of other cameras are passed over; those of the cameras are checked, but not decoded. A message that is
    damaged, or tells what can't be, is left out; a warning says so.

    Args:
        path: the recording.
        topics: what the user told of them.
        cameras: names of the cameras.
        on_progress: told the megabytes that were read.

    Raises:
        MissingPackageError: the packages for recordings are not installed.
        RecordingError: the file is damaged or can't be read.
    """
    found, decode = Survey(), Decoder(path)
    told = {camera.image for camera in topics.cameras.values()}
    megabytes = path.stat().st_size >> 20 if path.is_file() else 0
    for message in recorded_messages(path):
        on_progress(_PROGRESS_LABEL, message.file_offset >> 20, megabytes)
        channel = message.channel
        topic, kind = channel.topic, kind_of(channel)
        if kind is None or not decode.reads(channel):
            found.kinds.setdefault(topic, f"{channel.schema.name if channel.schema else 'no type'}, which is not read")
            continue
        if found.kinds.setdefault(topic, kind) is not kind:
            raise RecordingError(f"{path}: topic {topic} holds messages of several types; record it again")
        found.channels.setdefault(topic, channel)
        if not kind.is_image or topic in told or any(shows_camera(topic, camera) for camera in cameras):
            try:
                decoded = decode(channel, message.data)
                with telling(path, topic):
                    _keep(found, message, kind, decoded)
            except RecordingError as error:
                known = found.defects.get(topic, (error, 0))
                found.defects[topic] = known[0], known[1] + 1
    for first, count in found.defects.values():
        _log.warning("warning: %s (%d message%s left out)", first, count, "" if count == 1 else "s")
    return found


def _keep(found: Survey, message: Recorded, kind: Kind, decoded: object) -> None:
    """Keep what a message says."""
    topic = message.channel.topic
    if message.log_time_ns >> 63:
        raise ValueError(f"holds a message that was recorded at {message.log_time_ns} ns, which is no time")
    if kind.is_image:
        image_hw = messages.image_hw(decoded, kind)
        stamp_ns = messages.stamp_ns(decoded) or message.log_time_ns
        image = FoundImage(message.log_time_ns, stamp_ns, message.place, len(message.data), image_hw)
        found.image_frames[topic] = messages.frame_of(decoded)
        found.images[topic].append(image)
    elif kind is Kind.CALIBRATION:
        calibration = messages.calibration(decoded)
        known = found.calibrations[topic]
        if not known or known[-1][1] != calibration:
            known.append((messages.stamp_ns(decoded) or message.log_time_ns, calibration))
    elif kind is Kind.TRANSFORMS:
        for transform in messages.transforms(decoded):
            found.transforms.add(transform, static=_STATIC in topic)
    elif kind is Kind.POSE:
        pose = messages.pose(decoded)
        known_pose = found.poses.setdefault(topic, PoseTrack(pose.parent, pose.child))
        known_pose.track.add(pose.stamp_ns or message.log_time_ns, (*pose.values, *pose.motion))
    else:
        stamp_ns, felt = messages.stamp_ns(decoded) or message.log_time_ns, messages.acceleration_mps2(decoded)
        found.accelerations.setdefault(topic, (messages.frame_of(decoded), Track()))[1].add(stamp_ns, felt)
