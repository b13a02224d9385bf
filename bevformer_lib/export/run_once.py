"""Running a graph as it stands, to compare it with what a rewrite made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from bevformer_lib.errors import ExportError

_LOG_FATAL_ONLY: Final = 4


def run_once(model: onnx.ModelProto, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return a graph's outputs by name; their shapes need not be declared.

    Raises:
        ExportError: ONNX Runtime can't run the graph.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_FATAL_ONLY  # what it says of a graph that it refuses is in the exception too
    names = [value.name for value in model.graph.output]
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return {name: np.asarray(array) for name, array in zip(names, session.run(names, dict(feed)), strict=True)}
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise ExportError(f"ONNX Runtime can't run the graph: {error}") from error
