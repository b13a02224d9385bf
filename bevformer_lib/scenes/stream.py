"""Frames of a scene as network inputs, decoded while the caller works on the frame before."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.types import Frame, FrameInputs


@dataclass(frozen=True)
class DecodedFrame:
    """A frame, ready to be fed.

    Attributes:
        load_seconds: time that reading and decoding the images took, in the background included.
        preprocess_seconds: time that normalising and padding them took.
    """

    frame: Frame
    inputs: FrameInputs
    load_seconds: float
    preprocess_seconds: float

    @property
    def decode_seconds(self) -> float:
        """Time from the files to the network's inputs."""
        return self.load_seconds + self.preprocess_seconds


def stream_inputs(frames: Sequence[Frame], preprocessor: Preprocessor) -> Iterator[DecodedFrame]:
    """Yield the frames of one scene in order, with one frame decoded ahead in the background.

    Closing the iterator (which leaving a `for` loop by an exception does) ends the background thread, after the frame
    that it is at.

    Args:
        frames: frames in time order; ``frames[0]`` is the first of its scene.
        preprocessor: decodes them.

    Raises:
        SceneError: an image can't be decoded; raised when its frame is due.
    """

    def decode(position: int) -> DecodedFrame:
        start = time.perf_counter()
        previous = frames[position - 1] if position else None
        images = preprocessor.load(frames[position])
        loaded = time.perf_counter()
        inputs = preprocessor.prepare(frames[position], previous, images)
        return DecodedFrame(frames[position], inputs, loaded - start, time.perf_counter() - loaded)

    with ThreadPoolExecutor(1, thread_name_prefix="decode-ahead") as background:
        ahead: Future[DecodedFrame] | None = None
        for position in range(len(frames)):
            due = ahead or background.submit(decode, position)
            decoded = due.result()
            ahead = background.submit(decode, position + 1) if position + 1 < len(frames) else None
            yield decoded
