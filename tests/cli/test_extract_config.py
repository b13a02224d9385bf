"""`bevformer extract-config`, run as the command line runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.cli.app import LIBRARY_COMMANDS, run
from bevformer_lib.config.inference_config import inference_config_of, read_inference_config
from bevformer_lib.config.presets import PRESETS
from tests.config.support import FIXTURES


@pytest.mark.parametrize("source", ["tiny", str(FIXTURES / "bevformer" / "tiny.py")])
def test_preset_and_file_give_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str) -> None:
    output = tmp_path / "out" / "inference_config.json"
    assert run(LIBRARY_COMMANDS, ["extract-config", source, "--output", str(output)]) == 0
    assert read_inference_config(output) == inference_config_of(PRESETS["tiny"])
    assert "BEV 50 x 50, 900 queries, 10 classes, pictures 480 x 800" in capsys.readouterr().out


def test_image_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "inference_config.json"
    arguments = ["extract-config", "small", "--output", str(output), "--image-size", "256x448"]
    assert run(LIBRARY_COMMANDS, arguments) == 0
    assert "pictures 256 x 448" in capsys.readouterr().out


def test_hostile_config_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flag = tmp_path / "executed"
    config = tmp_path / "bad.py"
    config.write_text(f"import os\nos.system('touch {flag}')\n")
    output = tmp_path / "inference_config.json"
    assert run(LIBRARY_COMMANDS, ["extract-config", str(config), "--output", str(output)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {config}:1: an import is not allowed")
    assert list(tmp_path.iterdir()) == [config]


def test_wrong_image_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "inference_config.json"
    assert run(LIBRARY_COMMANDS, ["extract-config", "tiny", "--output", str(output), "--image-size", "big"]) == 1
    assert "'big' is not HEIGHTxWIDTH" in capsys.readouterr().err
    assert not output.exists()
