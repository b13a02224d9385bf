from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import helper

from bevformer_lib.calibration.archive import CalibrationSet, read_calibration
from bevformer_lib.errors import ConversionError
from bevformer_lib.names import INPUT_NAMES, OUTPUT_NAMES
from bevformer_lib.pulsar2.build_config import BuildConfig
from bevformer_lib.pulsar2.errors import BuildConfigError
from bevformer_lib.pulsar2.generate import generate_build_config, with_host_paths
from bevformer_lib.pulsar2.overrides import read_overrides
from bevformer_lib.pulsar2.recipes import FLOAT_OPS, RECIPES, float_layers_behind, recipe_content
from bevformer_lib.pulsar2.settings import Pulsar2Settings
from tests.support.calibration import ToyWorld


@pytest.fixture(scope="module")
def graph(world: ToyWorld) -> onnx.GraphProto:
    return onnx.load(world.model).graph


@pytest.fixture(scope="module")
def samples(calibration: Path) -> CalibrationSet:
    return read_calibration(calibration)


def _layers(config: BuildConfig) -> list[dict[str, object]]:
    assert config.quant is not None
    return [entry.model_dump(exclude_none=True) for entry in config.quant.layer_configs or ()]


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_four_numpy_inputs_and_float_at_both_ends(recipe: str, graph: onnx.GraphProto, samples: CalibrationSet) -> None:
    content = generate_build_config(graph, samples, Pulsar2Settings(recipe=recipe)).to_content()
    inputs = content["quant"]["input_configs"]
    assert [entry["tensor_name"] for entry in inputs] == list(INPUT_NAMES)
    assert {entry["calibration_format"] for entry in inputs} == {"Numpy"}
    assert {entry["calibration_size"] for entry in inputs} == {samples.num_samples}
    assert all(Path(entry["calibration_dataset"]).is_file() for entry in inputs)
    assert content["input_processors"] == [{"tensor_name": name, "src_dtype": "FP32"} for name in INPUT_NAMES]
    assert [entry["tensor_name"] for entry in content["output_processors"]] == list(OUTPUT_NAMES)
    assert (content["target_hardware"], content["npu_mode"]) == ("AX650", "NPU3")


def test_the_vendors_settings(graph: onnx.GraphProto, samples: CalibrationSet) -> None:
    config = generate_build_config(graph, samples, Pulsar2Settings(recipe="vendor-tiny"))
    quant = config.quant
    assert quant is not None
    assert (quant.calibration_method, quant.precision_analysis_method) == ("MSE", "EndToEnd")
    assert (quant.enable_smooth_quant, quant.smooth_quant_threshold, quant.smooth_quant_strength) == (True, 0.15, 0.5)
    assert (quant.conv_bias_data_type, quant.ln_scale_data_type) == ("FP32", "FP32")
    (layers,) = _layers(config)
    assert layers["data_type"] == "FP32"
    assert "toy/layer0.spread" in layers["layer_names"]
    assert "toy/mixed" not in layers["layer_names"], "a bias of the MatMul before it"
    assert "toy/stem.relu" not in layers["layer_names"], "the backbone knows nothing of prev_bev"


def test_float_layers_are_of_types_that_can_be_float(graph: onnx.GraphProto) -> None:
    names = float_layers_behind(graph, "prev_bev")
    kinds = {node.name: node.op_type for node in graph.node}
    assert {kinds[name] for name in names} <= FLOAT_OPS
    assert len(names) == len(set(names)) > 3


def test_a_relu_behind_a_merged_bias_is_merged_too() -> None:
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("MatMul", ["prev_bev", "w"], ["a"], "matmul"),
        helper.make_node("Add", ["a", "b"], ["c"], "bias"),
        helper.make_node("Relu", ["c"], ["d"], "merged"),
        helper.make_node("MatMul", ["d", "w"], ["e"], "second"),
        helper.make_node("Add", ["e", "b"], ["f"], "second bias"),
        helper.make_node("Add", ["f", "prev_bev"], ["g"], "residual"),
        helper.make_node("Relu", ["g"], ["h"], "kept"),
    ]
    weights = [helper.make_tensor("w", 1, [2, 2], [0.0] * 4), helper.make_tensor("b", 1, [2], [0.0] * 2)]
    graph = helper.make_graph(nodes, "g", [value("prev_bev", 1, [2, 2])], [value("h", 1, [2, 2])], weights)
    assert float_layers_behind(graph, "prev_bev") == ["residual", "kept"]


def test_recipes_differ_in_their_layers(graph: onnx.GraphProto, samples: CalibrationSet) -> None:
    whole = {"start_tensor_names": ["DEFAULT"], "end_tensor_names": ["DEFAULT"], "data_type": "U16"}
    assert _layers(generate_build_config(graph, samples, Pulsar2Settings(recipe="int8"))) == []
    assert _layers(generate_build_config(graph, samples, Pulsar2Settings(recipe="all-u16"))) == [whole]
    first, conv = _layers(generate_build_config(graph, samples, Pulsar2Settings(recipe="w8a16")))
    assert first == whole
    assert conv == {"op_type": "Conv", "data_type": "U16", "output_data_type": "U16", "weight_data_type": "S8"}


