"""Where the car was, and how it moved, at any time of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import RecordingError
from bevformer_lib.recordings.messages import Kind
from bevformer_lib.recordings.survey import Survey
from bevformer_lib.recordings.topics import Topics, described, pose_topic
from bevformer_lib.recordings.transforms import Track, quaternion_product, rigid_matrix
from bevformer_lib.scenes.ego import can_bus_absolute

LONGEST_GAP_NS: Final = 1_000_000_000
"""Between two poses, for one between them to be interpolated."""
_EGO_FRAMES: Final = ("base_link", "base_footprint", "ego_vehicle", "ego", "vehicle")
_RIGID: Final = 7


@dataclass(frozen=True)
class EgoState:
    """The car at a time.

    Attributes:
        ego_to_global: (4, 4), metres.
        can_bus_absolute: (18,) as a scene holds it; what the recording does not tell of it is zero.
    """

    ego_to_global: NDArray[np.float64]
    can_bus_absolute: NDArray[np.float64]


class EgoPoses:
    """The car's way through a recording.

    Attributes:
        ego_frame: the car's frame.
    """

    def __init__(self, path: Path, survey: Survey, topics: Topics, *, tolerance_ns: int) -> None:
        """Find out what tells the pose.

        Raises:
            RecordingError: nothing does, or it is not clear what.
        """
        self._tolerance_ns = tolerance_ns
        self._static = survey.transforms.static
        names = [topics.ego_frame] if topics.ego_frame else [*_EGO_FRAMES]
        useful = {
            topic: pose
            for topic, pose in survey.poses.items()
            if pose.parent != pose.child and pose.parent not in names
        }
        named = [topic for topic, pose in useful.items() if pose.child]
        topic = pose_topic(path, topics.pose, survey.kinds, named or useful)
        if topic is not None:
            survey.require_some(topic)
        child = survey.poses[topic].child if topic is not None else ""
        known = [name for name in (topics.ego_frame, child, *_EGO_FRAMES) if name]
        frame = next((name for name in known if name in survey.transforms or name == topics.ego_frame), known[0])
        if child != frame and child in survey.transforms:
            raise RecordingError(
                f"{path}: topic {topic} tells where frame {child} is, and --topics names {frame} as ego_frame; name "
                f"{child}, or 'tf' as pose"
            )
        self.ego_frame = frame
        self._way = [("", survey.poses[topic].track)] if topic is not None else survey.transforms.above(frame)
        if not self._way:
            raise RecordingError(
                f"{path}: tells no pose of the car: no Odometry, PoseStamped or PoseInFrame in another frame than its "
                f"own, and no transform to {frame}. Record one, or name its topic in a file for --topics as pose. The "
                f"recording has {described(survey.kinds)}"
            )
        self._acceleration = self._acceleration_track(path, survey, topics)

    def at(self, stamp_ns: int) -> EgoState | None:
        """Return the car's state at a time; ``None`` where no pose was recorded near enough."""
        steps = [self._step(child, track, stamp_ns) for child, track in self._way]
        values = steps[0]
        for step in steps[1:]:
            values = None if step is None or values is None else _below(step, values)
        if values is None:
            return None
        matrix = rigid_matrix(values)
        motion = np.zeros(9)
        if len(values) > _RIGID:
            motion[3:] = values[_RIGID:]
        if self._acceleration is not None:
            acceleration = self._near(self._acceleration, stamp_ns)
            motion[:3] = 0.0 if acceleration is None else acceleration
        can_bus = can_bus_absolute(matrix[:3, 3], matrix[:3, :3], quaternion_w=float(values[3]), motion=motion)
        return EgoState(matrix, can_bus)

    def _step(self, child: str, track: Track, stamp_ns: int) -> NDArray[np.float64] | None:
        return track.nearest(stamp_ns) if child in self._static else self._near(track, stamp_ns)

    def _near(self, track: Track, stamp_ns: int) -> NDArray[np.float64] | None:
        return track.at(stamp_ns, longest_gap_ns=LONGEST_GAP_NS, tolerance_ns=self._tolerance_ns)

    def _acceleration_track(self, path: Path, survey: Survey, topics: Topics) -> Track | None:
        """Return what an IMU felt that is told along the car's own axes."""
        if topics.imu is not None and topics.imu not in survey.accelerations:
            raise RecordingError(
                f"{path}: has no {Kind.IMU.value} under the topic {topics.imu}, which --topics names; it has "
                f"{described(survey.kinds)}"
            )
        tracks = [
            track
            for topic, (frame, track) in sorted(survey.accelerations.items())
            if topic == topics.imu or (topics.imu is None and frame == self.ego_frame)
        ]
        return tracks[0] if tracks else None


def _below(parent: NDArray[np.float64], child: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where a child's frame is in its parent's parent: seven values each."""
    moved = parent[:3] + rigid_matrix(parent)[:3, :3] @ child[:3]
    return np.concatenate([moved, quaternion_product(parent[3:_RIGID], child[3:_RIGID])])
