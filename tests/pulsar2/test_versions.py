from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from bevformer_lib.calibration.archive import read_calibration
from bevformer_lib.pulsar2.build_config import BuildConfig
from bevformer_lib.pulsar2.errors import BuildConfigError
from bevformer_lib.pulsar2.generate import generate_build_config
from bevformer_lib.pulsar2.overrides import read_overrides
from bevformer_lib.pulsar2.parse import parse_build_config
from bevformer_lib.pulsar2.proto import ProtoSchema, json_name, parse_proto
from bevformer_lib.pulsar2.settings import Pulsar2Settings
from bevformer_lib.pulsar2.versions import dialect_of, refuse_unknown, version_findings
from tests.support.calibration import ToyWorld

PROTO = """
syntax = "proto3";
package pulsar2.build;
enum QuantMethod { MinMax = 0; MSE = 2; Entropy = 7; } // since 7.1
message QuantConfig {
  // layers
  repeated LayerConfig layer_configs = 2;
  QuantMethod calibration_method = 3 [deprecated = false];
  float new_knob = 200;
  oneof choice { string one = 201; string other = 202; }
}
message LayerConfig { string layer_name = 1; common.DataType data_type = 5; message Inner { bool x = 1; } }
message OpProcessor { string op_name = 1; google.protobuf.Struct attrs = 2; map<string, string> labels = 3; }
message BuildConfig { QuantConfig quant = 1; repeated OpProcessor op_processors = 4; }
"""


@pytest.fixture
def installed() -> ProtoSchema:
    schema = parse_proto(PROTO)
    assert schema is not None
    return schema


@pytest.mark.parametrize(
    ("version", "name"),
    [
        *(("4.2-standin", "4.2"), ("3.4", "4.2"), ("5.1", "4.2"), ("6.0-lite", "6.0")),
        *(("7.0", "7.0"), ("9.3", "7.0"), ("?", "7.0")),
    ],
)
def test_a_version_is_spoken_to_as_the_newest_that_is_not_newer(version: str, name: str) -> None:
    assert dialect_of(version).name == name
    assert bool(version_findings(version)) is (version in ("3.4", "5.1", "9.3", "?"))


def _refuse(content: dict[str, object], version: str, installed: ProtoSchema | None = None) -> None:
    config = parse_build_config(content, "my.yaml", keep_unknown=True)
    refuse_unknown(config, dialect=dialect_of(version), installed=installed, version=version, source="my.yaml")


CASCADE: dict[str, object] = {"input_processors": [{"tensor_name": "img", "scale": 0.5, "zeropoint": 3}]}


def test_keys_and_chips_that_a_version_does_not_know_are_refused_before_the_build() -> None:
    _refuse(CASCADE, "7.0")
    with pytest.raises(BuildConfigError, match=r"input_processors\.scale: Pulsar2 4\.2 does not know this key"):
        _refuse(CASCADE, "4.2")
    _refuse({"target_hardware": "AX8860"}, "7.0-lite")
    with pytest.raises(BuildConfigError, match=r"Pulsar2 6\.0 does not compile for AX637; it does for AX615"):
        _refuse({"target_hardware": "AX637"}, "6.0")
    for version in ("4.2", "7.0"):
        _refuse({"debug": {"dump_frontend_graph": True}, "quant": {"disable_quant_optimization": True}}, version)
        _refuse({"compiler": {"enable_data_soft_compression": True}}, version)


def test_the_installed_definition_decides_over_our_copy(installed: ProtoSchema) -> None:
    _refuse({"quant": {"new_knob": 0.5, "calibration_method": "Entropy"}}, "7.0", installed)
    _refuse({"quant": {"newKnob": 0.5, "other": "x"}}, "7.0", installed)
    _refuse({"op_processors": [{"op_name": "a", "attrs": {"anything": 1}}]}, "7.0", installed)
    with pytest.raises(BuildConfigError, match="new_knob: unknown key"):
        _refuse({"quant": {"new_knob": 0.5}}, "7.0")
    with pytest.raises(BuildConfigError) as caught:
        _refuse({"quant": {"calibration_method": "KL", "check": 1}, "compiler": {"check": 0}}, "7.0", installed)
    said = str(caught.value)
    assert "quant.calibration_method: QuantMethod has no value 'KL'; it has Entropy, MSE, MinMax" in said
    assert "quant.check: message QuantConfig has no such field (the installed build_config.proto)" in said
    assert "compiler: message BuildConfig has no such field" in said


