from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.pulsar2.build_config import LayerConfig
from bevformer_lib.pulsar2.knobs import knob_findings
from bevformer_lib.pulsar2.precision import BuiltOperator, grants, with_analysis
from bevformer_lib.pulsar2.trace import LayerCycles, read_layer_cycles
from bevformer_lib.pulsar2.versions import dialect_of


@pytest.fixture
def graph() -> onnx.GraphProto:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], name="product"),
        helper.make_node("Add", ["product", "b"], ["sum"], name="bias"),
        helper.make_node("Softmax", ["sum"], ["share"], name="softmax"),
        helper.make_node("Mul", ["share", "share"], ["square"], name="square"),
        helper.make_node("Reshape", ["square", "s"], ["y"], name="turned"),
    ]
    constants = {"w": np.ones((4, 4), np.float32), "b": np.ones((1, 4), np.float32), "s": np.array([4, 1])}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return helper.make_graph(nodes, "g", values[:1], values[1:], tensors)


def _built(graph: onnx.GraphProto, **types: str) -> list[BuiltOperator]:
    return [
        BuiltOperator(node.name, f"AxQuantized{node.op_type}", node.output[0], "", "FP32", types[node.name], None, None)
        for node in graph.node
    ]


def _findings(graph: onnx.GraphProto, version: str, *requests: dict[str, object], **types: str) -> str:
    all_types = dict.fromkeys((node.name for node in graph.node), "U8") | types
    configs = [LayerConfig.model_validate(request) for request in requests]
    return "\n".join(knob_findings(configs, _built(graph, **all_types), graph, dialect_of(version)))


def test_a_bias_that_a_request_by_type_passed_by(graph: onnx.GraphProto) -> None:
    request = {"op_types": ["MatMul"], "data_type": "U16"}
    assert _findings(graph, "7.0", request, product="U16") == (
        "layer_configs.0: op_types missed the bias Add 'bias' behind 'product', which is U8; name it in layer_names"
    )
    assert _findings(graph, "7.0", request, product="U16", bias="U16") == ""


def test_a_trailing_reshape_that_forced_eight_bits(graph: onnx.GraphProto) -> None:
    request = {"op_types": ["Mul", "MatMul"], "data_type": "U16"}
    said = _findings(graph, "7.0", request, product="U16", bias="U16")
    assert (
        said
        == "layer_configs.0: a trailing Reshape ('turned') forced 8 bits on 'square'; ask for the same type there too"
    )
    # A request that was not heard at all has another reason.
    assert _findings(graph, "7.0", request) == ""


@pytest.mark.parametrize(
    ("version", "built", "said"),
    [
        ("7.0", "U8", "layer_configs.0: FP32 ignored for Softmax 'softmax', which is U8"),
        ("7.0", "FP32", ""),
        (
            "6.0",
            "FP32",
            "layer_configs.0: Softmax 'softmax' is FP32 by the record, but in 6.0 that was seen to change nothing",
        ),
        ("4.2", "U8", "layer_configs.0: FP32 ignored for Softmax 'softmax', which is U8"),
        ("4.2", "FP32", ""),
    ],
)
def test_fp32_of_a_softmax(graph: onnx.GraphProto, version: str, built: str, said: str) -> None:
    found = _findings(graph, version, {"layer_name": "softmax", "data_type": "FP32"}, softmax=built)
    assert (said in found) if said else (found == "")


def test_a_reshape_that_something_reads_is_not_blamed(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("Exp", ["y"], ["z"], name="behind"))
    graph.output[0].name = "z"
    request = {"op_types": ["Mul", "MatMul"], "data_type": "U16"}
    assert "trailing" not in _findings(graph, "7.0", request, product="U16", bias="U16")


def test_signed_types_that_are_not_granted_are_named_in_one_finding(graph: onnx.GraphProto) -> None:
    request = {"layer_names": ["product", "square"], "data_type": "S16"}
    said = _findings(graph, "7.0", request, product="S16").splitlines()
    assert said[-1] == "layer_configs.0: S16 not granted at 'square', which is U8"
    assert not any("'product'" in line for line in said)


def test_operands_of_live_products_are_signed_whatever_is_asked_for() -> None:
    assert grants("S16", "U16")
    assert not grants("U16", "S16")
    assert not grants("S8", "U16")


def test_figures_of_the_table_reach_the_operators_whose_names_it_cut() -> None:
    names = ["/encoder/layers.0/attentions.0/Add", "/encoder/layers.1/Add", "/decoder/Mul_1", "/decoder/Mul_2"]
    recorded = [BuiltOperator(name, "", name, "", "FP32", "U8", None, None) for name in names]
    row = BuiltOperator("", "AxAdd", "", "(1, 2)", "FP32", "U8", 0.5, 0.1)
    table = [
        BuiltOperator(**{**row.to_content(), "operator": name})
        for name in ("op_3:/encoder/layers.0/att…", "/encoder/layers.1/Add", "/decoder/Mul…")
    ]
    assert [operator.cosine for operator in with_analysis(recorded, table)] == [0.5, 0.5, None, None]


def test_cycles_of_all_pieces_of_a_layer_are_its_own(tmp_path: Path) -> None:
    profile = tmp_path / "compiler/debug/subgraph_npu_0/b1/op_profile.csv"
    profile.parent.mkdir(parents=True)
    profile.write_text(
        "op,type,cycles\nop_1:/a/Add_s0_gop,AxAdd,10\nld:op_1:/a/Add_s1_sp,AxAdd,5\nop_2:/a/Add_1_s0_gop_0_1,AxAdd,7\n"
        "st:other_s3_gop,AxClip,1\n"
    )
    assert read_layer_cycles(tmp_path, ["/a/Add", "/a/Add_1"]) == (
        LayerCycles("/a/Add", "AxAdd", 15.0),
        LayerCycles("/a/Add_1", "AxAdd", 7.0),
        LayerCycles("other", "AxClip", 1.0),
    )
    assert read_layer_cycles(tmp_path / "none", []) == ()
