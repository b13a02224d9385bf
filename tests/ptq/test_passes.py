"""A graph file through the passes: what stands behind it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from bevformer_lib.convert.base import FLOAT_MODEL_SHA256, PTQ_PASSES
from bevformer_lib.emulator.converter import EmulatorConverter, EmulatorOptions
from bevformer_lib.errors import ConversionError
from bevformer_lib.files import sha256_of_file
from bevformer_lib.ptq.names import LEARN_ROUNDING
from bevformer_lib.ptq.passes import apply_passes
from tests.support.calibration import ToyWorld, make_calibration, make_toy_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    return make_toy_world(tmp_path_factory.mktemp("toy world"))


@pytest.fixture(scope="module")
def calibration(world: ToyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_calibration(world, tmp_path_factory.mktemp("calibration"))


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}


def test_what_is_made_of_the_result_names_the_exported_graph(
    world: ToyWorld, calibration: Path, tmp_path: Path
) -> None:
    learnt, emulated = tmp_path / "learnt.onnx", tmp_path / "emulated.onnx"
    facts = apply_passes(world.model, calibration, learnt, threads=1)
    assert facts[LEARN_ROUNDING]["layers"] > 0
    assert facts[LEARN_ROUNDING]["mean_error_learnt"] < facts[LEARN_ROUNDING]["mean_error_nearest"]
    assert metadata(learnt)[PTQ_PASSES] == LEARN_ROUNDING

    EmulatorConverter(EmulatorOptions(recipe="int8", threads=1)).convert(learnt, calibration, emulated)
    given = metadata(emulated)
    assert given[FLOAT_MODEL_SHA256] == metadata(learnt)[FLOAT_MODEL_SHA256] == sha256_of_file(world.model)
    assert given[PTQ_PASSES] == LEARN_ROUNDING


def test_a_graph_goes_through_the_passes_once(world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    learnt = tmp_path / "learnt.onnx"
    apply_passes(world.model, calibration, learnt, threads=1)
    before = learnt.read_bytes()
    with pytest.raises(ConversionError, match=r"learnt.onnx: went through learn-rounding already"):
        apply_passes(learnt, calibration, tmp_path / "again.onnx", threads=1)
    with pytest.raises(ConversionError, match="is the float model itself"):
        apply_passes(world.model, calibration, world.model, threads=1)
    with pytest.raises(ConversionError, match="no pass is named 'learn'"):
        apply_passes(world.model, calibration, tmp_path / "again.onnx", passes=["learn"], threads=1)
    assert not (tmp_path / "again.onnx").exists()
    assert learnt.read_bytes() == before
