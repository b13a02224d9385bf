from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bevformer_lib.detections.infer_records import frame_line, frame_record, scene_record, scene_text
from bevformer_lib.scenes.types import Frame, Scene
from tests.drawing.examples import CAR_AHEAD, camera_calibration, detections
from tests.support.micro import CLASS_NAMES


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_text_of_a_scene_is_its_record_with_a_frame_on_a_line(count: int) -> None:
    frame = Frame(7, (), camera_calibration(6, (96, 160)), np.zeros(18), None, Path("meta"), sample_token="\u00fc[]\n}")
    records = [frame_record(frame, detections(*[CAR_AHEAD] * number), CLASS_NAMES) for number in range(count)]
    scene = Scene("scene \u00fc", (frame,))
    text = scene_text(scene, {"model": "m"}, CLASS_NAMES, [frame_line(record) for record in records])
    assert json.loads(text) == scene_record(scene, {"model": "m"}, CLASS_NAMES, records)
    assert text.count('"index"') == count == sum('"index"' in line for line in text.splitlines())
