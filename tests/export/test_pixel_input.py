from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from bevformer_lib.config.load import load_model_config
from bevformer_lib.config.model_config import ImageNormConfig
from bevformer_lib.config.presets import PRESETS
from bevformer_lib.errors import ExportError
from bevformer_lib.export.chip import chip_names, load_chip
from bevformer_lib.export.lint.run import lint
from bevformer_lib.export.pixel_input import (
    file_takes_pixels,
    normalize_inside,
    pixel_normalization,
    takes_pixels,
    without_normalization,
)
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.scenes.preprocess import normalization_table
from tests.support.calibration import ToyWorld, make_toy_world, with_pixels


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    return make_toy_world(tmp_path_factory.mktemp("toy world"), num_scenes=1, frames_per_scene=1)


@pytest.fixture(scope="module")
def pixels(world: ToyWorld) -> ToyWorld:
    return with_pixels(world, world.model.with_name("pixels.onnx"))


def test_pixels_give_what_images_that_the_host_normalised_give(world: ToyWorld, pixels: ToyWorld) -> None:
    assert (file_takes_pixels(world.model), file_takes_pixels(pixels.model)) == (False, True)
    onnx.checker.check_model(str(pixels.model), full_check=True)
    frame = world.scenes["scene-0000"].frames[0]
    outputs = []
    for one in (world, pixels):
        inputs, runtime = one.preprocessor.inputs(frame, None), OnnxRuntime(one.model, threads=1)
        assert inputs.img.dtype == runtime.inputs["img"].dtype
        feed = {"img": inputs.img, "can_bus": inputs.can_bus, "lidar2img": inputs.lidar2img}
        outputs.append(runtime.run({**feed, "prev_bev": np.zeros((120, 1, 32), np.float32)}))
    for name, expected in outputs[0].items():
        np.testing.assert_array_equal(outputs[1][name], expected)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_gray_level_is_normalised_to_the_last_bit(world: ToyWorld, preset: str) -> None:
    img_norm = load_model_config(preset).img_norm
    graph = onnx.load(str(world.model)).graph
    normalize_inside(graph, img_norm)
    levels = np.broadcast_to(np.arange(256, dtype=np.uint8), (1, 1, 3, 1, 256))
    found = pixel_normalization(graph).apply(levels)
    np.testing.assert_array_equal(found[0, 0, :, 0], normalization_table(img_norm))


def test_it_can_be_undone(world: ToyWorld, pixels: ToyWorld) -> None:
    model, original = onnx.load(str(pixels.model)), onnx.load(str(world.model))
    assert takes_pixels(model.graph)
    assert without_normalization(model) == original
    assert takes_pixels(model.graph)
    assert without_normalization(original) is original


@pytest.mark.parametrize("chip", chip_names())
def test_no_chip_minds(world: ToyWorld, pixels: ToyWorld, chip: str) -> None:
    before, after = (lint(onnx.load(str(one.model)), load_chip(chip)) for one in (world, pixels))
    assert [found.rule for found in after.findings] == [found.rule for found in before.findings]


def test_a_foreign_graph_of_pixels_is_refused(pixels: ToyWorld, tmp_path: Path) -> None:
    model = onnx.load(str(pixels.model))
    next(tensor for tensor in model.graph.initializer if tensor.name == "img.std").name = "other"
    with pytest.raises(ExportError, match=r"does not say how it is normalised; export it with .*--input-dtype uint8"):
        without_normalization(model)


def test_images_of_open_shapes_are_refused(world: ToyWorld) -> None:
    graph = onnx.load(str(world.model)).graph
    next(value for value in graph.input if value.name == "img").type.tensor_type.shape.dim[3].dim_param = "height"
    with pytest.raises(ExportError, match="'img' of a fixed shape"):
        normalize_inside(graph, ImageNormConfig((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), to_rgb=True))
