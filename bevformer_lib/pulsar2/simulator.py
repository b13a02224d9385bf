"""`pulsar2 run`, the vendor's bit-accurate simulation of a compiled model, as a runtime.

Every frame is a run of its own, since the next frame's ``prev_bev`` is this one's ``bev_embed``. A run takes as long
as the simulator needs to start and compute: minutes rather than milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import ConversionError, RuntimeUnavailableError
from bevformer_lib.pulsar2.errors import ToolMissingError
from bevformer_lib.pulsar2.log import last_meaningful_lines
from bevformer_lib.pulsar2.process import Limits, run_child
from bevformer_lib.pulsar2.tool import Tool, find_tool, named_link
from bevformer_lib.runtime.base import Runtime, RuntimeOptions, TensorSpec
from bevformer_lib.scratch import temporary_folder

FRAME_SECONDS: Final = 3600.0
"""Longest simulation of one frame."""
_SAMPLE: Final = "0"
_MODEL_FILE: Final = "compiled.axmodel"
_LIST_FILE: Final = "list.txt"
_ESCAPED: Final = re.compile(r"[^a-zA-Z0-9_-]")


def open_model(model: Path, options: RuntimeOptions) -> Runtime:
    """Load a compiled model into the simulator that is named, or the one that is found.

    Raises:
        RuntimeUnavailableError: the file is no compiled model, the simulator can't be run here, or has no such option.
    """
    options.refuse("the simulator runs a model as it was compiled", "device", "threads", "npu")
    try:
        named = options.executable is not None or options.image is not None
        tool = find_tool(executable=options.executable, image=options.image) if named else None
    except ConversionError as error:
        raise RuntimeUnavailableError(str(error)) from error
    return Pulsar2Run(model, tool=tool)


class Pulsar2Run:
    """A compiled model in the vendor's simulator."""

    def __init__(self, model: Path, *, tool: Tool | None = None, seconds: float = FRAME_SECONDS) -> None:
        """Read the compiled model's interface and find the simulator.

        Args:
            model: the ``.axmodel``.
            tool: where `pulsar2` is; ``None``: found.
            seconds: longest simulation of one frame.

        Raises:
            RuntimeUnavailableError: the file is no compiled model, or the simulator can't be run here.
        """
        if not model.is_file():
            raise RuntimeUnavailableError(f"{model}: no such model file; check the path")
        try:
            from bevformer_lib.pulsar2.container import read_axmodel
        except ImportError as error:
            raise RuntimeUnavailableError(
                f"the simulator needs ONNX to read compiled models ({error}); install it with "
                "'pip install bevformer-axera[cpu]'"
            ) from error
        try:
            compiled = read_axmodel(model)
            self._tool = tool or find_tool()
            self.version = self._tool.identify()
        except ConversionError as error:
            raise RuntimeUnavailableError(str(error)) from error
        self._model = model
        self._seconds = seconds
        self.inputs: Mapping[str, TensorSpec] = MappingProxyType(dict(compiled.inputs))
        self.outputs: Mapping[str, TensorSpec] = MappingProxyType(dict(compiled.outputs))

    @property
    def metadata(self) -> Mapping[str, str]:
        """Empty: a compiled model has none."""
        return {}

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Simulate the model once and return all its outputs by name.

        Raises:
            RuntimeUnavailableError: the simulation failed, took too long, or wrote something else than the outputs.
        """
        with temporary_folder() as work:
            try:
                return self._simulate(feed, work)
            finally:
                self._tool.remove(work)

    def _simulate(self, feed: Mapping[str, NDArray[Any]], work: Path) -> dict[str, NDArray[Any]]:
        for name in ("input", "output"):
            (work / name).mkdir()
        sample = work / "input" / _SAMPLE
        sample.mkdir()
        for name, spec in self.inputs.items():
            array = np.ascontiguousarray(feed[name], dtype=_little_endian(spec.dtype))
            (sample / file_name(name)).write_bytes(array.tobytes())
        (work / _LIST_FILE).write_text(f"{_SAMPLE}\n", encoding="utf-8")
        try:
            self._run_tool(work)
        except ToolMissingError as error:
            raise RuntimeUnavailableError(str(error)) from error
        except ConversionError as error:
            raise RuntimeUnavailableError(f"{self._model}: the simulation was stopped: {error}") from error
        return {name: self._read_output(work, spec) for name, spec in self.outputs.items()}

    def _run_tool(self, work: Path) -> None:
        model = self._tool.mount(named_link(self._model, work / _MODEL_FILE), f"model/{_MODEL_FILE}")
        inputs = self._tool.mount(work / "input", "input")
        listed = self._tool.mount(work / _LIST_FILE, _LIST_FILE)
        outputs = self._tool.mount(work / "output", "output", writable=True)
        arguments = [
            "run",
            *("--model", model.inside),
            *("--input_dir", inputs.inside),
            *("--output_dir", outputs.inside),
            *("--list", listed.inside),
        ]
        invocation = self._tool.invocation(arguments, [model, inputs, listed, outputs], None)
        completed = run_child(invocation, limits=Limits(seconds=self._seconds))
        if completed.returncode != 0:
            said = " | ".join(last_meaningful_lines(completed.lines)) or "nothing"
            raise RuntimeUnavailableError(
                f"{self._model}: pulsar2 run failed with exit status {completed.returncode}. It said: {said}"
            )

    def _read_output(self, work: Path, spec: TensorSpec) -> NDArray[Any]:
        path = work / "output" / _SAMPLE / file_name(spec.name)
        dtype = _little_endian(spec.dtype)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RuntimeUnavailableError(
                f"{self._model}: pulsar2 run wrote no {path.name} for output '{spec.name}' ({error.strerror or error})"
            ) from error
        expected = int(np.prod(spec.shape)) * dtype.itemsize
        if len(content) != expected:
            raise RuntimeUnavailableError(
                f"{self._model}: pulsar2 run wrote {len(content)} bytes for output '{spec.name}', "
                f"{spec.dtype} {spec.shape} has {expected}"
            )
        return np.frombuffer(content, dtype).reshape(spec.shape).astype(spec.dtype)


def file_name(tensor: str) -> str:
    """Return the name of a tensor's file, as the simulator reads and writes it."""
    return _ESCAPED.sub("_", tensor) + ".bin"


def _little_endian(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<")
