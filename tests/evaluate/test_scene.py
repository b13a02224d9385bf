from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bevformer_lib.backends.runtimes import open_runtime
from bevformer_lib.config.inference_config import InferenceConfig, inference_config_of
from bevformer_lib.detections.decode import decode_detections
from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.errors import ConfigError
from bevformer_lib.evaluate.scene import evaluate_scene
from bevformer_lib.export.pixel_input import normalize_inside
from bevformer_lib.fidelity import Fidelity, tensor_fidelity
from bevformer_lib.plain_data import to_plain
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.temporal import TemporalSession
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Scene
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes
from tests.support.toy_graph import write_toy_graph

MODEL = micro_config()
PREPROCESSOR = Preprocessor(MODEL.image_hw, MODEL.img_norm)


class Disturbed:
    """A runtime whose ``bev_embed`` is off by a known amount, as a quantised model's is."""

    def __init__(self, runtime: Runtime, *, offset: float = 0.0, nan_from_run: int | None = None) -> None:
        self.inputs, self.outputs, self.metadata = runtime.inputs, runtime.outputs, runtime.metadata
        self.feeds: list[dict[str, Any]] = []
        self._runtime, self._offset, self._nan_from_run = runtime, offset, nan_from_run

    def run(self, feed: Any) -> dict[str, Any]:
        self.feeds.append(dict(feed))
        outputs = self._runtime.run(feed)
        outputs["bev_embed"] = outputs["bev_embed"] + np.float32(self._offset)
        if self._nan_from_run is not None and len(self.feeds) > self._nan_from_run:
            outputs["outputs_classes"] = np.full_like(outputs["outputs_classes"], np.nan)
        return outputs


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    graph = write_toy_graph(tmp_path_factory.mktemp("toy graph") / "toy.onnx")
    return open_runtime("onnxruntime", graph, threads=1)


@pytest.fixture(scope="module")
def config() -> InferenceConfig:
    return inference_config_of(MODEL)


def read(folder: Path, **options: Any) -> tuple[Scene, ...]:
    write_scenes(folder, **options)
    return read_scenes(folder, SceneRequirements.of_model(MODEL))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return read(tmp_path_factory.mktemp("scènes"), num_scenes=1, frames_per_scene=4, frame_numbers=(3, 4, 7, 8))[0]


def evaluate(
    scene: Scene, reference: Runtime, candidate: Runtime, config: InferenceConfig, **options: Any
) -> SceneEvaluation:
    return evaluate_scene(
        scene, reference=reference, candidate=candidate, config=config, preprocessor=PREPROCESSOR, **options
    )


def test_a_model_equals_itself(scene: Scene, runtime: Runtime, config: InferenceConfig) -> None:
    progress: list[tuple[str, int, int]] = []
    evaluation = evaluate(scene, runtime, runtime, config, on_progress=lambda *step: progress.append(step))
    assert evaluation.scene == scene.name
    assert [frame.index for frame in evaluation.frames] == [3, 4, 7, 8]
    assert progress == [(scene.name, done, 4) for done in (1, 2, 3, 4)]
    for frame in evaluation.frames:
        assert set(frame.fidelity) == {"bev_embed", "outputs_classes", "outputs_coords"}
        assert all(found == Fidelity(1.0, 0.0, 0.0, 0) for found in frame.fidelity.values())
        assert frame.agreement.matched == frame.agreement.reference_boxes > 0
        assert frame.agreement.center_distance_sum_m == 0.0
        assert frame.truth is not None
        assert frame.truth.reference == frame.truth.candidate
        assert sum(counts.annotated for counts in frame.truth.candidate.values()) == 4
        assert min(dataclasses.astuple(frame.seconds)) > 0


def test_each_model_is_fed_its_own_states(scene: Scene, runtime: Runtime, config: InferenceConfig) -> None:
    reference, candidate = Disturbed(runtime), Disturbed(runtime, offset=0.25)
    evaluation = evaluate(scene, reference, candidate, config)
    for feeds, offset in ((reference.feeds, 0.0), (candidate.feeds, 0.25)):
        assert not feeds[0]["prev_bev"].any()
        for before, after in itertools.pairwise(feeds):
            own = runtime.run(before)["bev_embed"] + np.float32(offset)
            np.testing.assert_array_equal(after["prev_bev"], own)
    first = evaluation.frames[0].fidelity
    assert first["bev_embed"].max_abs_error == pytest.approx(0.25, abs=1e-6)
    assert first["outputs_classes"].relative_error == 0.0
    later = evaluation.frames[1].fidelity
    assert later["outputs_classes"].relative_error is not None and later["outputs_classes"].relative_error > 0.0


