from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from bevformer_lib.drawing import video
from bevformer_lib.drawing.video import open_video
from bevformer_lib.errors import OutputError


def frames(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2] = (0, 0, 220)
    return [np.roll(image, 4 * step, axis=1) for step in range(count)]


def write(path: Path, images: list[np.ndarray], fps: float = 2.0) -> Path:
    with open_video(path, fps=fps) as writer:
        for image in images:
            writer.write(image)
    return path


def test_video_holds_the_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "Zürich 東京 it's: 100%.mp4", frames(5), fps=4)
    described = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True)
    assert "h264" in described.stderr
    assert "yuv420p" in described.stderr
    assert "64x48" in described.stderr
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays while it loads
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == 4
    decoded = [capture.read() for _ in range(6)]
    assert [ok for ok, _ in decoded] == [True] * 5 + [False]
    assert decoded[0][1][24, 8].tolist() == pytest.approx([0, 0, 220], abs=25)


def test_odd_sizes_are_made_even(tmp_path: Path) -> None:
    path = write(tmp_path / "odd.mp4", frames(2, 47, 63))
    ok, image = cv2.VideoCapture(str(path)).read()
    assert ok
    assert image.shape == (48, 64, 3)


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a.mp4", frames(6)), write(tmp_path / "b.mp4", frames(6))
    assert one.read_bytes() == other.read_bytes()


def test_nothing_is_left_of_a_video_that_was_given_up(tmp_path: Path) -> None:
    encoder = None
    with pytest.raises(KeyboardInterrupt), open_video(tmp_path / "v.mp4", fps=2) as writer:
        writer.write(frames(1)[0])
        encoder = writer._encoder
        raise KeyboardInterrupt
    assert encoder is not None
    assert encoder._process.returncode is not None
    assert list(tmp_path.iterdir()) == []


def test_dead_encoder_is_one_clear_error(tmp_path: Path) -> None:
    big = np.zeros((1080, 1920, 3), np.uint8)
    expected = r"v\.mp4: the video can't be written, ffmpeg was ended by signal 9"
    with pytest.raises(OutputError, match=expected), open_video(tmp_path / "v.mp4", fps=2) as writer:
        writer.write(big)
        assert writer._encoder is not None
        writer._encoder._process.kill()
        for _ in range(50):
            writer.write(big)
    assert list(tmp_path.iterdir()) == []


def test_last_words_of_the_encoder_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "ffmpeg"
    script.write_text("#!/bin/sh\necho 'first line' >&2\necho 'No space left on device' >&2\nexit 7\n")
    script.chmod(0o755)
    monkeypatch.setattr(video, "_ffmpeg", lambda: str(script))
    with pytest.raises(OutputError, match=r"(?s)failed with status 7.*No space left on device"):
        write(tmp_path / "v.mp4", frames(3))
    assert not (tmp_path / "v.mp4").exists()


def test_missing_encoder_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_ffmpeg", lambda: str(tmp_path / "none"))
    with pytest.raises(OutputError, match="none: ffmpeg can't be started"):
        write(tmp_path / "v.mp4", frames(1))


def test_video_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="at least one frame"):
        write(tmp_path / "v.mp4", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_rates_are_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(OutputError, match="frames per second"):
        write(tmp_path / "v.mp4", frames(1), fps=fps)


def test_frames_of_two_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(50, 64, 3\) in a video of \(48, 64, 3\)"):
        write(tmp_path / "v.mp4", [*frames(1), *frames(1, 50)])


def test_interrupt_ends_the_encoder_too(tmp_path: Path) -> None:
    """Ctrl-C in a terminal reaches every process of the group; the encoder must neither survive nor leave a file."""
    program = (
        "import sys, time, numpy as np\n"
        "from pathlib import Path\n"
        "from bevformer_lib.drawing.video import open_video\n"
        "with open_video(Path(sys.argv[1]), fps=2) as writer:\n"
        "    writer.write(np.zeros((48, 64, 3), np.uint8))\n"
        "    print(writer._encoder._process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "v.mp4")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    encoder = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) != 0
    process.stdout.close()
    for _ in range(100):
        if not Path(f"/proc/{encoder}").exists():
            break
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(encoder, 0)
    assert list(tmp_path.iterdir()) == []
