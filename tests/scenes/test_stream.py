from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bevformer_lib.errors import SceneError
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.reader import SceneRequirements, read_scenes
from bevformer_lib.scenes.stream import stream_inputs
from bevformer_lib.scenes.types import Frame
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes

REQUIREMENTS = SceneRequirements.of_model(micro_config())
PREPROCESSOR = Preprocessor(REQUIREMENTS.image_hw, REQUIREMENTS.img_norm)


@pytest.fixture
def frames(tmp_path: Path) -> tuple[Frame, ...]:
    return read_scenes(write_scenes(tmp_path, num_scenes=1, frames_per_scene=4), REQUIREMENTS)[0].frames


class Recording(Preprocessor):
    """Notes which frames it was asked for."""

    def __init__(self) -> None:
        super().__init__(REQUIREMENTS.image_hw, REQUIREMENTS.img_norm)
        object.__setattr__(self, "asked", [])

    def load(self, frame: Frame) -> list[np.ndarray]:
        self.asked.append(frame.index)  # type: ignore[attr-defined]
        return super().load(frame)


def background_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode-ahead")]


def test_frames_come_in_order_and_equal_the_direct_way(frames: tuple[Frame, ...]):
    streamed = list(stream_inputs(frames, PREPROCESSOR))
    assert [decoded.frame for decoded in streamed] == list(frames)
    for decoded, previous in zip(streamed, (None, *frames), strict=False):
        expected = PREPROCESSOR.inputs(decoded.frame, previous)
        np.testing.assert_array_equal(decoded.inputs.img, expected.img)
        np.testing.assert_array_equal(decoded.inputs.can_bus, expected.can_bus)
        np.testing.assert_array_equal(decoded.inputs.lidar2img, expected.lidar2img)
        assert decoded.load_seconds > 0.0
        assert decoded.preprocess_seconds > 0.0
        assert decoded.decode_seconds == decoded.load_seconds + decoded.preprocess_seconds
    assert background_threads() == []


def test_no_frames_no_work():
    assert list(stream_inputs((), PREPROCESSOR)) == []


def test_one_frame_is_decoded_while_the_caller_works_and_no_more(frames: tuple[Frame, ...]):
    recording = Recording()
    stream = stream_inputs(frames, recording)
    for position in range(len(frames)):
        next(stream)
        wanted = min(position + 2, len(frames))
        deadline = time.monotonic() + 10.0
        while len(recording.asked) < wanted and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert recording.asked == list(range(wanted))  # type: ignore[attr-defined]


def test_an_unreadable_image_is_raised_when_its_frame_is_due(frames: tuple[Frame, ...]):
    frames[2].images[1].path.write_bytes(b"")
    stream = stream_inputs(frames, PREPROCESSOR)
    assert [next(stream).frame.index, next(stream).frame.index] == [0, 1]
    with pytest.raises(SceneError, match=r"cam_01_000002\.png: can't be"):
        next(stream)
    assert background_threads() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_exception_in_the_caller_leaves_no_thread_behind(frames: tuple[Frame, ...], error: type[BaseException]):
    def work() -> None:
        for _ in stream_inputs(frames, PREPROCESSOR):
            raise error

    with pytest.raises(error):
        work()
    assert background_threads() == []


def test_closing_the_stream_ends_it(frames: tuple[Frame, ...]):
    stream = stream_inputs(frames, PREPROCESSOR)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert background_threads() == []
