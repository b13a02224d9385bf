from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from bevformer_lib.errors import ConversionError
from bevformer_lib.pulsar2.build_config import LayerConfig
from bevformer_lib.pulsar2.precision import (
    BuiltOperator,
    count_types,
    parse_precision_table,
    read_quantization,
    read_weight_types,
    request_findings,
)

# As printed in the documentation.
DOCUMENTED = """
                                             Quant Precision Table【PerLayer Reference】
┏━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━┳━━━━━━━┳━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━┓
┃ Operator                ┃          Type          ┃ Output Tensor ┃       Shape       ┃ DType ┃ QDType ┃ Cosin   ┃ MSE     ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━╇━━━━━━━╇━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━┩
│ Conv_0                  │    AxQuantizedConv     │ 317           │ (1, 32, 112, 112) │ FP32  │   U8   │ 0.99993 │ 0.00003 │
├─────────────────────────┼────────────────────────┼───────────────┼───────────────────┼───────┼────────┼─────────┼─────────┤
│ GlobalAveragePool_97    │ AxQuantizedGlobAvgPool │ 464           │  (1, 1280, 1, 1)  │ FP32  │   U8   │ 0.99998 │ nan     │
├─────────────────────────┼────────────────────────┼───────────────┼───────────────────┼───────┼────────┼─────────┼─────────┤
│ output_DequantizeLinear │   AxDequantizeLinear   │ output        │     (1, 1000)     │ FP32  │  FP32  │ 0.99990 │ 0.00173 │
└─────────────────────────┴────────────────────────┴───────────────┴───────────────────┴───────┴────────┴─────────┴─────────┘
"""  # noqa: E501
NARROW = """
┃ Operator ┃ Type ┃ Output Tensor ┃ Shape ┃ DType ┃ QDType ┃ Cosin   ┃ MSE     ┃
│ /encoder │ AxQu │ /encoder/Add_ │ (1, 3 │ FP32  │ U16    │ 0.99993 │ 0.00003 │
│ /Add_1   │ Add  │ output_0      │ 2)    │       │        │         │         │
"""
PLAIN = """Operator Type Output Tensor Shape DType QDType Cosin MSE
Conv_0   AxQuantizedConv  317  (1, 32, 112, 112)  FP32  U8  0.99993  0.00003
"""


def test_the_documented_table() -> None:
    first, pool, last = parse_precision_table(DOCUMENTED, "table.txt")
    assert first == BuiltOperator("Conv_0", "AxQuantizedConv", "317", "(1, 32, 112, 112)", "FP32", "U8", 0.99993, 3e-5)
    assert pool.mse is None
    assert (last.operator, last.quantized_dtype) == ("output_DequantizeLinear", "FP32")


def test_cells_that_go_on_in_the_next_line() -> None:
    (row,) = parse_precision_table(NARROW, "table.txt")
    assert (row.operator, row.kind, row.tensor) == ("/encoder/Add_1", "AxQuAdd", "/encoder/Add_output_0")
    assert (row.shape, row.quantized_dtype) == ("(1, 32)", "U16")


def test_a_table_without_borders() -> None:
    (row,) = parse_precision_table(PLAIN, "table.txt")
    assert row == BuiltOperator("Conv_0", "AxQuantizedConv", "317", "(1, 32, 112, 112)", "FP32", "U8", 0.99993, 3e-5)


@pytest.mark.parametrize("text", ["", "nothing here", "┃ Operator ┃ Type ┃"])
def test_no_such_table(text: str) -> None:
    with pytest.raises(ConversionError, match=r"table\.txt: holds no table with the columns Operator, Type"):
        parse_precision_table(text, "table.txt")


def _node(op: str, source: str, name: str) -> onnx.NodeProto:
    return helper.make_node(op, [source], [f"{name}.out"], name=name)


@pytest.fixture
def graph() -> onnx.GraphProto:
    nodes = [_node("Conv", "x", "conv"), _node("Add", "conv.out", "add"), _node("Softmax", "add.out", "softmax")]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "softmax.out")]
    return helper.make_graph(nodes, "g", values[:1], values[1:])


def _built(**kinds: str) -> list[BuiltOperator]:
    types = {"conv": "AxQuantizedConv", "add": "AxQuantizedAdd", "softmax": "AxQuantizedSoftmax"}
    return [
        BuiltOperator(name, types[name], f"{name}.out", "(1,)", "FP32", kind, 1.0, 0.0) for name, kind in kinds.items()
    ]


def _findings(graph: onnx.GraphProto, built: list[BuiltOperator], *requests: dict[str, object]) -> list[str]:
    weights = {"conv": "S8"}
    return request_findings([LayerConfig.model_validate(r) for r in requests], built, graph, weights)


