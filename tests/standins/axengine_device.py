"""The "NPU" of the stand-in for ``axengine``: a process of its own, which has ONNX Runtime where a board has none.

It reads pickled questions from its standard input and writes pickled answers: first a model's bytes, answered with its
description, then feeds, answered with outputs. A text as answer is the message of an error.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from tests.standins.axmodel_container import CompiledModel, read_axmodel

if TYPE_CHECKING:
    import onnxruntime

_Described = list[tuple[str, str, tuple[int, ...]]]


def describe(compiled: CompiledModel) -> dict[str, Any]:
    """Return what a session needs to know of a model."""
    graph = compiled.container.graph
    version = compiled.container.doc_string.split("\n")[0].split(":")[1].strip()
    return {
        "target_hardware": compiled.target_hardware,
        "npu_mode": compiled.npu_mode,
        "version": version,
        "inputs": _values(graph.input),
        "outputs": _values(graph.output),
    }


def _values(values: Any) -> _Described:
    described = []
    for value in values:
        tensor = value.type.tensor_type
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        described.append((value.name, str(dtype), tuple(size.dim_value for size in tensor.shape.dim)))
    return described


def _array(sent: tuple[str, tuple[int, ...], bytes]) -> NDArray[Any]:
    dtype, shape, data = sent
    return np.frombuffer(data, np.dtype(dtype)).reshape(shape)


def main() -> None:
    """Answer until standard input ends."""
    answers, questions = sys.stdout.buffer, sys.stdin.buffer
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "compiled.axmodel"
        path.write_bytes(pickle.load(questions))
        try:
            compiled = read_axmodel(path)
        except ValueError:
            pickle.dump("Failed to get model type.", answers)
            answers.flush()
            return
    pickle.dump(describe(compiled), answers)
    answers.flush()
    executor = None
    while True:
        try:
            feed = {name: _array(sent) for name, sent in pickle.load(questions).items()}
        except EOFError:
            return
        executor = executor or Executor(compiled)
        outputs = executor.run(feed)
        pickle.dump(
            {name: (str(array.dtype), array.shape, array.tobytes()) for name, array in outputs.items()}, answers
        )
        answers.flush()


class Executor:
    """Runs the graph that a model carries."""

    def __init__(self, compiled: CompiledModel) -> None:
        import onnxruntime  # late: to describe a model takes none

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        # Merged with its quantisers, a MatMul of 16-bit numbers with 8-bit weights would be computed in 8 bits.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = onnxruntime.InferenceSession(
            compiled.quantized.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, feed: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return all outputs; ONNX Runtime takes bfloat16 only wrapped in a value of its own."""
        values = {name: _value(np.ascontiguousarray(array)) for name, array in feed.items()}
        names = [output.name for output in self._session.get_outputs()]
        results = self._session.run_with_ort_values(names, values)
        return {name: value.numpy() for name, value in zip(names, results, strict=True)}


def _value(array: NDArray[Any]) -> onnxruntime.OrtValue:
    import onnxruntime

    if str(array.dtype) == "bfloat16":
        raw = array.view(np.uint16)
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, onnx.TensorProto.BFLOAT16)
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


if __name__ == "__main__":
    main()