def test_equals_the_parts_called_by_hand(scene: Scene, runtime: Runtime, config: InferenceConfig) -> None:
    candidate = Disturbed(runtime, offset=0.1)
    evaluation = evaluate(scene, runtime, candidate, config, score_threshold=0.4)
    sessions = TemporalSession(runtime), TemporalSession(Disturbed(runtime, offset=0.1))
    previous = None
    for frame, found in zip(scene.frames, evaluation.frames, strict=True):
        inputs = PREPROCESSOR.inputs(frame, previous)
        expected, given = (session.step(inputs, first=previous is None).outputs for session in sessions)
        for name, fidelity in found.fidelity.items():
            assert fidelity == tensor_fidelity(expected[name], given[name])
        boxes = decode_detections(given, config.box_coder, score_threshold=0.4)
        np.testing.assert_array_equal(found.candidate.boxes, boxes.boxes)
        assert (found.candidate.scores > 0.4).all()
        previous = frame


def test_two_runs_differ_in_nothing_but_seconds(scene: Scene, runtime: Runtime, config: InferenceConfig) -> None:
    texts = set()
    for _ in range(2):
        content = to_plain(evaluate(scene, runtime, Disturbed(runtime, offset=0.1), config))
        for frame in content["frames"]:
            del frame["seconds"]
        texts.add(json.dumps(content, allow_nan=False))
    assert len(texts) == 1


def test_nan_of_a_candidate_is_a_finding(
    scene: Scene, runtime: Runtime, config: InferenceConfig, caplog: pytest.LogCaptureFixture
) -> None:
    evaluation = evaluate(scene, runtime, Disturbed(runtime, nan_from_run=1), config)
    broken = evaluation.frames[1].fidelity["outputs_classes"]
    assert broken.cosine is None
    assert broken.not_finite == np.prod(runtime.outputs["outputs_classes"].shape)
    assert len(evaluation.frames[1].candidate.scores) == 0
    assert evaluation.frames[0].fidelity["outputs_classes"].not_finite == 0
    assert "frame 4: outputs_classes holds 600 values that are not finite" in caplog.text
    json.dumps(to_plain(evaluation), allow_nan=False)


def test_threshold_is_the_configs_unless_given(scene: Scene, runtime: Runtime, config: InferenceConfig) -> None:
    strict = dataclasses.replace(config, box_coder=dataclasses.replace(config.box_coder, score_threshold=0.999))
    evaluation = evaluate(scene, runtime, runtime, strict)
    assert evaluation.score_threshold == 0.999
    assert evaluation.frames[0].agreement.reference_matched_share is None
    assert evaluate(scene, runtime, runtime, strict, score_threshold=0.0).score_threshold == 0.0
    assert evaluate(scene, runtime, runtime, config).score_threshold is None


def test_scenes_without_annotations(tmp_path: Path, runtime: Runtime, config: InferenceConfig) -> None:
    scene = read(tmp_path, num_scenes=1, frames_per_scene=1, gt_boxes=False)[0]
    assert evaluate(scene, runtime, runtime, config).frames[0].truth is None


def test_models_of_different_outputs(tmp_path: Path, scene: Scene, runtime: Runtime, config: InferenceConfig) -> None:
    other = open_runtime("onnxruntime", write_toy_graph(tmp_path / "other.onnx", decoder_layers=3), threads=1)
    with pytest.raises(ConfigError, match=r"\(2, 1, 30, 10\).*\(3, 1, 30, 10\).*made from"):
        evaluate(scene, runtime, other, config)


def test_models_of_pixels_and_of_normalised_images_are_compared(
    tmp_path: Path, scene: Scene, runtime: Runtime, config: InferenceConfig
) -> None:
    graph = onnx.load(write_toy_graph(tmp_path / "toy.onnx"))
    normalize_inside(graph.graph, config.img_norm)
    onnx.save(graph, tmp_path / "pixels.onnx")
    pixels = open_runtime("onnxruntime", tmp_path / "pixels.onnx", threads=1)
    for reference, candidate in ((runtime, pixels), (pixels, runtime), (pixels, pixels)):
        for frame in evaluate(scene, reference, candidate, config).frames:
            assert all(found == Fidelity(1.0, 0.0, 0.0, 0) for found in frame.fidelity.values())
