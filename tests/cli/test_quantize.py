from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.calibration import ToyWorld, make_calibration
from tests.support.commands import bevformer


def test_quantizes(toy_world: ToyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calibration, output = make_calibration(toy_world, tmp_path), tmp_path / "wörk dir" / "int8.onnx"
    arguments = ("quantize", toy_world.model, calibration, "--output", output)
    assert bevformer(*arguments, "--converter", "onnxruntime") == 0
    printed = capsys.readouterr().out
    assert "Gemm" in printed
    assert " times smaller), 4 samples, " in printed
    assert output.stat().st_size < toy_world.model.stat().st_size


def test_an_output_that_is_no_graph_is_refused_at_once(
    toy_world: ToyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bevformer("quantize", toy_world.model, tmp_path / "none", "--output", tmp_path / "int8.txt") == 1
    assert "int8.txt: name the quantised model to write with the suffix .onnx" in capsys.readouterr().err
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "int8.onnx"
    assert bevformer("quantize", toy_world.model, tmp_path / "none", "--output", output) == 1
    assert "file is a file, not a folder" in capsys.readouterr().err


def test_unknown_converter(toy_world: ToyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("quantize", toy_world.model, tmp_path, "--output", tmp_path / "x.onnx", "--converter", "magic")
    assert bevformer(*arguments) == 1
    assert "converter 'magic' is not known; use one of: onnxruntime" in capsys.readouterr().err
