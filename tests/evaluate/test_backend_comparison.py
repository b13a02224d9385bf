from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bevformer_lib.config.inference_config import inference_config_of
from bevformer_lib.errors import ConfigError
from bevformer_lib.evaluate.backend_comparison import Backend, BackendComparison, compare_backends
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Scene
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes
from tests.support.toy_graph import write_toy_graph

MODEL = micro_config()
CONFIG = inference_config_of(MODEL)
PREPROCESSOR = Preprocessor(MODEL.image_hw, MODEL.img_norm)


class Form:
    """The toy graph with two tensors of its inside, one of them disturbed from some run on."""

    def __init__(self, graph: Path, disturbed: str = "", from_run: int = 0, value: float = 1.0) -> None:
        self._runtime = OnnxRuntime(graph, threads=1)
        self.inputs, self.outputs = self._runtime.inputs, self._runtime.outputs
        self.metadata = self._runtime.metadata
        self._disturbed, self._from_run, self._value, self._runs = disturbed, from_run, value, 0

    def run(self, feed: Mapping[str, Any]) -> dict[str, Any]:
        outputs = self._runtime.run(feed)
        outputs["decoder.layer0"] = outputs["outputs_classes"] * 2
        outputs["encoder.layer10"] = outputs["bev_embed"] * 3
        outputs["encoder.layer9"] = outputs["bev_embed"] * 2
        if self._disturbed and self._runs >= self._from_run:
            outputs[self._disturbed] = outputs[self._disturbed] + np.float32(self._value)
        self._runs += 1
        return outputs


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_graph(tmp_path_factory.mktemp("toy graph") / "toy.onnx")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, ...]:
    root = write_scenes(tmp_path_factory.mktemp("scènes"), num_scenes=2, frames_per_scene=3, frame_numbers=(4, 5, 9))
    return read_scenes(root, SceneRequirements.of_model(MODEL))


def run(scenes: tuple[Scene, ...], *forms: Any) -> BackendComparison:
    backends = [Backend(f"backend {number}", "file", form) for number, form in enumerate(forms)]
    return compare_backends(scenes, backends, CONFIG, PREPROCESSOR, min_cosine=0.99, score_threshold=0.3)


def test_equal_rungs_hold_every_bar(scenes: tuple[Scene, ...], graph: Path) -> None:
    result = run(scenes, Form(graph), Form(graph), Form(graph))
    assert result.first_below is None
    assert result.frames == 6
    for backend in result.backends[1:]:
        order = ["encoder.layer9", "encoder.layer10", "bev_embed", "decoder.layer0", "outputs_classes"]
        assert list(backend.from_first) == [*order, "outputs_coords"]
        assert all(figures.worst_cosine == pytest.approx(1.0) for figures in backend.from_first.values())
        assert backend.agreement.reference_matched_share == 1.0
        assert backend.latency is not None
        assert backend.latency.frames == 4
    assert result.backends[0].from_first == {}
    json.dumps(result.to_dict(), allow_nan=False)


def test_the_first_rung_and_the_first_tensor_are_named(scenes: tuple[Scene, ...], graph: Path) -> None:
    result = run(scenes, Form(graph), Form(graph), Form(graph, "encoder.layer10", 4), Form(graph, "encoder.layer9"))
    below = result.first_below
    assert below is not None
    assert (below.backend, below.tensor) == ("backend 2", "encoder.layer10")
    assert (below.place.scene, below.place.index, below.place.position) == ("scene-0001", 5, 1)
    assert not below.unseen_before
    assert result.backends[3].below is not None
    assert result.backends[3].below.tensor == "encoder.layer9"
    assert result.to_dict()["first_below"]["backend"] == "backend 2"


def test_each_rung_is_compared_with_the_one_above_too(scenes: tuple[Scene, ...], graph: Path) -> None:
    result = run(scenes, Form(graph), Form(graph, "decoder.layer0"), Form(graph, "decoder.layer0"))
    last = result.backends[2]
    first_cosine, above_cosine = (
        figures["decoder.layer0"].worst_cosine for figures in (last.from_first, last.from_previous)
    )
    assert above_cosine == pytest.approx(1.0)
    assert first_cosine is not None
    assert first_cosine < 0.99


def test_a_disturbed_state_is_fed_back(scenes: tuple[Scene, ...], graph: Path) -> None:
    result = run(scenes, Form(graph), Form(graph, "bev_embed", 0, 0.02))
    assert result.backends[1].from_first["encoder.layer9"].worst_cosine < 1.0
    place = result.backends[1].from_first["encoder.layer9"].worst_at
    assert place.position > 0


def test_values_that_are_not_finite_are_below_every_bar(scenes: tuple[Scene, ...], graph: Path) -> None:
    result = run(scenes, Form(graph), Form(graph, "outputs_coords", 2, np.nan))
    below = result.first_below
    assert below is not None
    assert (below.tensor, below.cosine, below.place.index) == ("outputs_coords", None, 9)
    assert result.backends[1].from_first["outputs_coords"].worst_cosine is None
    json.dumps(result.to_dict(), allow_nan=False)


def test_a_rung_without_insides(scenes: tuple[Scene, ...], graph: Path) -> None:
    class Bare(Form):
        def run(self, feed: Mapping[str, Any]) -> dict[str, Any]:
            outputs = super().run(feed)
            return {name: outputs[name] for name in self.outputs}

    result = run(scenes, Form(graph), Bare(graph, "bev_embed", 0, 5.0))
    assert list(result.backends[1].from_first) == ["bev_embed", "outputs_classes", "outputs_coords"]
    assert result.first_below is not None
    assert result.first_below.tensor == "bev_embed"
    assert result.first_below.unseen_before


@pytest.mark.parametrize("names", [("a",), ("a", "a")])
def test_a_ladder_has_two_rungs(scenes: tuple[Scene, ...], graph: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="two backends or more"):
        compare_backends(
            scenes, [Backend(name, "f", Form(graph)) for name in names], CONFIG, PREPROCESSOR, min_cosine=0.9
        )
