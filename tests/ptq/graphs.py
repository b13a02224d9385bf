"""Small graphs with channels of very different size, and what is done with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.convert.ranges import SampleRuns
from bevformer_lib.emulator.emulate import emulate

Arrays = Mapping[str, NDArray[Any]]


def model(
    nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, Sequence[int]], outputs: Sequence[str], constants: Arrays
) -> onnx.ModelProto:
    """A graph with inferred shapes, whose nodes are named after their outputs."""
    for node in nodes:
        node.name = node.output[0]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def run(graph: onnx.ModelProto, feed: Arrays) -> list[NDArray[Any]]:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    results: list[NDArray[Any]] = session.run(None, dict(feed))
    return results


def applied(module: ModuleType, graph: onnx.ModelProto, samples: Sequence[Arrays]) -> tuple[onnx.ModelProto, Any]:
    """Run a pass over samples."""
    changed, facts = module.apply(graph, SampleRuns(samples, len(samples), threads=1))
    return changed, facts


def error_in_8_bits(graph: onnx.ModelProto, samples: Sequence[Arrays], exact: onnx.ModelProto) -> float:
    """Largest relative difference of the first output over the samples, all tensors in 8 bits."""
    main = emulate(graph, samples, threads=1).main
    return max(relative_difference(main, exact, sample) for sample in samples)


def relative_difference(graph: onnx.ModelProto, exact: onnx.ModelProto, feed: Arrays) -> float:
    """Root mean square difference of the first outputs, as a share of the second."""
    found, wanted = run(graph, feed)[0], run(exact, feed)[0]
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
