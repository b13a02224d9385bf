from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bevformer_lib.drawing.processes import DrawingProcesses, draw_here, open_drawing_processes
from bevformer_lib.drawing.scene import SceneStyle
from bevformer_lib.errors import OutputError
from bevformer_lib.scenes.types import Frame, ImageRef
from tests.drawing.examples import CAR_AHEAD, camera_calibration, detections, gray_images
from tests.support.micro import CLASS_NAMES, PC_RANGE

HW = (96, 160)
STYLE = SceneStyle("scene \u00fc", "m.onnx", CLASS_NAMES, PC_RANGE, 0.3)
IMAGES = gray_images(6, HW)


def frame(number: int) -> Frame:
    recorded = ImageRef(Path("drive.mcap"), pixels=lambda: IMAGES[0])  # as a recording has it: no process takes it over
    meta = Path(f"meta_{number:06d}.json")
    return Frame(number, (recorded,) * 6, camera_calibration(6, HW), np.zeros(18), (), meta)


def children() -> set[int]:
    """Processes that draw for this one."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"drawing.processes" in (path / "cmdline").read_bytes():
                found.add(int(path.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def drawing() -> Iterator[DrawingProcesses]:
    with open_drawing_processes(2) as processes:
        yield processes
    assert children() == set()


def test_the_image_is_that_which_is_drawn_here(drawing: DrawingProcesses) -> None:
    with ThreadPoolExecutor(4) as pool:
        given = [(STYLE, frame(number), IMAGES, detections(*[CAR_AHEAD] * number)) for number in range(6)]
        drawn = list(pool.map(lambda arguments: drawing(*arguments), given))
    for found, arguments in zip(drawn, given, strict=True):
        np.testing.assert_array_equal(found.image, draw_here(*arguments).image)
        assert found.cpu_seconds > 0.0


def test_frames_of_another_size_follow(drawing: DrawingProcesses) -> None:
    larger = gray_images(6, (480, 800))
    for images in (IMAGES, larger, IMAGES):
        arguments: Any = (STYLE, frame(1), images, detections(CAR_AHEAD))
        np.testing.assert_array_equal(drawing(*arguments).image, draw_here(*arguments).image)


def test_what_fails_there_is_raised_here_and_the_next_frame_is_drawn(drawing: DrawingProcesses) -> None:
    unknown = detections(CAR_AHEAD, labels=(99,))
    for _ in range(2):
        with pytest.raises(IndexError):
            drawing(STYLE, frame(1), IMAGES, unknown)
    assert drawing(STYLE, frame(1), IMAGES, detections(CAR_AHEAD)).image.shape[2] == 3


def test_a_killed_process_is_an_error_that_says_so() -> None:
    before = children()
    with open_drawing_processes(1) as drawing:
        [process] = children() - before
        drawing(STYLE, frame(1), IMAGES, detections(CAR_AHEAD))
        os.kill(process, signal.SIGKILL)
        with pytest.raises(OutputError, match=r"frame 2 of scene .* ended by signal 9; check the free memory"):
            drawing(STYLE, frame(2), IMAGES, detections(CAR_AHEAD))
    assert children() == before


def test_the_processes_end_with_a_parent_that_is_killed() -> None:
    program = (
        "import os, time\n"
        "from bevformer_lib.drawing.processes import open_drawing_processes\n"
        "with open_drawing_processes(1) as drawing:\n"
        "    print(drawing._idle.get()._process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 20.0
    while Path(f"/proc/{process}").exists() and time.monotonic() < deadline:
        state = Path(f"/proc/{process}/stat")
        if state.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{process}").exists()
