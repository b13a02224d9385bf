from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mcap.writer import Writer

from bevformer_lib.recordings.survey import survey_recording
from bevformer_lib.recordings.topics import Topics

LATEST_NS = 2**64 - 1
POINT = {"x": 0.0, "y": 0.0, "z": 0.0}
POSE = {"position": POINT, "orientation": {**POINT, "w": 1.0}}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"


def header(sec: int = 1, nsec: int = 0) -> dict[str, Any]:
    return {"stamp": {"sec": sec, "nsec": nsec}, "frame_id": "base_link"}


@pytest.mark.parametrize(
    ("kind", "content", "log_time_ns", "said"),
    [
        ("sensor_msgs/Imu", {"header": header(), "linear_acceleration": {**POINT, "x": float("nan")}}, 5, "finite"),
        ("sensor_msgs/CompressedImage", {"header": header(1, 10**30), "data": PNG}, 5, "expected seconds and nano"),
        ("sensor_msgs/CompressedImage", {"header": header(0), "data": PNG}, LATEST_NS, "which is no time"),
        ("sensor_msgs/CompressedImage", {"timestamp": {"sec": 1, "nsec": 0}, "data": PNG}, 5, "frame_id"),
        ("geometry_msgs/PoseStamped", {"header": header(0), "pose": POSE}, LATEST_NS, "which is no time"),
    ],
)
def test_of_a_topic_whose_messages_are_left_out_nothing_is_kept(
    kind: str, content: dict[str, Any], log_time_ns: int, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "drive.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        schema = writer.register_schema(kind, "jsonschema", b"{}")
        channel = writer.register_channel("/front/any", "json", schema)
        writer.add_message(channel, log_time_ns, json.dumps(content).encode(), log_time_ns)
        writer.finish()
    found = survey_recording(path, Topics(), ["CAM_FRONT"])
    assert said in str(found.defects["/front/any"][0])
    assert not (found.images["/front/any"] or found.poses or found.accelerations)
