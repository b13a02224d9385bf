from __future__ import annotations

import pytest

from bevformer_lib.pulsar2.build_config import BuildConfig, parse_build_config
from bevformer_lib.pulsar2.missing_layers import missing_layers, without_layers


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


def test_entries_without_layers_go_too() -> None:
    fewer = without_layers(_config("/a/Add", "/a/Add_1"), ["/a/Add"])
    assert fewer.to_content()["quant"]["layer_configs"][0]["layer_names"] == ["/a/Add_1"]
    assert without_layers(fewer, ["/a/Add_1"]).to_content() == {
        "quant": {"layer_configs": [{"op_type": "Conv", "data_type": "U16"}]}
    }