def test_kept_keys_reach_the_tool_where_they_were() -> None:
    layer = {"op_type": "Relu", "data_type": "BF16", "output_data_type": "U8"}
    content = {"quant": {"new_knob": 0.5, "layer_configs": [layer]}}
    config = parse_build_config(content, "x", keep_unknown=True)
    assert config.to_content() == content
    assert config.model_copy(update={"npu_mode": "NPU1"}).to_content() == {**content, "npu_mode": "NPU1"}


def test_a_text_without_a_build_config_is_no_definition() -> None:
    assert parse_proto("message Other { string a = 1; }") is None
    assert json_name("check_cosine_simularity") == "checkCosineSimularity"


def test_keys_may_be_spelled_as_protobufs_json_has_them(tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text('{"quant": {"layerConfigs": [{"opType": "Relu", "dataType": "U16"}], "calibrationMethod": "KL"}}')
    expected = {"quant": {"layer_configs": [{"op_type": "Relu", "data_type": "U16"}], "calibration_method": "KL"}}
    assert read_overrides(mine) == expected
    assert parse_build_config({"npuMode": "NPU3"}, "x") == BuildConfig(npu_mode="NPU3")
    # Attributes of operators are the model's own names.
    attributes = {"op_processors": [{"opName": "a", "attrs": {"ceilMode": 0}}]}
    assert parse_build_config(attributes, "x").to_content()["op_processors"][0]["attrs"] == {"ceilMode": 0}
    with pytest.raises(BuildConfigError, match="calibrationMethod: is calibration_method in another spelling"):
        parse_build_config({"quant": {"calibration_method": "KL", "calibrationMethod": "KL"}}, "x")
    mine.write_text('{"outputDir": "/tmp"}')
    with pytest.raises(BuildConfigError, match="output_dir: is set by the conversion"):
        read_overrides(mine)


@pytest.mark.parametrize("mode", [{}, {"csc_mode": "NoCSC"}], ids=["default", "named"])
def test_yuv_without_a_conversion_is_refused(mode: dict[str, str]) -> None:
    entry = {"tensor_name": "img", "src_format": "YUV420SP", **mode}
    with pytest.raises(BuildConfigError, match=r"src_format YUV420SP with csc_mode NoCSC .* converts no colours"):
        parse_build_config({"input_processors": [entry]}, "x")
    parse_build_config({"input_processors": [entry | {"csc_mode": "FullRange"}]}, "x")


def test_ax8850_is_compiled_for_as_ax650(world: ToyWorld, calibration: Path) -> None:
    graph, samples = onnx.load(world.model).graph, read_calibration(calibration)
    assert (
        generate_build_config(graph, samples, Pulsar2Settings(recipe="int8"), target="AX8850").target_hardware
        == "AX650"
    )


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ("can_bus:2x18", "changes the batch of 'can_bus' from 1 to 2"),
        ("can_bus:18", "'can_bus' has 2 axes, 'can_bus:18' gives 1"),
        ("other:1x18", "the model has no input 'other'; it has img"),
    ],
)
def test_shapes_that_the_graph_does_not_follow_are_refused_before_the_build(
    world: ToyWorld, calibration: Path, tmp_path: Path, shapes: str, message: str
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"input_shapes: {shapes}\n")
    graph, samples = onnx.load(world.model).graph, read_calibration(calibration)
    with pytest.raises(BuildConfigError, match=message):
        generate_build_config(graph, samples, Pulsar2Settings(recipe="int8"), overrides=mine)
