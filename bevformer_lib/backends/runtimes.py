"""Runtimes by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.runtime.base import Runtime, RuntimeOptions

ONNXRUNTIME: Final = "onnxruntime"
AXENGINE: Final = "axengine"
PULSAR2: Final = "pulsar2"
RUNTIMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        ONNXRUNTIME: "bevformer_lib.runtime.onnxruntime",
        AXENGINE: "bevformer_lib.runtime.axengine",
        PULSAR2: "bevformer_lib.pulsar2.simulator",
    }
)
"""Runtime -> its module, whose ``open_model`` takes a file and :class:`RuntimeOptions`.

Named by strings, so that a step depends on the code of the runtime that it was told to use and on no other's.
"""
DEFAULT_DEVICE: Final = "cpu"
"""Of ONNX Runtime; the other runtimes have no choice of device."""


def open_reference(model: Path, *, device: str | None = None, threads: int | None = None) -> Runtime:
    """Load the model to be true to: an ONNX graph, or the folder of its recorded outputs.

    Args:
        model: ``.onnx`` file, or a folder that ``bevformer record`` wrote.
        device: where ONNX Runtime runs the graph.
        threads: threads inside an operator of ONNX Runtime; ``None``: its own choice.

    Raises:
        RuntimeUnavailableError: the folder is no recording, or the graph can't be run here.
    """
    if model.is_dir():
        from bevformer_lib.runtime.recorded import RecordedRuntime

        return RecordedRuntime(model)
    return open_runtime(ONNXRUNTIME, model, device=device, threads=threads)


def open_runtime(
    kind: str,
    model: Path,
    *,
    device: str | None = None,
    threads: int | None = None,
    image: str | None = None,
    executable: Path | None = None,
    npu: str | None = None,
) -> Runtime:
    """Load a model.

    Args:
        kind: one of :data:`RUNTIMES`.
        model: the model's file.
        device: where ONNX Runtime runs it: ``cpu`` (also if ``None``), ``cuda`` or ``cuda:N``.
        threads: threads inside an operator of ONNX Runtime; ``None``: its own choice.
        image: docker image of Pulsar2; ``None``: found, if no command is named.
        executable: native command of Pulsar2; ``None``: found, if no image is named.
        npu: which NPU of this machine AXEngine uses: ``board``, ``card`` or ``card:N``; ``None``: the board's, or the
            first card where there is no board's.

    Raises:
        RuntimeUnavailableError: the kind is not known, has no such option, or the model can't be run here.
    """
    if kind not in RUNTIMES:
        raise RuntimeUnavailableError(f"runtime '{kind}' is not known; use one of: {', '.join(RUNTIMES)}")
    options = RuntimeOptions(device, threads, image, executable, npu)
    loaded: Runtime = import_module(RUNTIMES[kind]).open_model(model, options)
    return loaded
