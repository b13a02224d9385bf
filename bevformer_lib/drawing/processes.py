"""Drawing in processes of its own, beside threads that must not wait for it.

A frame with hundreds of boxes is drawn by thousands of short calls, and at each of them Python's lock can change hands:
in a thread of the process that feeds a model, that costs more than the drawing itself, and delays the model. Images go
there and back through memory that both processes map; the rest through pipes, whose end (also that of a killed parent)
ends the process.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import queue
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any, Final, cast

import cv2
import numpy as np

from bevformer_lib.detections.types import Detections
from bevformer_lib.drawing.scene import SceneStyle, draw_scene_frame
from bevformer_lib.drawing.style import Image
from bevformer_lib.errors import OutputError
from bevformer_lib.scenes.types import Frame

_PROGRAM: Final = (
    "import sys; sys.path[:] = {path!r}; from bevformer_lib.drawing.processes import serve; serve({descriptor})"
)
_KEEP_MEMORY: Final = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
"""For glibc: canvases of a few MB are given back to the process, not to the system, which would clear each anew."""
_END_SECONDS: Final = 5.0


@dataclass(frozen=True)
class DrawnFrame:
    """A frame's image.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        cpu_seconds: CPU time that another process took for it.
    """

    image: Image
    cpu_seconds: float = 0.0


def draw_here(style: SceneStyle, frame: Frame, images: Sequence[Image], detections: Detections) -> DrawnFrame:
    """Draw a frame in this thread; see :func:`bevformer_lib.drawing.scene.draw_scene_frame`."""
    return DrawnFrame(draw_scene_frame(style, frame, images, detections))


class DrawingProcesses:
    """Draws as many frames at once as there are processes; made by :func:`open_drawing_processes`."""

    def __init__(self, processes: Sequence[_DrawingProcess]) -> None:
        self._idle: queue.SimpleQueue[_DrawingProcess] = queue.SimpleQueue()
        for process in processes:
            self._idle.put(process)

    def __call__(self, style: SceneStyle, frame: Frame, images: Sequence[Image], detections: Detections) -> DrawnFrame:
        """Draw a frame as :func:`draw_here` does, and wait for it; from any thread.

        Raises:
            OutputError: the process failed or was killed.
        """
        process = self._idle.get()
        try:
            return process.draw(style, frame, images, detections)
        finally:
            self._idle.put(process)


@contextmanager
def open_drawing_processes(count: int) -> Iterator[DrawingProcesses]:
    """Give what draws in ``count`` processes; they end with the block, and with this process however it ends."""
    with ExitStack() as stack:
        processes = []
        for _ in range(count):
            processes.append(_DrawingProcess())
            stack.callback(processes[-1].end)
        yield DrawingProcesses(processes)


class _DrawingProcess:
    """A process that draws a frame at a time."""

    def __init__(self) -> None:
        descriptor = os.memfd_create("bevformer-drawing")
        self._memory = _SharedMemory(descriptor)
        # Its own session: Ctrl-C reaches this process alone, which then ends the other.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM.format(path=sys.path, descriptor=descriptor)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[descriptor],
            env={**os.environ, **_KEEP_MEMORY},
            start_new_session=True,
        )
        self._requests = cast("IO[bytes]", self._process.stdin)
        self._answers = cast("IO[bytes]", self._process.stdout)

    def draw(self, style: SceneStyle, frame: Frame, images: Sequence[Image], detections: Detections) -> DrawnFrame:
        shape = (len(images), *images[0].shape)
        for copy, image in zip(self._memory.array(shape), images, strict=True):
            copy[:] = image
        try:
            request = style, replace(frame, images=()), shape, detections
            pickle.dump(request, self._requests, pickle.HIGHEST_PROTOCOL)
            self._requests.flush()
            answer = pickle.load(self._answers)  # noqa: S301 - of our own process
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            status = self._process.wait()
            raise OutputError(
                f"frame {frame.index} of {style.scene_name} can't be drawn: the process that draws ended "
                f"{f'by signal {-status}' if status < 0 else f'with status {status}'}; check the free memory, or go "
                "without images and video"
            ) from error
        if isinstance(answer, Exception):
            raise answer
        drawn_shape, cpu_seconds = answer
        return DrawnFrame(self._memory.array(drawn_shape).copy(), cpu_seconds)

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._requests.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        self._memory.close()


class _SharedMemory:
    """Memory of a descriptor, as large as the largest array that was asked for."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._map: mmap.mmap | None = None

    def array(self, shape: tuple[int, ...]) -> Image:
        """Return the memory's beginning as uint8 of this shape."""
        size = int(np.prod(shape))
        if os.fstat(self._descriptor).st_size < size:
            os.ftruncate(self._descriptor, size)
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self._descriptor, 0)
        return np.frombuffer(self._map, dtype=np.uint8, count=size).reshape(shape)

    def close(self) -> None:
        self._map = None
        os.close(self._descriptor)


def serve(descriptor: int) -> None:
    """Draw what standard input asks for until it ends; the main function of the process that draws."""
    cv2.setNumThreads(1)
    memory = _SharedMemory(descriptor)
    requests = sys.stdin.buffer
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever writes there must not mix with the answers
        while True:
            try:
                style, frame, shape, detections = pickle.load(requests)  # noqa: S301 - of our own parent
            except EOFError:
                return
            begun = time.process_time()
            answer: Any
            try:
                image = draw_scene_frame(style, frame, list(memory.array(shape)), detections)
                memory.array(image.shape)[:] = image
                answer = image.shape, time.process_time() - begun
            except Exception as error:
                answer = error
            pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
