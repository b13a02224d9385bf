from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.cli.app import EXIT_ERROR, EXIT_USAGE, LIBRARY_COMMANDS, run
from bevformer_lib.cli.check_scenes import scene_table
from bevformer_lib.scenes.reader import SceneRequirements, read_scenes
from tests.support.data import requires_shared_data, shared_data
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes


def check(*arguments: str) -> int:
    return run(LIBRARY_COMMANDS, ["check-scenes", *arguments])


def test_the_table_counts_frames_and_boxes(tmp_path: Path):
    root = write_scenes(tmp_path, num_scenes=2, frames_per_scene=3)
    table = scene_table(read_scenes(root, SceneRequirements.of_model(micro_config())))
    cells = [[*column.cells, column.footer] for column in table.columns]
    assert cells[0] == ["scene-0000", "scene-0001", "2 in all"]
    assert cells[1] == ["3", "3", "6"]
    assert cells[2] == ["12", "12", "24"]
    assert cells[3] == ["0.8", "0.8", "1.7"]


@requires_shared_data
def test_real_scenes_pass(capsys: pytest.CaptureFixture[str]):
    root = shared_data() / "nuscenes_scene_0103" / "extracted_data"
    assert check(str(root), "--config", "tiny") == 0
    assert "fcbccedd61424f1b85dcbf8f897f9754" in capsys.readouterr().out


def test_defects_go_to_stderr_with_their_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = write_scenes(tmp_path, num_scenes=1, frames_per_scene=1)
    assert check(str(root), "--config", "tiny") == EXIT_ERROR
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (
        "cam_05_000000.png: is 96 x 160 pixels (height x width); the configuration asks for 480 x 800" in captured.err
    )


def test_the_config_is_required(tmp_path: Path):
    assert check(str(tmp_path)) == EXIT_USAGE
