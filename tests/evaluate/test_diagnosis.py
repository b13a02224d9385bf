"""Checks that tell causes apart, on a graph that runs in a millisecond."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bevformer_lib.evaluate.diagnosis import DIAGNOSES, Diagnosis, try_frame
from bevformer_lib.evaluate.finding import Finding
from bevformer_lib.plain_data import from_plain, to_plain
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import FrameInputs
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes
from tests.support.toy_graph import write_toy_graph

Feed = dict[str, NDArray[Any]]


class Wrong:
    """The toy model, given something else than it is fed."""

    def __init__(self, runtime: OnnxRuntime, change: Callable[[Feed], Feed]) -> None:
        self.inputs, self.outputs, self.metadata = runtime.inputs, runtime.outputs, runtime.metadata
        self._runtime, self._change = runtime, change

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return self._runtime.run({**feed, **self._change(dict(feed))})


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> OnnxRuntime:
    return OnnxRuntime(write_toy_graph(tmp_path_factory.mktemp("toy") / "toy.onnx"))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> tuple[FrameInputs, FrameInputs]:
    config = micro_config()
    root: Path = write_scenes(tmp_path_factory.mktemp("scenes"), num_scenes=1, frames_per_scene=2)
    first, second = read_scenes(root, SceneRequirements.of_model(config))[0].frames
    preprocessor = Preprocessor(config.image_hw, config.img_norm)
    return preprocessor.inputs(first, None), preprocessor.inputs(second, first)


def tried(
    toy: OnnxRuntime, frames: tuple[FrameInputs, FrameInputs], change: Callable[[Feed], Feed]
) -> dict[str, Finding]:
    return try_frame(*frames, reference=toy, candidate=Wrong(toy, change), img_norm=micro_config().img_norm)


def test_the_same_model_answers_alike(toy: OnnxRuntime, frames: tuple[FrameInputs, FrameInputs]) -> None:
    found = tried(toy, frames, lambda _: {})
    values = {name: finding.value for name, finding in found.items()}
    assert values == pytest.approx(
        {
            "ego_motion": 1.0,
            "prev_bev": 1.0,
            "lidar2img": 1.0,
            "cameras_lost": 0.0,
            "cameras_misplaced": 0.0,
            "normalization_wrong": 0.0,
        }
    )


@pytest.mark.parametrize(("name", "finding"), [("can_bus", "ego_motion"), ("prev_bev", "prev_bev")])
def test_an_input_that_does_not_arrive(
    toy: OnnxRuntime, frames: tuple[FrameInputs, FrameInputs], name: str, finding: str
) -> None:
    found = tried(toy, frames, lambda feed: {name: np.zeros_like(feed[name])})
    assert found[finding].value == pytest.approx(0.0, abs=1e-6)
    assert "0%" in found[finding].note


def test_a_calibration_that_is_frozen(toy: OnnxRuntime, frames: tuple[FrameInputs, FrameInputs]) -> None:
    found = tried(toy, frames, lambda _: {"lidar2img": frames[0].lidar2img})
    assert found["lidar2img"].value == pytest.approx(0.0, abs=1e-6)
    assert "answers to the camera calibration with 0%" in found["lidar2img"].note


@pytest.mark.parametrize("black", [False, True], ids=["the mean colour", "black"])
def test_a_camera_that_does_not_arrive(toy: OnnxRuntime, frames: tuple[FrameInputs, FrameInputs], black: bool) -> None:
    norm = micro_config().img_norm
    image = -np.array(norm.mean, np.float32) / np.array(norm.std, np.float32) if black else np.zeros(3, np.float32)

    def lose(feed: Feed) -> Feed:
        img = feed["img"].copy()
        img[:, 3] = image[:, None, None]
        return {"img": img}

    found = tried(toy, frames, lose)
    assert found["cameras_lost"].value == 1
    assert found["cameras_lost"].note == "CAM_BACK does not reach the compiled model"
    assert found["cameras_misplaced"].value == 0


def test_half_an_answer_is_half(toy: OnnxRuntime, frames: tuple[FrameInputs, FrameInputs]) -> None:
    found = tried(toy, frames, lambda feed: {"prev_bev": feed["prev_bev"] / 2})
    assert found["prev_bev"].value == pytest.approx(0.5, abs=0.1)


def test_a_car_that_stands_says_nothing_of_ego_motion(
    toy: OnnxRuntime, frames: tuple[FrameInputs, FrameInputs]
) -> None:
    still = FrameInputs(frames[1].img, frames[0].can_bus, frames[1].lidar2img)
    found = tried(toy, (frames[0], still), lambda _: {})
    assert found["ego_motion"].value is None
    assert "no effect" in found["ego_motion"].note


def test_a_diagnosis_goes_to_json_and_back() -> None:
    diagnosis = Diagnosis({name: Finding(0.5, "half") for name in DIAGNOSES}, "scene-0000", 3)
    assert from_plain(Diagnosis, json.loads(json.dumps(to_plain(diagnosis)))) == diagnosis
