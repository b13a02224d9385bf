from __future__ import annotations

import pytest
from onnx import helper

from bevformer_lib.pulsar2.build_config import BuildConfig
from bevformer_lib.pulsar2.missing_layers import built_names, missing_layers, named_layers, with_layers
from bevformer_lib.pulsar2.parse import parse_build_config


def _config(*layers: str) -> BuildConfig:
    entries = [{"layer_names": list(layers), "data_type": "FP32"}, {"op_type": "Conv", "data_type": "U16"}]
    return parse_build_config({"quant": {"layer_configs": entries}}, "test")


@pytest.mark.parametrize(
    ("said", "gone"),
    [
        ("KeyError: layer_configs layer_name [/a/Add] not found in graph", ("/a/Add",)),
        ("ValueError: layers ['/a/Add_1', '/a/Add'] do not exist", ("/a/Add", "/a/Add_1")),
        ("ValueError: layers ['/a/Add_1', '/a/Add'] don't exist", ("/a/Add", "/a/Add_1")),
        ("AssertionError: unsupported tiling of op [/a/Add], type [AxAdd]", ()),
        ("KeyError: '/b/a/Add'", ()),
        ("no such layer: /a/Add.", ("/a/Add",)),
    ],
)
def test_only_what_the_failure_says_to_be_absent(said: str, gone: tuple[str, ...]) -> None:
    assert missing_layers(_config("/a/Add", "/a/Add_1"), f"m.onnx: pulsar2 build failed. It said:\n  {said}") == gone


def _without(config: BuildConfig, *gone: str) -> BuildConfig:
    return with_layers(config, lambda name: None if name in gone else name)


def test_entries_without_layers_go_too() -> None:
    fewer = _without(_config("/a/Add", "/a/Add_1"), "/a/Add")
    assert fewer.to_content()["quant"]["layer_configs"][0]["layer_names"] == ["/a/Add_1"]
    assert _without(fewer, "/a/Add_1").to_content() == {
        "quant": {"layer_configs": [{"op_type": "Conv", "data_type": "U16"}]}
    }


def test_layers_go_by_the_names_that_fusion_gave_them() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"], "op_3:/a/Add"), helper.make_node("Relu", ["y"], ["z"], "/a/Add_1")]
    names = built_names(helper.make_graph(nodes, "g", [], []))
    assert names == {"/a/Add": "op_3:/a/Add", "/a/Add_1": "/a/Add_1"}
    renamed = with_layers(_config("/a/Add", "/a/Add_1", "/gone"), names.get)
    assert named_layers(renamed) == ("op_3:/a/Add", "/a/Add_1")
