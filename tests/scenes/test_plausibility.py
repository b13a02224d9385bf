"""Scenes whose files are sound, but that no car has driven."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import bevformer
from tests.support.scenes import write_scenes

MICRO = Path(__file__).parents[1] / "support" / "micro_original.py"


def change(scene: Path, frame: int, edit: Callable[[dict[str, Any]], None]) -> None:
    path = scene / f"meta_{frame:06d}.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def repeat_images(scene: Path) -> None:
    for path in scene.glob("cam_*_000000.png"):
        shutil.copy(path, path.with_name(path.name.replace("000000", "000001")))


def times(*microseconds: int) -> Callable[[Path], None]:
    def edit(scene: Path) -> None:
        for frame, time in enumerate(microseconds):
            change(scene, frame, lambda content, time=time: content.update(timestamp=time))  # type: ignore[misc]

    return edit


def teleport(scene: Path) -> None:
    change(scene, 2, lambda content: content["can_bus"].__setitem__(0, 50_000.0))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (times(3_000_000, 2_000_000, 4_000_000), "lies before that of the frame before"),
        (times(1_000_000, 1_000_000, 2_000_000), "its timestamp is that of the frame before"),
        (repeat_images, "all images are those of the frame before"),
        (teleport, "the car jumps by"),
    ],
)
def test_what_no_drive_has_is_a_warning(
    edit: Callable[[Path], None], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_scenes(tmp_path, num_scenes=1, frames_per_scene=3)
    assert bevformer("check-scenes", root, "--config", MICRO) == 0
    assert "warning" not in caplog.text
    edit(root / "scene-0000")
    assert bevformer("check-scenes", root, "--config", MICRO) == 0
    assert said in caplog.text and "meta_00000" in caplog.text