@pytest.mark.parametrize(("target", "mode"), [("AX620E", "NPU2"), ("AX637", "NPU1"), ("AX8860", "NPU4")])
def test_all_cores_of_other_chips(target: str, mode: str, graph: onnx.GraphProto, samples: CalibrationSet) -> None:
    assert generate_build_config(graph, samples, Pulsar2Settings(recipe="vendor-tiny"), target=target).npu_mode == mode


def _override(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_overrides_are_merged(graph: onnx.GraphProto, samples: CalibrationSet, tmp_path: Path) -> None:
    mine = _override(
        tmp_path,
        """
quant:
  calibration_method: KL
  input_configs:
    - {tensor_name: img, calibration_size: 2}
  layer_configs:
    - {op_type: Softmax, data_type: U16}
input_processors:
  - {tensor_name: img, src_dtype: FP16}
""",
    )
    content = generate_build_config(graph, samples, Pulsar2Settings(recipe="vendor-tiny"), overrides=mine).to_content()
    assert content["quant"]["calibration_method"] == "KL"
    assert content["quant"]["enable_smooth_quant"] is True
    assert [entry["calibration_size"] for entry in content["quant"]["input_configs"]] == [2, 3, 3, 3]
    assert content["quant"]["input_configs"][0]["calibration_format"] == "Numpy"
    assert content["quant"]["layer_configs"] == [{"op_type": "Softmax", "data_type": "U16"}]
    assert [entry["src_dtype"] for entry in content["input_processors"]] == ["FP16", "FP32", "FP32", "FP32"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quant: {calibration_metod: MSE}", r"mine\.yaml: .*\n  - quant.calibration_metod: unknown key"),
        ("quant: {input_configs: [{calibration_size: 2}]}", r"mine\.yaml: .*\n  - quant.input_configs.0.tensor_name"),
        ("output_dir: /tmp/x", r"mine\.yaml: output_dir: is set by the conversion"),
        ("- a\n- b", r"mine\.yaml: must hold keys"),
        ("quant: [", r"mine\.yaml: is not valid YAML"),
        ("quant: {}\nquant: {}", r"mine\.yaml: holds the key 'quant' twice"),
        ("a: !!python/object/apply:os.system [touch /tmp/pwned]", r"mine\.yaml: is not valid YAML"),
        ("npu_mode: NPU4", r"mine\.yaml: .*\n.*AX650 has NPU1, NPU2, NPU3"),
        ("input_processors: [{tensor_name: image}]", r"mine\.yaml .*input_processors.4.tensor_name: .*no 'image'"),
    ],
)
def test_wrong_overrides_name_file_and_key(
    text: str, message: str, graph: onnx.GraphProto, samples: CalibrationSet, tmp_path: Path
) -> None:
    with pytest.raises(BuildConfigError, match=message):
        generate_build_config(graph, samples, Pulsar2Settings(recipe="int8"), overrides=_override(tmp_path, text))


def test_comments_of_the_vendors_documentation(graph: onnx.GraphProto, samples: CalibrationSet, tmp_path: Path) -> None:
    text = """// as documented
{
  "quant": {// in line
    "layer_configs": [
      // whole model in 16 bits
      {"op_types": ["a // b"], "data_type": "U16"},  // until the end
    ],
    "highest_mix_precision": "http://x"  //and this
  }
}
"""
    assert read_overrides(_override(tmp_path, text)) == {
        "quant": {
            "layer_configs": [{"op_types": ["a // b"], "data_type": "U16"}],
            "highest_mix_precision": "http://x",
        }
    }
    assert read_overrides(_override(tmp_path, "a: http://x//y  // said\n")) == {"a": "http://x//y"}


def test_an_empty_override_changes_nothing(graph: onnx.GraphProto, samples: CalibrationSet, tmp_path: Path) -> None:
    mine = _override(tmp_path, "# nothing yet\n")
    plain = generate_build_config(graph, samples, Pulsar2Settings(recipe="int8"))
    assert generate_build_config(graph, samples, Pulsar2Settings(recipe="int8"), overrides=mine) == plain


def test_unknown_recipe_and_target(graph: onnx.GraphProto, samples: CalibrationSet) -> None:
    with pytest.raises(ConversionError, match="recipe 'int4' is not known; use one of: vendor-tiny"):
        recipe_content("int4", graph)
    with pytest.raises(ConversionError, match="target 'AX640' is not known"):
        generate_build_config(graph, samples, Pulsar2Settings(recipe="int8"), target="AX640")


def test_paths_of_overrides_are_relative_to_their_file(
    graph: onnx.GraphProto, samples: CalibrationSet, tmp_path: Path
) -> None:
    mine = _override(tmp_path, "const_processors: [{name: c, data_path: c.npy}]\ncompiler: {input_sample_dir: in}")
    content = generate_build_config(graph, samples, Pulsar2Settings(recipe="int8"), overrides=mine).to_content()
    assert content["const_processors"][0]["data_path"] == str(tmp_path / "c.npy")
    assert content["compiler"]["input_sample_dir"] == str(tmp_path / "in")
    placed = with_host_paths(content, lambda path: f"/data/{Path(path).name}")
    assert placed["const_processors"][0]["data_path"] == "/data/c.npy"
    assert placed["compiler"] == {"check": 0, "input_sample_dir": "/data/in"}
    assert placed["quant"]["input_configs"][0]["calibration_dataset"] == "/data/calibration_img.tar.gz"
    assert content["quant"]["input_configs"][0]["calibration_dataset"] != "/data/calibration_img.tar.gz"
