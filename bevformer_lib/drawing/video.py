"""H.264 videos, encoded by the ffmpeg that imageio-ffmpeg carries (OpenCV's own can't write H.264)."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

import cv2
import numpy as np

from bevformer_lib.drawing.style import Image
from bevformer_lib.errors import OutputError
from bevformer_lib.files import atomic_path

_QUALITY_CRF: Final = 20
_PRESET: Final = "ultrafast"
"""Measured on frames of 2532 x 770 with 300 boxes: 39 ms of processor a frame, where veryfast takes 167 ms and makes
files a seventh smaller; encoding runs beside the model on the same processors."""
_ENCODER_THREADS: Final = 1
"""Fixed, so that the bytes don't depend on the machine; a few frames per second need no more."""
_LINES_OF_ERROR: Final = 5


@contextmanager
def open_video(path: Path, *, fps: float) -> Iterator[VideoWriter]:
    """Give a writer of an MP4 file; the file appears under its name when the block ends well, and not otherwise.

    The same frames give the same bytes, with the same ffmpeg. The encoder never outlives the block, however it ends.

    Args:
        path: the file, ending in ``.mp4``.
        fps: frames per second.

    Raises:
        OutputError: ``fps`` is not positive, ffmpeg is missing or fails, or no frame was written.
    """
    if not 0 < fps < float("inf"):
        raise OutputError(f"{path}: a video of {fps} frames per second can't be made; give a positive number")
    with atomic_path(path) as temporary:
        writer = VideoWriter(temporary, path, fps)
        try:
            yield writer
            writer.finish()
        finally:
            writer.abort()


class VideoWriter:
    """Feeds frames to an encoder; made by :func:`open_video`."""

    def __init__(self, temporary: Path, path: Path, fps: float) -> None:
        self._temporary = temporary
        self._path = path
        self._fps = fps
        self._frame_shape: tuple[int, ...] = ()
        self._encoder: _Encoder | None = None

    def write(self, frame: Image) -> None:
        """Add a frame, (H, W, 3) uint8 BGR, all of one size; odd sizes get one more row or column of the border.

        Raises:
            OutputError: ffmpeg is missing or ended.
            ValueError: the frame's size is not that of the first.
        """
        height, width = frame.shape[:2]
        even = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        if self._encoder is None:
            self._frame_shape = frame.shape
            command = _command(self._temporary, (even.shape[1], even.shape[0]), self._fps)
            self._encoder = _Encoder(command, self._path)
        elif frame.shape != self._frame_shape:
            raise ValueError(f"{self._path}: a frame of {frame.shape} in a video of {self._frame_shape}")
        self._encoder.feed(np.ascontiguousarray(even).data)

    def finish(self) -> None:
        """End the video and wait until the encoder has written it.

        Raises:
            OutputError: there were no frames, or ffmpeg failed.
        """
        if self._encoder is None:
            raise OutputError(f"{self._path}: a video needs at least one frame")
        self._encoder.finish()

    def abort(self) -> None:
        """End the encoder if it still runs."""
        if self._encoder is not None:
            self._encoder.end()


class _Encoder:
    """A running ffmpeg."""

    def __init__(self, command: list[str], path: Path) -> None:
        self._path = path
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - `end` closes it
        # Its own session: Ctrl-C reaches this process alone, which then ends the encoder.
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._messages,
                start_new_session=True,
            )
        except OSError as error:
            self._messages.close()
            raise OutputError(f"{command[0]}: ffmpeg can't be started ({error}); reinstall imageio-ffmpeg") from error
        self._pixels = cast("IO[bytes]", self._process.stdin)

    def feed(self, pixels: memoryview) -> None:
        try:
            self._pixels.write(pixels)
        except OSError as error:
            self._process.wait()
            raise self._failure() from error

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            self._pixels.close()
        if self._process.wait() != 0:
            raise self._failure()

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):
            self._pixels.close()
        self._messages.close()

    def _failure(self) -> OutputError:
        """Return the error of an encoder that has ended, with its last words."""
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        said = "".join(f"\n  {line}" for line in lines[-_LINES_OF_ERROR:])
        status = self._process.returncode
        reason = f"was ended by signal {-status}" if status < 0 else f"failed with status {status}"
        return OutputError(
            f"{self._path}: the video can't be written, ffmpeg {reason}; check the free disk space and memory, "
            f"or go without videos{said}"
        )


def _command(output: Path, size_wh: tuple[int, int], fps: float) -> list[str]:
    """Return the command that encodes raw BGR frames from its standard input.

    ``bitexact`` keeps versions and dates out of the file; ``faststart`` lets browsers play it while it loads.
    """
    size = f"{size_wh[0]}x{size_wh[1]}"
    return [
        *(_ffmpeg(), "-hide_banner", "-loglevel", "error", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "bgr24", "-s", size, "-r", f"{fps:g}", "-i", "pipe:0"),
        *("-c:v", "libx264", "-preset", _PRESET, "-crf", str(_QUALITY_CRF), "-threads", str(_ENCODER_THREADS)),
        *("-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
        *("-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart", "-f", "mp4"),
        f"file:{output}",
    ]


def _ffmpeg() -> str:
    """Return the path of imageio-ffmpeg's ffmpeg."""
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise OutputError(
            f"no ffmpeg to make videos ({error}); install it with 'pip install imageio-ffmpeg', or go without videos"
        ) from error
