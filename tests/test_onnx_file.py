"""Graphs that no runtime should be asked to make sense of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.convert.float_model import load_float_model
from bevformer_lib.errors import ConversionError
from bevformer_lib.onnx_file import graph_faults, read_onnx
from tests.support.commands import bevformer


def graph(mask: float = 0.0) -> onnx.ModelProto:
    """x -> MatMul with w -> Add of a mask -> Clip -> y."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], "multiply"),
        helper.make_node("Add", ["product", "mask"], ["sum"], "mask"),
        helper.make_node("Clip", ["sum", "", "most"], ["y"], "clip"),
    ]
    constants = {"w": np.ones((2, 2)), "mask": np.full(2, mask), "most": np.array(np.inf)}
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    made = helper.make_graph(nodes, "small", ends[:1], ends[1:], initializers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _weight(name: str, value: float) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        values = numpy_helper.to_array(tensor).copy()
        values.flat[0] = value
        tensor.CopyFrom(numpy_helper.from_array(values, name))

    return change


FAULTS: list[tuple[Callable[[onnx.ModelProto], object], str]] = [
    (_weight("w", np.nan), "its initializer 'w' holds NaN"),
    (_weight("w", -np.inf), "its initializer 'w' holds infinity"),
    (_weight("mask", np.inf), "its initializer 'mask' holds infinity"),
    (lambda model: model.graph.initializer.append(model.graph.initializer[0]), "its initializer 'w' is given twice"),
    (lambda model: setattr(model.graph.initializer[0], "data_type", 999), "'w' has no type that ONNX knows"),
    (lambda model: setattr(model.graph.initializer[0], "data_type", 0), "'w' has no type that ONNX knows"),
    (lambda model: setattr(model.graph.initializer[0], "raw_data", b"123"), "'w' does not hold the values"),
    (lambda model: model.graph.initializer[0].dims.append(2**60), "'w' does not hold the values"),
    (lambda model: model.graph.initializer[0].dims.append(-1), "'w' has the shape [2, 2, -1]"),
    (lambda model: model.graph.input[0].ClearField("type"), "its input 'x' has no type"),
    (lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 77), "its input 'x' has no type"),
    (lambda model: model.graph.ClearField("output"), "names no outputs"),
    (lambda model: model.graph.node[1].ClearField("output"), "its node 'mask' (Add) has no output"),
    (lambda model: model.graph.node[1].ClearField("op_type"), "its node 'mask' has no operator"),
    (lambda model: model.graph.node[1].input.__setitem__(0, "ghost"), "its node 'mask' reads 'ghost', which nothing"),
    (lambda model: model.graph.node[0].input.__setitem__(0, "sum"), "its node 'multiply' reads 'sum', which nothing"),
    (lambda model: model.graph.node[1].output.__setitem__(0, "product"), "computes 'product' twice"),
    (lambda model: setattr(model.graph.output[0], "name", "z"), "its output 'z' is computed by no node"),
    (lambda model: model.graph.node[1].input.__setitem__(0, "g" * 100_000), "reads 'ggg"),
]


def test_a_sound_graph_has_no_faults() -> None:
    assert list(graph_faults(graph())) == []
    assert list(graph_faults(graph(mask=-np.inf))) == [], "as masks before a softmax are"


@pytest.mark.parametrize(("change", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_every_fault_is_said(change: Callable[[onnx.ModelProto], object], said: str, tmp_path: Path) -> None:
    model = graph()
    change(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError) as raised:
        read_onnx(path)
    assert said in str(raised.value) and len(str(raised.value)) < 1000


@pytest.mark.parametrize(("change", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_commands_name_the_users_file(
    change: Callable[[onnx.ModelProto], object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = graph()
    change(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    for command in (
        ("lint", path, "--target", "AX650"),
        ("profile", path, "--runs", "1"),
        ("quantize", path, tmp_path, "--output", tmp_path / "q.onnx"),
        ("infer", path, tmp_path, tmp_path, "--output-dir", tmp_path / "out"),
    ):
        assert bevformer(*command) == 1
        message = capsys.readouterr().err
        assert "Traceback" not in message and len(message) < 12_000


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(graph().SerializeToString().replace(b"MatMul", b"\xff\xbatMul"))
    with pytest.raises(ValueError, match="a name that is not UTF-8"):
        read_onnx(path)


def test_shapes_that_contradict_each_other(tmp_path: Path) -> None:
    model = graph()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((3, 2), np.float32), "w"))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ConversionError, match=r"model\.onnx: the graph is not valid ONNX"):
        load_float_model(path)


@pytest.mark.parametrize("content", [b"", b"\x08\x07", b"{}", b"<html></html>", bytes(1000)])
def test_files_that_are_no_graphs(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"holds no ONNX graph|can't be read as an ONNX model"):
        read_onnx(path)
