"""A toy model in which 8 bits hurt exactly where it was planted."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

OUTLIER = 200.0
"""Eight bits over a range of this size have steps of 0.8, and everything else is hardly larger; 16 bits resolve it."""


def plant_sensitive_layers(graph: Path, output: Path, layers: Collection[str]) -> Path:
    """Give the inputs of these Gemm and MatMul layers an outlier in channel 0, which their weights ignore.

    In float nothing is lost; in 8 bits the outlier takes the whole range.
    """
    model = onnx.load(graph)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for layer in layers:
        place, node = next((place, node) for place, node in enumerate(model.graph.node) if node.name == layer)
        weight = numpy_helper.to_array(constants[node.input[1]]).copy()
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        weight[(slice(None), 0) if transposed else 0] = 0.0
        constants[node.input[1]].CopyFrom(numpy_helper.from_array(weight, node.input[1]))
        outlier = np.zeros(weight.shape[1] if transposed else weight.shape[0], np.float32)
        outlier[0] = OUTLIER
        model.graph.initializer.append(numpy_helper.from_array(outlier, f"{layer}.outlier"))
        add = helper.make_node("Add", [node.input[0], f"{layer}.outlier"], [f"{layer}.input"], f"{layer}.planted")
        model.graph.node.insert(place, add)
        node.input[0] = f"{layer}.input"
    onnx.checker.check_model(model, full_check=True)
    output.write_bytes(model.SerializeToString(deterministic=True))
    return output
