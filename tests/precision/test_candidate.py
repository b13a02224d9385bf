"""Thresholds in mAP and NDS, judged by the emulated NPU over whole scenes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bevformer_lib.config.inference_config import inference_config_of
from bevformer_lib.detections.decode import decode_detections
from bevformer_lib.detections.types import Detections
from bevformer_lib.errors import BevformerError, ConfigError
from bevformer_lib.metrics.eval_boxes import detections_as_ground_truth
from bevformer_lib.precision.builders import EmulatorBuilder
from bevformer_lib.precision.candidate import EvaluationSetup, Thresholds, evaluate_candidate, map_and_nds
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.runtime.temporal import TemporalSession
from bevformer_lib.scenes.stream import stream_inputs
from tests.support.calibration import ToyWorld, make_calibration, make_toy_world
from tests.support.micro import micro_config
from tests.support.planted import plant_sensitive_layers

LAYER = "toy/layer1.value"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    folder = tmp_path_factory.mktemp("planted")
    plain = make_toy_world(folder, num_scenes=2, frames_per_scene=4)
    model = plant_sensitive_layers(plain.model, folder / "planted.onnx", [LAYER])
    return dataclasses.replace(plain, model=model)


@pytest.fixture(scope="module")
def builder(world: ToyWorld, tmp_path_factory: pytest.TempPathFactory) -> EmulatorBuilder:
    calibration = make_calibration(world, tmp_path_factory.mktemp("calibration"))
    return EmulatorBuilder(world.model, calibration, recipe="int8", threads=1)


@pytest.fixture(scope="module")
def setup(world: ToyWorld) -> EvaluationSetup:
    """Scenes whose annotations are what the float model finds."""
    config, reference = inference_config_of(micro_config()), OnnxRuntime(world.model, threads=1)
    found: dict[str, list[Detections]] = {}
    for scene in world.scenes.values():
        session = TemporalSession(reference)
        steps = enumerate(stream_inputs(scene.frames, world.preprocessor))
        outputs = [session.step(decoded.inputs, first=position == 0).outputs for position, decoded in steps]
        found[scene.name] = [decode_detections(one, config.box_coder) for one in outputs]
    scenes = [
        dataclasses.replace(
            scene,
            frames=tuple(
                dataclasses.replace(
                    frame, gt_boxes=tuple(detections_as_ground_truth(boxes, config.class_names, score_threshold=0.5))
                )
                for frame, boxes in zip(scene.frames, found[scene.name], strict=True)
            ),
        )
        for scene in world.scenes.values()
    ]
    metrics = map_and_nds(scenes, found, config)
    return EvaluationSetup(scenes, reference, config, world.preprocessor, None, 0, lambda: None, metrics)


def test_a_bar_in_nds_tells_what_the_emulated_npu_loses(
    setup: EvaluationSetup, builder: EmulatorBuilder, tmp_path: Path
) -> None:
    assert setup.reference_metrics is not None
    assert setup.reference_metrics[0] > 0.5
    results = {}
    for name, kept in (("none", ()), ("all", builder.layers)):
        builder.build(kept, tmp_path / f"{name}.onnx")
        candidate = builder.open(tmp_path / f"{name}.onnx")
        results[name] = evaluate_candidate(setup, candidate, Thresholds(most_nds_lost=0.1))
        assert results[name].frames == setup.frames
    lost = {name: setup.reference_metrics[1] - (one.nds or 0.0) for name, one in results.items()}
    assert lost["none"] > 0.15 > 0.1 > lost["all"]
    assert results["all"].passed
    assert not results["none"].passed
    generous = Thresholds(most_map_lost=1.0, most_nds_lost=1.0)
    assert evaluate_candidate(setup, builder.open(tmp_path / "none.onnx"), generous).passed


def test_a_candidate_that_is_stopped_early_has_no_metrics(
    setup: EvaluationSetup, builder: EmulatorBuilder, tmp_path: Path
) -> None:
    builder.build((), tmp_path / "none.onnx")
    result = evaluate_candidate(setup, builder.open(tmp_path / "none.onnx"), Thresholds(0.9999999, most_nds_lost=1.0))
    assert not result.passed
    assert result.frames < setup.frames
    assert (result.mean_ap, result.nds) == (None, None)


def test_only_names_that_are_built_are_asked_for(builder: EmulatorBuilder) -> None:
    assert LAYER in builder.layers
    assert not any("not built" in finding for finding in builder.findings(builder.layers))
    assert any("not built" in finding for finding in builder.findings(["nobody"]))


def test_thresholds_are_numbers_that_can_be_reached() -> None:
    assert not Thresholds(0.9).asks_metrics
    assert Thresholds(most_map_lost=0.0).asks_metrics
    with pytest.raises(ConfigError, match=r"allow NDS to lose 1.5"):
        Thresholds(most_nds_lost=1.5)


def test_scenes_without_annotations_have_no_metrics(setup: EvaluationSetup) -> None:
    bare = [
        dataclasses.replace(scene, frames=tuple(dataclasses.replace(frame, gt_boxes=None) for frame in scene.frames))
        for scene in setup.scenes
    ]
    detections: dict[str, list[Detections]] = {scene.name: [] for scene in bare}
    with pytest.raises(BevformerError):
        map_and_nds(bare, detections, setup.config)
