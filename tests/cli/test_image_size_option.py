"""Errors recommend --image-size: every command that takes a model config has it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from flows.cli import commands
from tests.support.commands import bevformer


def test_every_command_that_takes_a_config_takes_the_size() -> None:
    lacking = []
    for name, (module, _) in commands().items():
        options = import_module(module).command.__annotations__
        takes_a_config = options.get("config") in ("str", "Path") or options.get("model") in ("str", "str | None")
        if takes_a_config and "image_size" not in options:
            lacking.append(name)
    assert lacking == []


def test_the_size_reaches_the_scenes_that_are_made_and_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes, size = tmp_path / "scenes", ("--image-size", "96x160")
    assert bevformer("make-scenes", "--output", scenes, "--num-scenes", "1", "--frames", "1", *size) == 0
    assert "96 x 160 pixels" in capsys.readouterr().out
    assert bevformer("check-scenes", scenes, "--config", "tiny", *size) == 0
    assert bevformer("check-scenes", scenes, "--config", "tiny") == 1
    assert bevformer("check-scenes", scenes, "--config", "tiny", "--image-size", "96by160") == 1
    assert "is not HEIGHTxWIDTH" in capsys.readouterr().err
