"""Runtimes by name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.runtime.base import Runtime

ONNXRUNTIME: Final = "onnxruntime"
RUNTIME_KINDS: Final = (ONNXRUNTIME,)


def open_runtime(kind: str, model: Path, *, device: str = "cpu", threads: int | None = None) -> Runtime:
    """Load a model.

    Args:
        kind: one of :data:`RUNTIME_KINDS`.
        model: the model's file.
        device: where to run it, in the words of that runtime (ONNX Runtime: ``cpu``, ``cuda`` or ``cuda:N``).
        threads: threads inside an operator; ``None``: the runtime's own choice.

    Raises:
        RuntimeUnavailableError: the kind is not known, or the model can't be run here.
    """
    if kind == ONNXRUNTIME:
        from bevformer_lib.runtime.onnxruntime import OnnxRuntime

        return OnnxRuntime(model, device=device, threads=threads)
    raise RuntimeUnavailableError(f"runtime '{kind}' is not known; use one of: {', '.join(RUNTIME_KINDS)}")
