"""Against a stand-in for the original; see tests/standins/openmmlab."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.config.load import load_model_config
from bevformer_lib.errors import CameraCalibrationError, ConfigError, VerifyError
from bevformer_lib.export.intermediate_outputs import intermediate_names
from bevformer_lib.names import OUTPUT_NAMES
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.verify.intermediate_outputs import tensor_order
from bevformer_lib.verify.openmmlab import build_original
from bevformer_lib.verify.report import ONNX, PYTORCH, VerifyReport
from bevformer_lib.verify.sides import open_graph
from bevformer_lib.verify.verify import verify
from tests.support.micro import micro_config
from tests.support.scenes import let_all_cameras_look_ahead, write_scenes
from tests.support.toy_graph import write_toy_graph
from tests.verify.conftest import CONFIG, MakePlugin

TRANSFORMER = "pts_bbox_head.transformer"


def run(
    plugin_dir: Path, checkpoint: Path, scenes: Path, *, graph: Path | None = None, frames_per_scene: int = 3
) -> VerifyReport:
    config = micro_config()
    return verify(
        build_original(CONFIG, plugin_dir, checkpoint),
        config,
        checkpoint,
        read_scenes(scenes, SceneRequirements.of_model(config)),
        graph=None if graph is None else open_graph(graph, config),
        frames_per_scene=frames_per_scene,
        tolerance=1e-4,
    )


def test_the_config_describes_the_micro_model() -> None:
    config = load_model_config(str(CONFIG), image_hw=(96, 160))
    assert replace(config, name="micro", image_scale=0.1) == micro_config()


@pytest.mark.usefixtures("openmmlab_standin")
def test_every_tensor_of_every_frame_agrees(make_plugin: MakePlugin, checkpoint: Path, scenes: Path) -> None:
    report = run(make_plugin(), checkpoint, scenes)
    order = tensor_order(micro_config())
    assert report.frames == 6
    assert report.tensors == order
    assert len(report.comparisons) == 6 * len(order)
    assert report.first_divergence(PYTORCH) is None
    assert max(item.relative_l2 for item in report.comparisons) < 1e-5
    assert report.versions["mmcv"] == "1.7.2"


@pytest.mark.usefixtures("openmmlab_standin")
@pytest.mark.parametrize(
    ("module", "tensor"),
    [
        ("img_backbone.layer2", "backbone.stage2"),
        ("img_neck", "fpn.level0"),
        (f"{TRANSFORMER}.encoder.layers.0.attentions.0", "encoder.layer0.temporal"),
        (f"{TRANSFORMER}.encoder.layers.1.attentions.1", "encoder.layer1.spatial"),
        (f"{TRANSFORMER}.encoder.layers.1", "encoder.layer1"),
        (f"{TRANSFORMER}.decoder.layers.0.attentions.0", "decoder.layer0.self"),
        (f"{TRANSFORMER}.decoder.layers.2.attentions.1", "decoder.layer2.cross"),
        (f"{TRANSFORMER}.decoder.layers.1", "decoder.layer1"),
        ("pts_bbox_head.cls_branches.0", "outputs_classes"),
        ("pts_bbox_head.reg_branches.2", "outputs_coords"),
    ],
)
def test_a_planted_divergence_is_named(
    make_plugin: MakePlugin, checkpoint: Path, scenes: Path, module: str, tensor: str
) -> None:
    report = run(make_plugin((module, 1.01)), checkpoint, scenes, frames_per_scene=1)
    first = report.first_divergence(PYTORCH)
    assert first is not None
    assert (first.scene, first.frame, first.tensor) == ("scene-0000", 0, tensor)
    assert 1e-4 < first.relative_l2 < 0.1


@pytest.mark.usefixtures("openmmlab_standin")
def test_a_divergence_in_prev_bev_shows_from_the_second_frame_on(
    make_plugin: MakePlugin, checkpoint: Path, scenes: Path
) -> None:
    report = run(make_plugin((f"{TRANSFORMER}.rotation", 0.5)), checkpoint, scenes)
    first = report.first_divergence(PYTORCH)
    assert first is not None
    assert (first.frame, first.tensor) == (1, "encoder.layer0.temporal")


@pytest.mark.usefixtures("openmmlab_standin")
def test_a_shape_that_differs_is_a_divergence(make_plugin: MakePlugin, checkpoint: Path, scenes: Path) -> None:
    code = """
from tests.standins.openmmlab import detector
from tests.support.micro import micro_config

