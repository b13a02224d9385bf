"""What a command reads is never written over."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from bevformer_lib.cli.app import LIBRARY_COMMANDS, run
from bevformer_lib.cli.own_inputs import OUTPUTS


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("config.py", "graph.onnx", "config.json"):
        (tmp_path / name).write_text(f"precious {name}")
    for folder in ("calibration", "scenes"):
        (tmp_path / folder).mkdir()
    (tmp_path / "link.onnx").symlink_to("graph.onnx")
    (tmp_path / "hard.onnx").hardlink_to(tmp_path / "graph.onnx")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("extract-config config.py --output config.py", "config.py: would be written as output and read as config"),
        ("extract-config tiny --onnx graph.onnx --output ./graph.onnx", "output and read as onnx"),
        ("extract-config tiny --onnx graph.onnx --output link.onnx", "link.onnx: would be written as output and read"),
        ("convert graph.onnx calibration --output o.axmodel --log graph.onnx", "written as log and read as onnx"),
        ("convert graph.onnx calibration --output o.axmodel --log hard.onnx", "written as log and read as onnx"),
        ("convert graph.onnx calibration --output o --log scenes/../o", "written as output and written as log"),
        ("convert graph.onnx calibration --output graph.onnx", "written as output and read as onnx"),
        ("quantize graph.onnx calibration --output graph.onnx", "written as output and read as onnx"),
        ("infer graph.onnx config.json scenes --output-dir scenes/", "written as output-dir and read as scenes"),
        ("record graph.onnx config.json scenes --output-dir scenes", "written as output-dir and read as scenes"),
        ("evaluate graph.onnx graph.onnx config.json scenes --output config.json", "output and read as config-json"),
    ],
)
def test_an_output_that_is_an_input(
    files: Path, command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    assert run(LIBRARY_COMMANDS, command.split()) == 1
    assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in files.rglob("*") if path.is_file()} == before


def test_two_inputs_may_be_the_same(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(LIBRARY_COMMANDS, ["evaluate", "graph.onnx", "graph.onnx", "config.json", "scenes", "--output", "e.json"])
    assert "would be written" not in capsys.readouterr().err


def test_every_parameter_that_is_written_is_known() -> None:
    """A new command whose output has another name must add it."""
    found = set()
    for module, _ in LIBRARY_COMMANDS.values():
        command = importlib.import_module(module).command
        if not inspect.isfunction(command):
            continue
        for name, parameter in inspect.signature(command).parameters.items():
            told = re.search(rf"^ +{name}: (.*)", inspect.getdoc(command) or "", re.MULTILINE)
            if "Path" in str(parameter.annotation) and told and re.search(r"\b(write|fill)\b", told[1]):
                assert name in OUTPUTS, f"{module}: {name}"
                found.add(name)
    assert found == OUTPUTS