WHOLE = {"start_tensor_names": ["DEFAULT"], "end_tensor_names": ["DEFAULT"], "data_type": "U16"}


@pytest.mark.parametrize(
    "request_",
    [
        {"layer_name": "add", "data_type": "U16"},
        {"layer_names": ["add", "softmax"], "data_type": "U16"},
        {"op_type": "Add", "data_type": "U16"},
        {"op_types": ["Add", "Softmax"], "data_type": "U16"},
        {"start_tensor_names": ["conv.out"], "end_tensor_names": ["softmax.out"], "data_type": "U16"},
        {"op_type": "Conv", "data_type": "U16", "output_data_type": "U8", "weight_data_type": "S8"},
    ],
)
def test_a_request_that_was_met_is_no_finding(graph: onnx.GraphProto, request_: dict[str, object]) -> None:
    assert _findings(graph, _built(conv="U8", add="U16", softmax="U16"), request_) == []


@pytest.mark.parametrize(
    ("request_", "finding"),
    [
        ({"layer_name": "relu", "data_type": "U16"}, "(relu: U16): no operator 'relu' was built; it was fused away"),
        ({"op_types": ["Relu"], "data_type": "U16"}, "no operator of type Relu was built; the request had no effect"),
        ({"op_type": "Add", "data_type": "FP32"}, "(Add: FP32): 1 of 1 operators were built otherwise: add is U8"),
        (WHOLE, "(DEFAULT to DEFAULT: U16): 3 of 3 operators were built otherwise: conv is U8, add is U8"),
        (
            {"start_tensor_names": ["x"], "end_tensor_names": ["conv.out"], "data_type": "U16"},
            "1 of 1 operators were built otherwise: conv is U8",
        ),
        (
            {"start_tensor_names": ["softmax.out"], "end_tensor_names": ["x"], "data_type": "U16"},
            "no operator was built between these tensors",
        ),
        ({"op_type": "Conv", "weight_data_type": "FP32"}, "1 of 1 weights were built otherwise: conv is S8"),
    ],
)
def test_a_request_without_effect_is_a_finding(
    graph: onnx.GraphProto, request_: dict[str, object], finding: str
) -> None:
    (found,) = _findings(graph, _built(conv="U8", add="U8", softmax="U8"), request_)
    assert found.startswith("layer_configs.0 (")
    assert finding in found


def test_names_count_before_types_and_types_before_subgraphs(graph: onnx.GraphProto) -> None:
    requests = ({"layer_name": "add", "data_type": "FP32"}, {"op_type": "Conv", "data_type": "S8"}, WHOLE)
    assert _findings(graph, _built(conv="S8", add="FP32", softmax="U16"), *requests) == []
    (found,) = _findings(graph, _built(conv="S8", add="U16", softmax="U16"), *requests)
    assert "layer_configs.0 (add: FP32): 1 of 1 operators were built otherwise: add is U16" in found


def test_long_lists_are_cut_short(graph: onnx.GraphProto) -> None:
    names = [f"n{number}" for number in range(7)]
    built = [BuiltOperator(name, "AxAdd", name, "", "FP32", "U8", None, None) for name in names]
    (found,) = _findings(graph, built, {"layer_names": names, "data_type": "U16"})
    assert "n0, n1, n2, n3, n4 and 2 more: U16" in found
    assert found.endswith("n4 is U8 and 2 more")


def test_the_quantisers_own_record(graph: onnx.GraphProto, tmp_path: Path) -> None:
    # As in the documentation; `state` says what is left in float.
    sixteen = {"bit_width": 16, "state": "ACTIVATED", "quant_min": 0, "quant_max": 65535, "hash": 1, "dominator": 1}
    eight = {**sixteen, "bit_width": 8, "quant_min": -128, "quant_max": 127}
    record = tmp_path / "quant_axmodel.json"
    content = {"add": {"conv.out": eight, "add.out": sixteen}, "conv": {"w": eight, "conv.out": {"state": "FP32"}}}
    record.write_text(json.dumps({"tensor_configs": content, "values": {}}))
    assert read_weight_types(record, {"w"}) == {"conv": "S8"}
    record.write_text(json.dumps(content))
    add, conv = read_quantization(record, graph)
    assert (add.operator, add.kind, add.tensor, add.quantized_dtype) == ("add", "Add", "add.out", "U16")
    assert (conv.operator, conv.quantized_dtype) == ("conv", "FP32")
    assert read_weight_types(record, {"w"}) == {"conv": "S8"}
    assert (count_types([add, conv], in_float=False), count_types([add, conv], in_float=True)) == (
        {"Add": 1},
        {"Conv": 1},
    )
    record.write_text("{")
    with pytest.raises(ConversionError, match=r"quant_axmodel\.json: can't be read"):
        read_quantization(record, graph)
