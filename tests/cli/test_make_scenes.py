from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.cli.app import EXIT_ERROR
from bevformer_lib.synthetic_scenes.make import RECIPE_NAME
from tests.support.commands import bevformer


def test_renders_checks_and_leaves_finished_scenes_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "scenes"
    arguments = ("make-scenes", "--output", output, "--num-scenes", "1", "--frames", "1")
    assert bevformer(*arguments) == 0
    said = capsys.readouterr().out
    assert "1 synthetic scenes of 1 frames, 6 cameras of 480 x 800 pixels, seed 0 (1 of 1 rendered now)" in said
    assert bevformer("check-scenes", output, "--config", "tiny") == 0
    assert bevformer(*arguments) == 0
    assert "all there already, nothing to do" in capsys.readouterr().out
    assert bevformer(*arguments, "--seed", "1") == EXIT_ERROR
    assert f"seed differ, see {RECIPE_NAME}" in capsys.readouterr().err


def test_an_unknown_model_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer("make-scenes", "--output", tmp_path / "scenes", "--model", "huge") == EXIT_ERROR
    assert "huge" in capsys.readouterr().err
    assert not (tmp_path / "scenes").exists()