detector._wrong_by = lambda factor: lambda module, inputs, output: output[:, :, :, :-1]
detector.register(micro_config(), ("img_backbone.layer4", 1.0))
"""
    report = run(make_plugin(code=code), checkpoint, scenes, frames_per_scene=1)
    first = report.first_divergence(PYTORCH)
    assert first is not None and first.tensor == "backbone.stage4"
    assert first.to_dict()["relative_l2"] is None


@pytest.mark.usefixtures("openmmlab_standin")
def test_the_graph_is_compared_too(
    make_plugin: MakePlugin, checkpoint: Path, scenes: Path, micro_graph: Path, tmp_path: Path
) -> None:
    plugin_dir = make_plugin()
    report = run(plugin_dir, checkpoint, scenes, graph=micro_graph)
    assert report.candidates == (PYTORCH, ONNX)
    assert report.first_divergence(ONNX) is None
    compared = {item.tensor for item in report.comparisons if item.candidate == ONNX}
    assert compared == {*intermediate_names(micro_config()), *OUTPUT_NAMES}

    model = onnx.load(micro_graph)
    bias = next(item for item in model.graph.initializer if item.name.endswith("cls_branches.2.6.bias"))
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.5), bias.name))
    broken = tmp_path / "broken.onnx"
    onnx.save(model, broken)
    report = run(plugin_dir, checkpoint, scenes, graph=broken, frames_per_scene=1)
    assert report.first_divergence(PYTORCH) is None
    first = report.first_divergence(ONNX)
    assert first is not None and first.tensor == "outputs_classes"

    norm = next(item for item in model.graph.initializer if item.name.endswith("encoder.layers.1.norms.2.bias"))
    norm.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(norm) + np.float32(0.5), norm.name))
    onnx.save(model, broken)
    first = run(plugin_dir, checkpoint, scenes, graph=broken, frames_per_scene=1).first_divergence(ONNX)
    assert first is not None and first.tensor == "encoder.layer1"


@pytest.mark.usefixtures("openmmlab_standin")
def test_a_graph_without_named_tensors_is_compared_by_its_outputs(
    make_plugin: MakePlugin,
    checkpoint: Path,
    scenes: Path,
    micro_graph: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = onnx.load(micro_graph)
    names = set(intermediate_names(micro_config()))
    for node in model.graph.node:
        for edges in (node.input, node.output):
            edges[:] = [f"inner_{edge.replace('.', '_')}" if edge in names else edge for edge in edges]
    unnamed = tmp_path / "unnamed.onnx"
    onnx.save(model, unnamed)
    report = run(make_plugin(), checkpoint, scenes, graph=unnamed, frames_per_scene=1)
    assert {item.tensor for item in report.comparisons if item.candidate == ONNX} == set(OUTPUT_NAMES)
    assert "names no inner tensors" in caplog.text


@pytest.mark.usefixtures("openmmlab_standin")
def test_a_calibration_beyond_the_graphs_capacity_is_no_divergence(
    make_plugin: MakePlugin, checkpoint: Path, micro_graph: Path, tmp_path: Path
) -> None:
    ahead = let_all_cameras_look_ahead(write_scenes(tmp_path / "ahead", num_scenes=1, frames_per_scene=1))
    with pytest.raises(
        CameraCalibrationError, match=r"meta_000000\.json: its cameras show .* \(6\) than .* \(2 per cell\)"
    ):
        run(make_plugin(), checkpoint, ahead, graph=micro_graph)


def test_a_graph_of_another_model_is_refused(tmp_path: Path) -> None:
    path = write_toy_graph(tmp_path / "toy.onnx", bev_hw=(8, 12), decoder_layers=3)
    with pytest.raises(
        ConfigError, match=r"toy\.onnx: this graph is not the model .*\n  - its prev_bev is \(96, 1, 32\)"
    ):
        open_graph(path, micro_config())


def test_a_graph_that_is_no_bevformer_is_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "other", [value], [result])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "x.onnx")
    with pytest.raises(ConfigError, match=r"x\.onnx: this graph is not .*\n  - it has no input 'img'"):
        open_graph(tmp_path / "x.onnx", micro_config())


@pytest.mark.usefixtures("openmmlab_standin")
@pytest.mark.parametrize("frames_per_scene", [0, -1])
def test_no_frames_is_an_error(make_plugin: MakePlugin, checkpoint: Path, scenes: Path, frames_per_scene: int) -> None:
    with pytest.raises(VerifyError, match="frames per scene"):
        run(make_plugin(), checkpoint, scenes, frames_per_scene=frames_per_scene)
