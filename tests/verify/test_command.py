"""The command line of verify, against the stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import bevformer
from tests.support.toy_graph import write_toy_graph
from tests.verify.conftest import CONFIG, IMAGE_SIZE, STANDIN, MakePlugin

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def arguments(plugin_dir: Path, checkpoint: Path, scenes: Path) -> tuple[str | Path, ...]:
    named = {"plugin-dir": plugin_dir, "config": CONFIG, "checkpoint": checkpoint, "scenes": scenes}
    options = [part for name, value in named.items() for part in (f"--{name}", value)]
    return ("verify", *options, "--image-size", IMAGE_SIZE)


@pytest.mark.usefixtures("openmmlab_standin")
def test_models_that_agree(
    make_plugin: MakePlugin,
    checkpoint: Path,
    scenes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "verify.json"
    options = ("--frames", "2", "--end-scene", "1", "--output", output)
    assert bevformer(*arguments(make_plugin(), checkpoint, scenes), *options) == 0
    table = capsys.readouterr().out
    assert "2 frames" in table and "decoder.layer2.cross" in table and "first divergence" not in table
    written = json.loads(output.read_text())
    assert written["frames"] == 2
    assert written["first_divergence"] == {"PyTorch": None}
    assert len(written["comparisons"]) == 2 * 23

    assert bevformer(*arguments(make_plugin, checkpoint, scenes), *options) == 1
    assert "exists already" in capsys.readouterr().err


def test_a_divergence_ends_with_status_1_and_its_name(
    make_plugin: MakePlugin, checkpoint: Path, scenes: Path, tmp_path: Path
) -> None:
    plugin_dir = make_plugin(("pts_bbox_head.transformer.encoder.layers.0.attentions.1", 1.02))
    output = tmp_path / "verify.json"
    options = ("--frames", "1", "--end-scene", "1", "--output", output)
    words = [str(word) for word in (*arguments(plugin_dir, checkpoint, scenes), *options)]
    # A process of its own: a plugin is imported once, and here it is another one than in the test before.
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(STANDIN / "site")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert (
        "PyTorch first diverges from the original at 'encoder.layer0.spatial' in frame 0 of scene-0000" in done.stderr
    )
    (marked,) = [line for line in done.stdout.splitlines() if "<- first divergence" in line]
    assert "encoder.layer0.spatial" in marked
    assert json.loads(output.read_text())["first_divergence"]["PyTorch"]["tensor"] == "encoder.layer0.spatial"


@pytest.mark.usefixtures("openmmlab_standin")
def test_a_graph_of_another_model_is_refused_before_the_original_is_built(
    make_plugin: MakePlugin, checkpoint: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = write_toy_graph(tmp_path / "other.onnx", image_hw=(96, 128), decoder_layers=3)
    plugin_dir = make_plugin(code="raise RuntimeError('built')")
    assert bevformer(*arguments(plugin_dir, checkpoint, scenes), "--onnx", graph) == 1
    said = capsys.readouterr().err
    assert f"error: {graph}: this graph is not the model" in said
    assert "its image size: 96 x 128, the config's: 96 x 160" in said
    assert "built" not in said


def test_the_help_says_that_code_is_executed(capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer("verify", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "which it executes" in text
    assert "ITS CODE IS EXECUTED" in text.replace("│ ", "")
