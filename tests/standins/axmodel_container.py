"""A stand-in's `.axmodel`: the documented ONNX container, carrying a quantised ONNX graph in place of NPU code.

As the vendor's tools document it (``onnx inspect`` of a compiled model): an ONNX protobuf, IR version 8, opset 16,
graph name "8", producer "Pulsar2", a doc string with version and commit, one node of type "neu mode" per NPU subgraph,
inputs and outputs with names, types and shapes, and two uint8 initializers: ``npu_params`` and ``<subgraph>_b1_neu``.
The vendor keeps weights and machine code in these; the stand-in keeps the bytes of a quantised ONNX graph in the second
and what it was compiled for in its metadata, so that it can be executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

PRODUCER = "Pulsar2"
NODE_TYPE = "neu mode"
SUBGRAPH = "subgraph_npu_0"
PARAMETERS = "npu_params"
CODE = f"{SUBGRAPH}_b1_neu"
META_HARDWARE, META_NPU_MODE = "standin.target_hardware", "standin.npu_mode"


@dataclass(frozen=True)
class CompiledModel:
    """What a stand-in's `.axmodel` holds.

    Attributes:
        container: the file itself.
        quantized: the graph that it carries; inputs and outputs are those of the container.
        target_hardware: chip that it was compiled for, as ``--target_hardware`` has it.
        npu_mode: NPU1, NPU2, NPU3 or NPU4.
    """

    container: onnx.ModelProto
    quantized: onnx.ModelProto
    target_hardware: str
    npu_mode: str

    def execute(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the quantised graph once, on one thread; return all outputs by name."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        # Merged with its quantisers, a MatMul of 16-bit numbers with 8-bit weights would be computed in 8 bits.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        session = onnxruntime.InferenceSession(self.quantized.SerializeToString(), options)
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(feed)), strict=True))


def write_axmodel(
    path: Path,
    quantized: onnx.ModelProto,
    *,
    target_hardware: str = "AX650",
    npu_mode: str = "NPU3",
    version: str = "4.0",
    commit: str = "0f1e2d3c",
) -> Path:
    """Write ``quantized`` (static shapes) as an `.axmodel` and return ``path``."""
    carried = onnx.ModelProto()
    carried.CopyFrom(quantized)
    helper.set_model_props(
        carried,
        {entry.key: entry.value for entry in quantized.metadata_props}
        | {META_HARDWARE: target_hardware, META_NPU_MODE: npu_mode},
    )
    code = np.frombuffer(carried.SerializeToString(deterministic=True), np.uint8)
    parameters = np.zeros(16, np.uint8)
    inputs, outputs = list(quantized.graph.input), list(quantized.graph.output)
    graph = helper.make_graph(
        [
            helper.make_node(
                NODE_TYPE, [value.name for value in inputs], [value.name for value in outputs], name=SUBGRAPH
            )
        ],
        "8",
        inputs,
        outputs,
        initializer=[numpy_helper.from_array(parameters, PARAMETERS), numpy_helper.from_array(code, CODE)],
        value_info=[
            helper.make_tensor_value_info(name, TensorProto.UINT8, [array.size])
            for name, array in ((PARAMETERS, parameters), (CODE, code))
        ],
    )
    container = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], producer_name=PRODUCER)
    container.ir_version = 8
    container.doc_string = f"Pulsar2 Version:  {version}\nPulsar2 Commit: {commit}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(container.SerializeToString(deterministic=True))
    return path


def read_axmodel(path: Path) -> CompiledModel:
    """Read an `.axmodel` that a stand-in wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        container = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:
        raise ValueError(f"{path}: no ONNX container") from error
    constants = {tensor.name: tensor for tensor in container.graph.initializer}
    if container.producer_name != PRODUCER or CODE not in constants:
        raise ValueError(f"{path}: not written by a stand-in of Pulsar2")
    quantized = onnx.load_model_from_string(numpy_helper.to_array(constants[CODE]).tobytes())
    meta = {entry.key: entry.value for entry in quantized.metadata_props}
    return CompiledModel(container, quantized, meta[META_HARDWARE], meta[META_NPU_MODE])
