"""Runtimes by name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.host_geometry import with_host_geometry

ONNXRUNTIME: Final = "onnxruntime"
AXENGINE: Final = "axengine"
PULSAR2: Final = "pulsar2"
RUNTIME_KINDS: Final = (ONNXRUNTIME, AXENGINE, PULSAR2)
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


def open_runtime(kind: str, model: Path, *, device: str | None = None, threads: int | None = None) -> Runtime:
    """Load a model.

    Args:
        kind: one of :data:`RUNTIME_KINDS`.
        model: the model's file.
        device: where ONNX Runtime runs it: ``cpu`` (also if ``None``), ``cuda`` or ``cuda:N``.
        threads: threads inside an operator of ONNX Runtime; ``None``: its own choice.

    Raises:
        RuntimeUnavailableError: the kind is not known, has no such option, or the model can't be run here.
    """
    if kind == ONNXRUNTIME:
        from bevformer_lib.runtime.onnxruntime import OnnxRuntime

        loaded = OnnxRuntime(model, device=device or DEFAULT_DEVICE, threads=threads)
        return with_host_geometry(loaded, source=str(model))
    if kind == PULSAR2:
        _refuse_options("the simulator runs a model as it was compiled", device, threads)
        from bevformer_lib.pulsar2.simulator import Pulsar2Run

        return Pulsar2Run(model)
    if kind == AXENGINE:
        _refuse_options("AXEngine runs a model on the NPU that it was compiled for", device, threads)
        from bevformer_lib.runtime.axengine import AxEngineRuntime

        return AxEngineRuntime(model)
    raise RuntimeUnavailableError(f"runtime '{kind}' is not known; use one of: {', '.join(RUNTIME_KINDS)}")


def open_simulator(model: Path, *, executable: Path | None = None, image: str | None = None) -> Runtime:
    """Load a compiled model into the vendor's simulator.

    Args:
        model: the ``.axmodel``.
        executable: native command; ``None``: found, if no image is named.
        image: docker image; ``None``: found, if no command is named.

    Raises:
        RuntimeUnavailableError: the file is no compiled model, or the simulator can't be run here.
    """
    from bevformer_lib.errors import ConversionError
    from bevformer_lib.pulsar2.simulator import Pulsar2Run
    from bevformer_lib.pulsar2.tool import find_tool

    try:
        return Pulsar2Run(model, tool=find_tool(executable=executable, image=image))
    except ConversionError as error:
        raise RuntimeUnavailableError(str(error)) from error


def _refuse_options(why: str, device: str | None, threads: int | None) -> None:
    for option, value in (("device", device), ("threads", threads)):
        if value is not None:
            raise RuntimeUnavailableError(f"{option} {value}: {why}; leave --{option} out")
