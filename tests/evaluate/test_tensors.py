from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest

from bevformer_lib.backends.converters import open_converter
from bevformer_lib.errors import ConfigError
from bevformer_lib.evaluate.tensors import SceneTensors, compare_tensors, summarize_tensors
from bevformer_lib.export.intermediate_outputs import with_intermediate_outputs
from bevformer_lib.fidelity import Fidelity, tensor_fidelity
from bevformer_lib.names import OUTPUT_NAMES
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from tests.support.calibration import ToyWorld, make_calibration, make_toy_world
from tests.support.toy_graph import write_toy_graph

INSIDE = ("pooled", "context", "layer0.query")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    return make_toy_world(tmp_path_factory.mktemp("toy world"))


@pytest.fixture(scope="module")
def models(world: ToyWorld, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The float graph and the one quantised from it, both putting out tensors of their inside."""
    folder = tmp_path_factory.mktemp("models")
    calibration = make_calibration(world, folder / "calibration")
    open_converter("onnxruntime", threads=1).convert(
        world.model, calibration, folder / "plain.onnx", on_progress=lambda *_: None
    )
    paths = folder / "float.onnx", folder / "int8.onnx"
    for source, path in zip((world.model, folder / "plain.onnx"), paths, strict=True):
        model = onnx.shape_inference.infer_shapes(onnx.load(source))
        onnx.save(with_intermediate_outputs(model, INSIDE), path)
    return paths


def compared(world: ToyWorld, models: tuple[Path, Path], scene: str = "scene-0002") -> SceneTensors:
    reference, candidate = (OnnxRuntime(path, threads=1) for path in models)
    return compare_tensors(
        world.scenes[scene], reference=reference, candidate=candidate, preprocessor=world.preprocessor
    )


def test_the_same_numbers_as_by_hand(world: ToyWorld, models: tuple[Path, Path]) -> None:
    found = compared(world, models)
    assert set(found.fidelity) == {*OUTPUT_NAMES, *INSIDE}
    frames = world.scenes["scene-0002"].frames
    assert found.frames == tuple(frame.index for frame in frames)
    plain = [OnnxRuntime(path, threads=1) for path in models]
    feeds = [np.zeros(runtime.inputs["prev_bev"].shape, np.float32) for runtime in plain]
    for position, frame in enumerate(frames):
        inputs = world.preprocessor.inputs(frame, frames[position - 1] if position else None)
        outputs = []
        for runtime, prev_bev in zip(plain, feeds, strict=True):
            feed = {"img": inputs.img, "can_bus": inputs.can_bus, "lidar2img": inputs.lidar2img, "prev_bev": prev_bev}
            outputs.append(runtime.run(feed))
        feeds = [output["bev_embed"] for output in outputs]
        for name in found.fidelity:
            assert found.fidelity[name][position] == tensor_fidelity(outputs[0][name], outputs[1][name])


def test_quantisation_shows_and_a_model_against_itself_does_not(world: ToyWorld, models: tuple[Path, Path]) -> None:
    summaries = {one.name: one for one in summarize_tensors([compared(world, models)])}
    for summary in summaries.values():
        assert summary.mean_sqnr_db is not None
        assert 20.0 < summary.mean_sqnr_db < 80.0
        assert summary.worst_cosine is not None
        assert 0.99 < summary.worst_cosine < 1.0
    for summary in summarize_tensors([compared(world, (models[0], models[0]))]):
        assert (summary.mean_cosine, summary.mean_relative_error, summary.max_abs_error) == (1.0, 0.0, 0.0)
        assert summary.mean_sqnr_db is None, "there is no noise"


def test_sqnr_by_hand() -> None:
    """A tenth of the signal's amplitude is a hundredth of its power."""
    assert tensor_fidelity(np.array([3.0, 4.0]), np.array([3.3, 4.4])).sqnr_db == pytest.approx(20.0)
    assert tensor_fidelity(np.array([3.0, 4.0]), np.array([3.0, 9.0])).sqnr_db == pytest.approx(0.0)
    assert tensor_fidelity(np.ones(3), np.ones(3)).sqnr_db is None
    assert tensor_fidelity(np.ones(3), np.full(3, math.nan)).sqnr_db is None


def test_summary_over_scenes() -> None:
    good, bad = Fidelity(0.999, 0.01, 0.1, 0), Fidelity(0.9, 0.1, 0.5, 0)
    broken = Fidelity(None, None, None, 3)
    scenes = [SceneTensors("a", (0, 1), {"x": (good, good)}), SceneTensors("b", (5, 6), {"x": (good, bad)})]
    (summary,) = summarize_tensors(scenes)
    assert (summary.frames, summary.frames_not_finite, summary.worst_scene) == (4, 0, "b")
    assert summary.mean_cosine == pytest.approx((3 * 0.999 + 0.9) / 4)
    assert summary.mean_sqnr_db == pytest.approx((3 * 40.0 + 20.0) / 4)
    assert (summary.worst_cosine, summary.max_abs_error) == (0.9, 0.5)
    (summary,) = summarize_tensors([*scenes, SceneTensors("c", (0,), {"x": (broken,), "y": (good,)})])
    assert (summary.frames, summary.frames_not_finite, summary.worst_scene) == (5, 1, "c")
    assert summarize_tensors([]) == ()


def test_a_tensor_of_another_shape_is_an_error(world: ToyWorld, models: tuple[Path, Path], tmp_path: Path) -> None:
    other = OnnxRuntime(write_toy_graph(tmp_path / "other.onnx", num_query=20), threads=1)
    with pytest.raises(ConfigError, match=r"tensor outputs_classes is \(2, 1, 30, 10\) in the reference"):
        compare_tensors(
            world.scenes["scene-0002"],
            reference=OnnxRuntime(models[0], threads=1),
            candidate=other,
            preprocessor=world.preprocessor,
        )
