from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from bevformer_lib.backends.converters import open_converter
from bevformer_lib.convert.base import Converter
from bevformer_lib.convert.selection import select_nodes
from bevformer_lib.names import OUTPUT_BEV_EMBED
from bevformer_lib.precision.builders import CandidateBuilder, ConverterBuilder, EmbeddedBuilder
from bevformer_lib.precision.requests import write_overrides
from bevformer_lib.pulsar2.converter import Pulsar2Options
from bevformer_lib.pulsar2.simulator import Pulsar2Run
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.runtime.temporal import TemporalSession
from tests.standins.install import install_standin
from tests.support.calibration import ToyWorld, make_calibration, make_toy_world
from tests.support.planted import plant_sensitive_layers

LAYER = "toy/history"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    folder = tmp_path_factory.mktemp("plänted")
    plain = make_toy_world(folder, num_scenes=1, frames_per_scene=3)
    model = plant_sensitive_layers(plain.model, folder / "planted.onnx", [LAYER])
    return dataclasses.replace(plain, model=model)


@pytest.fixture(scope="module")
def calibration(world: ToyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_calibration(world, tmp_path_factory.mktemp("calibration"), num_samples=3)


def error(world: ToyWorld, builder: CandidateBuilder, kept: Sequence[str], output: Path) -> float:
    """Build a candidate and return the relative error of ``bev_embed`` after two frames."""
    builder.build(kept, output)
    sessions = [TemporalSession(runtime) for runtime in (OnnxRuntime(world.model, threads=1), builder.open(output))]
    frames = world.scenes["scene-0000"].frames
    for position in range(2):
        inputs = world.preprocessor.inputs(frames[position], frames[position - 1] if position else None)
        expected, given = (one.step(inputs, first=position == 0).outputs[OUTPUT_BEV_EMBED] for one in sessions)
    return float(np.linalg.norm(given - expected) / np.linalg.norm(expected))


def test_the_embedded_quantiser(world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    builder = EmbeddedBuilder(world.model, calibration, tmp_path / "state", threads=1)
    worst = error(world, builder, [], tmp_path / "none.onnx")
    kept = error(world, builder, [LAYER], tmp_path / "kept.onnx")
    assert 0 < kept < 0.2 * worst
    assert error(world, builder, builder.layers, tmp_path / "all.onnx") == 0.0


def test_ranges_are_read_back_and_give_the_same_model(world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    first = EmbeddedBuilder(world.model, calibration, tmp_path / "state", threads=1)
    first.build([LAYER], tmp_path / "first.onnx")
    again = EmbeddedBuilder(world.model, tmp_path / "no calibration needed", tmp_path / "state", threads=1)
    again.build([LAYER], tmp_path / "again.onnx")
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "again.onnx").read_bytes()
    assert first.layers == select_nodes(onnx.load(world.model).graph).layers


def test_any_converter(world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = install_standin("pulsar2", tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{command.parent}:/usr/bin:/bin")

    def converter_for(layers: Sequence[str]) -> Converter:
        write_overrides(layers, tmp_path / "overrides.yaml")
        return open_converter("pulsar2", pulsar2=Pulsar2Options(recipe="int8", overrides=tmp_path / "overrides.yaml"))

    builder = ConverterBuilder(
        world.model, calibration, converter_for=converter_for, open_model=Pulsar2Run, suffix=".axmodel"
    )
    worst = error(world, builder, [], tmp_path / "none.axmodel")
    kept = error(world, builder, [f"{LAYER}.planted"], tmp_path / "kept.axmodel")
    assert 0 < kept < 0.2 * worst
